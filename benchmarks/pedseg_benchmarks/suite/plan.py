"""The steps of the suite, the most telling ones first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pedseg_runtime.errors import InputError

from .steps import CARRIED_SUFFIX, Step

CPU_CONTENDERS = "eager,eager-autocast,eager-channels-last,eager-compile,stock-onnx,openvino"
CUDA_CONTENDERS = "eager,eager-autocast,eager-channels-last,eager-compile,stock-onnx,tensorrt"
SCENES, TEST_SCENES, EPOCHS = 240, 40, 5
# The size of the picture that the full-size network is measured on: (height, width).
CPU_PICTURE, CUDA_PICTURE = (397, 492), (600, 800)


@dataclass(frozen=True, slots=True)
class Variant:
    """An artifact of the suite.

    Attributes:
        file: its name.
        options: of pedseg-export.
        seconds: to export the small network; the full-size one takes `FULL_EXPORT` times as long.
        devices: where it is of use.
    """

    file: str
    options: tuple[str, ...]
    seconds: float
    devices: tuple[str, ...] = ("cpu", "cuda")


VARIANTS = (
    Variant("fp32.onnx", ("--format", "onnx"), 50),
    Variant("fp16.onnx", ("--format", "onnx", "--precision", "fp16"), 60, ("cuda",)),
    Variant("int8.onnx", ("--format", "onnx", "--precision", "int8"), 70, ("cpu",)),
    Variant("fp32.torchscript", ("--format", "torchscript"), 25),
    Variant("fp16.torchscript", ("--format", "torchscript", "--precision", "fp16"), 30, ("cuda",)),
    Variant("fp32.pt2", ("--format", "pt2"), 35),
    Variant("full-masks.onnx", ("--format", "onnx", "--masks", "full"), 50),
)
FULL_EXPORT = 1.5
FULL_VARIANTS = ("fp32.onnx", "fp16.onnx", "int8.onnx", "fp32.torchscript", "fp16.torchscript")


class Plan:
    """Where everything lies in the suite's folder, and what is done in which order."""

    def __init__(self, folder: Path, device: str, threads: int | None = None) -> None:
        self.folder = folder
        self.device = device
        self.kind = "cuda" if device.startswith("cuda") else "cpu"
        self.data = folder / "data"
        self.small, self.full = folder / "models" / "small", folder / "models" / "full"
        self.picture = folder / "picture" / "street.png"
        self._threads = [] if threads is None else ["--threads", str(threads)]

    def parts(self) -> dict[str, Path]:
        """The benchmark documents by the step that makes them."""
        names = ("bench-full", "bench-small", "surface-full")
        return {name: self.folder / "parts" / f"{name}.json" for name in names}

    def steps(self) -> list[Step]:
        """All steps, in order."""
        small, full = self._exports("small"), self._exports("full")
        first, *other_small = small
        return [
            self._synthesize(),
            *self._full_checkpoint(),
            *full,
            self._train(),
            first,
            self._verify(),
            self._bench_full(),
            *other_small,
            self._bench_small(),
            self._surface_full(),
        ]

    def checkpoint(self, network: str) -> Path:
        """The checkpoint of `small` or `full`."""
        return self.folder / "models" / network / "best.safetensors"

    def carry_over(self, source: Path) -> list[str]:
        """Copy ready-made models from the folder of another machine's suite.

        Args:
            source: that folder, or its `models`.

        Returns:
            The names of the files that were taken.

        Raises:
            InputError: there is nothing to take.
        """
        models = source / "models" if (source / "models").is_dir() else source
        taken = []
        for network in ("small", "full"):
            for path in sorted((models / network).glob("*.*")):
                if path.suffix not in (".safetensors", ".onnx", ".torchscript", ".pt2", ".json"):
                    continue
                target = self.folder / "models" / network / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
                target.with_name(target.name + CARRIED_SUFFIX).touch()
                taken.append(f"{network}/{path.name}")
        picture = models.parent / "picture" / self.picture.name
        if picture.is_file():
            self.picture.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(picture, self.picture)
        if not any(name.endswith(".safetensors") for name in taken):
            raise InputError(
                f"{source}: expected models/small/best.safetensors or models/full/"
                "best.safetensors as a suite writes them, found neither; give a suite's folder"
            )
        return taken

    def _synthesize(self) -> Step:
        return Step(
            name="data",
            command=lambda: [
                *("pedseg-data", "synthesize", str(self.data)),
                *("--images", str(SCENES), "--seed", "1"),
            ],
            makes=self.data / "synthesis.json",
            seconds=25,
        )

    def _train(self) -> Step:
        made = self.checkpoint("small")
        return Step(
            name="train-small",
            command=lambda: [
                *("pedseg-train", "--data", str(self.data), "--output", str(self.small)),
                *("--preset", "smoke", "--epochs", str(EPOCHS), "--test", str(TEST_SCENES)),
                *("--device", self.device),
            ],
            makes=made,
            needs=(self.data / "synthesis.json",),
            seconds=20 * EPOCHS,
        )

    def _full_checkpoint(self) -> list[Step]:
        """On the CPU random weights; on CUDA they are trained for a few minutes."""
        made = self.checkpoint("full")
        height, width = CPU_PICTURE if self.kind == "cpu" else CUDA_PICTURE
        untrained = made if self.kind == "cpu" else self.full / "untrained.safetensors"
        steps = [
            Step(
                name="make-full",
                command=lambda: [
                    *("python", "-m", "pedseg_benchmarks.suite.full_size", str(untrained)),
                    *("--picture", str(self.picture)),
                    *("--height", str(height), "--width", str(width)),
                ],
                makes=untrained,
                seconds=15,
            )
        ]
        if self.kind == "cuda":
            steps.append(
                Step(
                    name="train-full",
                    command=lambda: [
                        *("pedseg-train", "--data", str(self.data), "--output", str(self.full)),
                        *("--preset", "smoke", "--architecture", "maskrcnn_resnet50_fpn"),
                        *("--weights", str(untrained), "--min-size", "800", "--max-size", "1333"),
                        *("--lr", "3e-4", "--epochs", "4", "--batch-size", "4", "--workers", "4"),
                        *("--test", str(TEST_SCENES), "--device", self.device),
                    ],
                    makes=made,
                    needs=(untrained, self.data / "synthesis.json"),
                    seconds=120,
                )
            )
        return steps

    def _exports(self, network: str) -> list[Step]:
        folder, checkpoint = self.folder / "models" / network, self.checkpoint(network)
        slower = FULL_EXPORT if network == "full" else 1.0
        steps = []
        for variant in VARIANTS:
            if self.kind not in variant.devices:
                continue
            if network == "full" and variant.file not in FULL_VARIANTS:
                continue
            made = folder / variant.file
            pictures = str(self.data / "PNGImages")
            calibration = ("--calibration", pictures) if "int8" in variant.options else ()
            words = [
                *("pedseg-export", str(checkpoint), "--output", str(made), *variant.options),
                *calibration,
                *("--device", self.device),
            ]
            needs = (checkpoint, self.data / "synthesis.json") if calibration else (checkpoint,)
            steps.append(
                Step(
                    name=f"export-{network}-{variant.file}",
                    command=lambda words=words: words,  # type: ignore[misc]
                    makes=made,
                    needs=needs,
                    seconds=variant.seconds * slower,
                )
            )
        return steps

    def _verify(self) -> Step:
        made = self.folder / "parts" / "verify-small.json"
        artifact = self.small / "fp32.onnx"
        return Step(
            name="verify-small",
            command=lambda: [
                *("pedseg-verify", str(artifact), "--checkpoint", str(self.checkpoint("small"))),
                *("--images", str(self.data / "PNGImages"), "--limit", "20"),
                *("--device", self.device, "--report", str(made)),
            ],
            makes=made,
            needs=(artifact, self.data / "synthesis.json"),
            seconds=25,
            accepts=(0, 1),
        )

    def _bench_full(self) -> Step:
        made = self.parts()["bench-full"]
        return Step(
            name="bench-full",
            command=lambda: self._bench(
                *("full", made, str(self.picture)),
                *("--warmup", "1", "--rounds", "12", "--stability", "5"),
                *("--cold-start", "2", "--stages", "--calls", "3"),
            ),
            makes=made,
            needs=(self.checkpoint("full"), self.picture),
            seconds=560,
            accepts=(0, 1),
        )

    def _bench_small(self) -> Step:
        made = self.parts()["bench-small"]
        bound = "500" if self.kind == "cpu" else "100"
        return Step(
            name="bench-small",
            command=lambda: self._bench(
                *("small", made, str(self.data / "PNGImages")),
                *("--limit", "6", "--rounds", "20", "--stability", "5"),
                *("--data", str(self.data), "--data-limit", "40"),
                *("--offline", "--surface", "--cold-start", "3", "--stages"),
                *("--server", "--bound-ms", bound, "--trial-seconds", "4", "--arrivals", "100"),
            ),
            makes=made,
            needs=(self.checkpoint("small"), self.data / "synthesis.json"),
            seconds=420,
            accepts=(0, 1),
        )

    def _surface_full(self) -> Step:
        """The cost of detections and pixels at full size, for the contenders that matter."""
        made = self.parts()["surface-full"]
        return Step(
            name="surface-full",
            command=lambda: [
                *("pedseg-bench", "run", str(self.checkpoint("full"))),
                *(str(path) for path in self._made("full") if path.suffix == ".onnx"),
                *("--images", str(self.picture), "--device", self.device, *self._threads),
                *("--warmup", "1", "--rounds", "3", "--surface", "--calls", "2"),
                *("--output", str(made), "--markdown", str(made.with_suffix(".md"))),
            ],
            makes=made,
            needs=(self.checkpoint("full"), self.picture),
            seconds=240,
            accepts=(0, 1),
        )

    def _bench(self, network: str, made: Path, images: str, *options: str) -> list[str]:
        contenders = CPU_CONTENDERS if self.kind == "cpu" else CUDA_CONTENDERS
        return [
            *("pedseg-bench", "run", str(self.checkpoint(network))),
            *(str(path) for path in self._made(network)),
            *("--images", images, "--device", self.device, *self._threads),
            *("--contenders", contenders, *options),
            *("--cache", str(self.folder / "stock")),
            *("--output", str(made), "--markdown", str(made.with_suffix(".md"))),
        ]

    def _made(self, network: str) -> list[Path]:
        """The artifacts of a network that are there."""
        folder = self.folder / "models" / network
        return [folder / one.file for one in VARIANTS if (folder / one.file).is_file()]
