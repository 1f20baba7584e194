"""Compare artifacts, and other ways to run their checkpoint, with eager PyTorch.

`benchmark` first prepares: files, settings and images. Then it times: all contenders are loaded,
checked for correctness and measured. Then it assembles the result.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from pedseg_export.accuracy_gate import AccuracyGate
from pedseg_export.verification import rerun
from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.backends.float32 import float32_only
from pedseg_runtime.devices import Device
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.parity import Settings
from pedseg_train.checkpoint import CheckpointHeader, load_checkpoint, read_header, with_settings
from pedseg_train.eager import EagerSegmenter

from .contender_rows import contender_rows
from .contenders import Contender, Image, registry
from .contenders.base import TorchDevice
from .contenders.registry import Conditions
from .correctness import CorrectnessCheck
from .dataset_selection import LabelledData, choose_images, read_images
from .environment import fingerprint, torch_threads
from .harness import ImagesFailedError, Rounds, load_contenders, time_contenders
from .results import BenchmarkResult, ContenderResult, NotRun
from .roofline import PeakRateMeter, roofline
from .scenario_results import ScenarioResults
from .scenarios.plan import MeasurementPlan, measure_scenarios
from .scenarios.surfaces import Resize
from .statistics import Drift, drift
from .workers import IsolatedWorker, LocalWorker, Worker


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What to measure, and how.

    Attributes:
        checkpoint: of the eager model. It is run with the artifacts' own sizes and thresholds.
        artifacts: exported from that checkpoint, all with the same sizes and thresholds.
        images: an image or a folder of images.
        device: "cpu", "cuda" or "cuda:N", for every contender.
        optional: other contenders, names of `contenders.registry.OPTIONAL`.
        warmup: calls per contender and image size before the timed ones, at least 1.
        rounds: most timed calls per contender and image, at least 1.
        stability: stop earlier when three windows of rounds agree within so many percent.
        limit: take so many images, evenly spaced over the folder; None for all.
        threads: CPU threads for every contender; None for torch's default.
        paste: whether artifacts also paste their masks into image pixels, as eager does.
        isolate: give every contender a process of its own.
        allow_mismatch: accept artifacts of another checkpoint.
        labelled: images to measure AP on; None to leave AP out.
        plan: what to measure beyond one image at a time.
        cache: folder for torchvision's own export; None makes it anew each time.

    Raises:
        InputError: `threads`, `warmup` or `rounds` is not positive.
    """

    checkpoint: Path
    artifacts: Sequence[Path]
    images: Path
    device: str = "cpu"
    optional: Sequence[str] = ()
    warmup: int = 3
    rounds: int = 20
    stability: float | None = None
    limit: int | None = None
    threads: int | None = None
    paste: bool = True
    isolate: bool = False
    allow_mismatch: bool = False
    labelled: LabelledData | None = None
    plan: MeasurementPlan = field(default_factory=MeasurementPlan)
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "warmup", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a positive number, found {value}")


def benchmark(
    options: BenchmarkOptions, *, save: Callable[[BenchmarkResult], object] = lambda _result: None
) -> BenchmarkResult:
    """Measure a checkpoint and its artifacts on the same images, after checking their detections.

    Args:
        options: what to measure.
        save: is given what is known already, every `SAVING` seconds of the rounds and after them;
            its settings have `interim`.

    Raises:
        ArtifactError: an artifact cannot be used, or is of another checkpoint.
        CheckpointError: the checkpoint cannot be used.
        DeviceError: a contender that is not optional does not run on the device.
        InputError: there are no images, or artifacts differ in their settings.
    """
    prepared = _prepare(options)
    while True:
        try:
            measured = _time(options, prepared, save)
        except ImagesFailedError as failure:  # others do not: measure those, from the start
            prepared = prepared.without(failure.reasons)
        else:
            return _assemble(options, prepared, measured)


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """All that is read and decided before a contender is loaded.

    Attributes:
        device: of all contenders.
        threads: CPU threads of every contender.
        header, digest: of the checkpoint; its SHA-256.
        manifests: of the artifacts.
        settings: sizes and thresholds of the benchmark, see `shared_settings`.
        overrides: those that differ from the checkpoint's.
        files: of the images.
        images: uint8 [H, W, 3] RGB each.
        left_out: images that cannot be read or that a contender fails on.
        gate: for AP on labelled images; None without them.
    """

    options: BenchmarkOptions
    device: Device
    threads: int
    header: CheckpointHeader
    digest: str
    manifests: Mapping[Path, Manifest]
    settings: Mapping[str, float]
    overrides: Mapping[str, float]
    files: Sequence[Path]
    images: Sequence[Image]
    left_out: Sequence[NotRun]
    gate: AccuracyGate | None

    def without(self, reasons: Mapping[int, str]) -> _Prepared:
        """The same without images, given by their position and why they are left out.

        Raises:
            InputError: none would be left.
        """
        kept = [at for at in range(len(self.files)) if at not in reasons]
        if not kept:
            raise InputError(f"expected images that all contenders run, found none: {reasons[0]}")
        return dataclasses.replace(
            self,
            files=[self.files[at] for at in kept],
            images=[self.images[at] for at in kept],
            left_out=[
                *self.left_out,
                *(NotRun(self.files[at].name, reason) for at, reason in reasons.items()),
            ],
        )

    @cached_property
    def eager(self) -> EagerSegmenter:
        """Eager apart from the timed contenders: for reruns with noise and counting operations."""
        loaded = with_settings(load_checkpoint(self.options.checkpoint), **self.overrides)
        return EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device=str(self.device)
        )

    @property
    def resize(self) -> Resize:
        """The resize rule of all contenders."""
        return Resize(int(self.settings["min_size"]), int(self.settings["max_size"]))

    def correctness_check(self) -> CorrectnessCheck:
        """A check against the first contender, by the settings of the benchmark."""
        settings = Settings(
            self.settings["score_threshold"],
            self.settings["nms_threshold"],
            int(self.settings["detections_per_image"]),
            self.resize.min_size,
            self.resize.max_size,
        )
        return CorrectnessCheck(
            settings,
            [file.name for file in self.files],
            self.gate,
            reruns=lambda position: rerun(self.eager, self.images[position]),
        )

    def contenders(self, conditions: Conditions) -> list[Contender]:
        """All contenders, not yet loaded."""
        onnx = [path for path, manifest in self.manifests.items() if manifest.format == "onnx"]
        options = self.options
        return registry.build_contenders(
            options.checkpoint, options.artifacts, options.optional, conditions, onnx=onnx
        )


def _prepare(options: BenchmarkOptions) -> _Prepared:
    """Read everything but the models; wrong input ends here."""
    device = registry.measured_device(options.device)
    header, digest = read_header(options.checkpoint), sha256_of(options.checkpoint)
    manifests = registry.read_manifests(
        options.artifacts, None if options.allow_mismatch else digest
    )
    settings, overrides = registry.shared_settings(header, manifests)
    files, images, left_out = read_images(
        choose_images(options.images, options.limit),
        min_size=int(settings["min_size"]),
        max_size=int(settings["max_size"]),
    )
    labelled = options.labelled
    return _Prepared(
        options=options,
        device=device,
        threads=options.threads or torch.get_num_threads(),
        header=header,
        digest=digest,
        manifests=manifests,
        settings=settings,
        overrides=overrides,
        files=files,
        images=images,
        left_out=left_out,
        gate=None if labelled is None else labelled.open_gate(options.checkpoint),
    )


@dataclass(frozen=True)
class _Measured:
    """All that was measured; see `BenchmarkResult`. `interim`: there is more to come."""

    environment: Mapping[str, Any]
    rows: list[ContenderResult]
    scenarios: ScenarioResults
    not_run: list[NotRun]
    drift: Drift | None
    interim: bool = False


def _time(
    options: BenchmarkOptions, prepared: _Prepared, save: Callable[[BenchmarkResult], object]
) -> _Measured:
    """Load, check and measure all contenders; they are closed at the end."""
    device, threads, images = str(prepared.device), prepared.threads, prepared.images
    with ExitStack() as stack:
        stack.enter_context(float32_only(torch))
        stack.enter_context(torch_threads(threads))
        folder = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = fingerprint(threads=threads, gpu=prepared.device.index)
        conditions = Conditions(
            device=device,
            threads=threads,
            paste=options.paste,
            cache=folder,
            settings=prepared.overrides,
        )
        loaded, missing = load_contenders(
            prepared.contenders(conditions),
            images,
            check=prepared.correctness_check(),
            warmup=options.warmup,
            start_worker=_worker_factory(device, threads, isolate=options.isolate),
            stack=stack,
        )
        passed = [contender for contender in loaded if contender.verdict.passed]
        meter = PeakRateMeter(device, threads=threads) if options.plan.roofline else None

        def keep(rounds: Rounds) -> list[ContenderResult]:
            rows = contender_rows(loaded, rounds)
            known = _Measured(environment, rows, ScenarioResults(), missing, None, interim=True)
            save(_assemble(options, prepared, known))
            return rows

        rounds = time_contenders(
            passed,
            images,
            rounds=options.rounds,
            stability=options.stability,
            between=meter,
            save=keep,
        )
        rows = keep(rounds)
        scenarios, lacking = measure_scenarios(
            options.plan, passed, images, conditions, prepared.resize
        )
        if meter is not None:
            machine = meter.machine()
            limits = roofline(prepared.eager.model, images, rows, machine)
            scenarios = dataclasses.replace(scenarios, machine=machine, limits=limits)
    return _Measured(
        environment=environment,
        rows=rows,
        scenarios=scenarios,
        not_run=missing + lacking,
        drift=drift(rounds.seconds[0]),
    )


def _worker_factory(device: str, threads: int, *, isolate: bool) -> Callable[[Contender], Worker]:
    if isolate:
        return partial(IsolatedWorker, device=device, threads=threads)
    return partial(LocalWorker, device=TorchDevice(device))


def _assemble(
    options: BenchmarkOptions, prepared: _Prepared, measured: _Measured
) -> BenchmarkResult:
    return BenchmarkResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings={
            "architecture": prepared.header.architecture,
            "checkpoint_sha256": prepared.digest,
            "device": str(prepared.device),
            "threads": prepared.threads,
            "warmup": options.warmup,
            "rounds": len(measured.rows[0].samples_ms),
            "max_rounds": options.rounds,
            "stability": options.stability,
            "paste": options.paste,
            "isolate": options.isolate,
            **prepared.settings,
            **({"interim": True} if measured.interim else {}),
        },
        environment=measured.environment,
        images=[
            {"name": file.name, "height": image.shape[0], "width": image.shape[1]}
            for file, image in zip(prepared.files, prepared.images, strict=True)
        ],
        contenders=measured.rows,
        sections=measured.scenarios,
        not_run=measured.not_run,
        drift=measured.drift,
        left_out=list(prepared.left_out),
    )
