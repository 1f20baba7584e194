"""The steps of the suite, the most telling ones first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .layout import Layout
from .runner import Step


@dataclass(frozen=True, slots=True)
class Variant:
    """An artifact of the suite.

    Attributes:
        file: its name.
        options: of pedseg-export.
        small, full: seconds to export the two networks; None for one without this artifact.
        devices: where it is measured.
    """

    file: str
    options: tuple[str, ...]
    small: float | None
    full: float | None
    devices: tuple[str, ...] = ("cpu", "cuda")


ONNX = ("--format", "onnx")
SCRIPT = ("--format", "torchscript")
VARIANTS = (
    Variant("fp32.onnx", ONNX, 30, 45),
    Variant("fp16.onnx", (*ONNX, "--precision", "fp16"), 35, 55, ("cuda",)),
    Variant("int8.onnx", (*ONNX, "--precision", "int8"), 40, 100, ("cpu",)),
    Variant("fp32.torchscript", SCRIPT, 20, 40),
    Variant("fp16.torchscript", (*SCRIPT, "--precision", "fp16"), 20, 40, ("cuda",)),
    Variant("fp32.pt2", ("--format", "pt2"), 25, 45),
    Variant("full-masks.onnx", (*ONNX, "--masks", "full"), 30, None),
)


def export_name(network: str, variant: Variant) -> str:
    """The step that makes an artifact."""
    return f"export-{network}-{variant.file}"


OTHERS = "eager,eager-autocast,eager-channels-last,eager-compile,stock-onnx"
CONTENDERS = {"cpu": f"{OTHERS},openvino", "cuda": f"{OTHERS},tensorrt"}
SCENES, TEST_SCENES, EPOCHS, FULL_EPOCHS = 240, 40, 5, 4
# (height, width) of the image that the full-size network is measured on.
IMAGE_SIZE = {"cpu": (397, 492), "cuda": (600, 800)}
BOUNDS_MS = {"cpu": 300, "cuda": 100}  # for the small network as a server
# Timed calls: of every contender at full size, and of each of its stages and surface points.
ROUNDS, CALLS = {"cpu": 10, "cuda": 50}, {"cpu": 1, "cuda": 10}
FILES = (".onnx", ".torchscript", ".pt2")
SERVED = ("fp32.onnx", "fp16.onnx", "int8.onnx")  # formats for a service

# What the benchmarks are planned to take.
SECONDS = {
    "bench-full": {"cpu": 250.0, "cuda": 180.0},
    "bench-small": {"cpu": 90.0, "cuda": 60.0},
    "surface-full": {"cpu": 110.0, "cuda": 40.0},
    "serve-small": {"cpu": 70.0, "cuda": 60.0},
}


class Plan:
    """What is done on a device, in which order."""

    def __init__(self, layout: Layout, device: str, threads: int | None = None) -> None:
        self.layout = layout
        self._device = device
        self._kind = "cuda" if device.startswith("cuda") else "cpu"
        self._threads = [] if threads is None else ["--threads", str(threads)]

    @property
    def parts(self) -> tuple[str, ...]:
        """The steps whose file is a benchmark document."""
        return ("bench-full", "bench-small", "serve-small", "surface-full")

    def steps(self) -> list[Step]:
        """All steps, in order."""
        first, *other_small = self._exports("small")
        return [
            self._synthesize(),
            *self._full_checkpoint(),
            *self._exports("full"),
            self._train("train-small", "small", ("--preset", "smoke"), EPOCHS, 20 * EPOCHS),
            first,
            self._bench_full(),
            self._verify(),
            *other_small,
            self._bench_small(),
            self._serve_small(),
            self._surface_full(),
        ]

    def _synthesize(self) -> Step:
        data = self.layout.data
        words = ["pedseg-data", "synthesize", str(data), "--images", str(SCENES), "--seed", "1"]
        return Step(
            name="data", command=lambda _done: words, makes=data / "synthesis.json", seconds=25
        )

    def _full_checkpoint(self) -> list[Step]:
        """On the CPU the network as it was made; on CUDA it is trained for some minutes."""
        layout = self.layout
        height, width = IMAGE_SIZE[self._kind]
        made = layout.checkpoint("full") if self._kind == "cpu" else layout.untrained
        words = [
            *("python", "-m", "pedseg_benchmarks.suite.full_size", str(made)),
            *("--streets", str(layout.streets), "--height", str(height), "--width", str(width)),
        ]
        steps = [Step(name="make-full", command=lambda _done: words, makes=made, seconds=60)]
        if self._kind == "cuda":
            recipe = (
                *("--preset", "smoke", "--architecture", "maskrcnn_resnet50_fpn"),
                *("--weights", str(layout.untrained), "--min-size", "800", "--max-size", "1333"),
                *("--lr", "3e-4", "--batch-size", "4", "--workers", "4"),
            )
            train = self._train("train-full", "full", recipe, FULL_EPOCHS, 150)
            steps.append(train)
        return steps

    def _train(
        self, name: str, network: str, recipe: tuple[str, ...], epochs: int, seconds: float
    ) -> Step:
        layout = self.layout
        run = layout.run(network)
        words = [
            *("pedseg-train", "--data", str(layout.data), "--output", str(run), *recipe),
            *("--epochs", str(epochs), "--test", str(TEST_SCENES), "--device", self._device),
        ]
        return Step(
            name=name,
            command=lambda _done: words,
            makes=layout.checkpoint(network),
            needs=("data", *(("make-full",) if network == "full" else ())),
            seconds=seconds,
            prepare=partial(shutil.rmtree, run, ignore_errors=True),
        )

    def _made_by(self, network: str) -> str:
        """The step that makes a checkpoint."""
        if network == "full" and self._kind == "cpu":
            return "make-full"
        return f"train-{network}"

    def _exports(self, network: str) -> list[Step]:
        return [
            self._export(network, variant, seconds)
            for variant in VARIANTS
            if (seconds := getattr(variant, network)) is not None and self._kind in variant.devices
        ]

    def _export(self, network: str, variant: Variant, seconds: float) -> Step:
        layout = self.layout
        made = layout.artifact(network, variant.file)
        is_int8 = "int8" in variant.options
        calibrated_by = {"small": "data", "full": "make-full"}[network]
        words = [
            *("pedseg-export", str(layout.checkpoint(network)), "--output", str(made)),
            *(*variant.options, "--device", self._device),
            *(("--calibration", str(layout.calibration(network))) if is_int8 else ()),
        ]
        return Step(
            name=export_name(network, variant),
            command=lambda _done: words,
            makes=made,
            needs=(self._made_by(network), *((calibrated_by,) if is_int8 else ())),
            seconds=seconds,
        )

    def _verify(self) -> Step:
        layout = self.layout
        made = layout.part("verify-small")
        words = [
            *("pedseg-verify", str(layout.artifact("small", "fp32.onnx"))),
            *("--checkpoint", str(layout.checkpoint("small")), "--images", str(layout.scenes)),
            *("--limit", "20", "--device", self._device, "--report", str(made)),
        ]
        return Step(
            name="verify-small",
            command=lambda _done: words,
            makes=made,
            needs=("export-small-fp32.onnx", "train-small"),
            seconds=25,
        )

    def _bench_full(self) -> Step:
        return self._bench(
            "bench-full",
            "full",
            self.layout.measured_image,
            *("--contenders", CONTENDERS[self._kind]),
            *("--warmup", "1", "--rounds", str(ROUNDS[self._kind]), "--stability", "5"),
            *("--cold-start", "1", "--stages", "--calls", str(CALLS[self._kind]), "--limits"),
            seconds=SECONDS["bench-full"][self._kind],
        )

    def _bench_small(self) -> Step:
        """The artifacts with their AP; other contenders are measured at full size."""
        return self._bench(
            "bench-small",
            "small",
            self.layout.scenes,
            *("--contenders", "stock-onnx", "--limit", "4", "--rounds", "10", "--stability", "5"),
            *("--data", str(self.layout.data), "--data-limit", str(TEST_SCENES)),
            *("--stages", "--limits"),
            seconds=SECONDS["bench-small"][self._kind],
        )

    def _surface_full(self) -> Step:
        """The cost of detections and pixels at full size, for the contenders that are served."""
        return self._bench(
            "surface-full",
            "full",
            self.layout.measured_image,
            *("--warmup", "1", "--rounds", "2", "--surface", "--calls", str(CALLS[self._kind])),
            seconds=SECONDS["surface-full"][self._kind],
            kinds=SERVED,
        )

    def _serve_small(self) -> Step:
        """Many images at a time, and the cost of one: eager and ONNX, or the formats there are."""
        return self._bench(
            "serve-small",
            "small",
            self.layout.scenes,
            *("--limit", "6", "--warmup", "1", "--rounds", "3", "--offline", "--surface"),
            *("--server", "--bound-ms", str(BOUNDS_MS[self._kind])),
            *("--trial-seconds", "3", "--arrivals", "100"),
            seconds=SECONDS["serve-small"][self._kind],
            kinds=SERVED,
        )

    def _bench(
        self,
        name: str,
        network: str,
        images: Path,
        *options: str,
        seconds: float,
        kinds: tuple[str, ...] = FILES,
    ) -> Step:
        layout, made = self.layout, self.layout.part(name)

        def command(done: frozenset[str]) -> list[str]:
            files = [variant.file for variant in VARIANTS if export_name(network, variant) in done]
            chosen = [file for file in files if file.endswith(kinds)] or files
            artifacts = [str(layout.artifact(network, file)) for file in chosen]
            return [
                *("pedseg-bench", "run", str(layout.checkpoint(network)), *artifacts),
                *("--images", str(images), "--device", self._device, *self._threads, *options),
                *("--cache", str(layout.folder / "stock")),
                *("--output", str(made), "--markdown", str(made.with_suffix(".md"))),
                *("--html", str(made.with_suffix(".html"))),
            ]

        return Step(
            name=name,
            command=command,
            makes=made,
            needs=(self._made_by(network), "make-full" if network == "full" else "data"),
            seconds=seconds,
            accepts=(0, 1),  # 1: a contender was found wrong, and the document says so
        )
