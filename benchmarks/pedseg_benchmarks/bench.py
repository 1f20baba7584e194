"""Compare artifacts, and other ways to run their checkpoint, with eager PyTorch."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache as cached
from functools import partial
from pathlib import Path

import torch

from pedseg_export.verification import rerun
from pedseg_runtime.devices import Device, parse_device
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.images import read_image
from pedseg_runtime.parity import Settings
from pedseg_train.checkpoint import load_checkpoint, read_header, with_settings
from pedseg_train.eager import EagerSegmenter, float32_only, resolve_device

from .configuration import configuration, read_manifests
from .contenders import Contender
from .contenders.devices import TorchDevice
from .contenders.roster import Conditions, line_up
from .environment import fingerprint, torch_threads
from .judging import Judge
from .limits import Gauge, limits
from .material import Labelled, choose_images, open_gate
from .measuring import enter, time_entrants
from .questions import Questions, answer
from .results import BenchmarkResult
from .seats import IsolatedSeat, LocalSeat, Seat
from .surfaces.latency import Resize


def benchmark(
    checkpoint: Path,
    artifacts: Sequence[Path],
    *,
    images: Path,
    device: str = "cpu",
    optional: Sequence[str] = (),
    warmup: int = 3,
    rounds: int = 20,
    stability: float | None = None,
    limit: int | None = None,
    threads: int | None = None,
    paste: bool = True,
    isolate: bool = False,
    allow_mismatch: bool = False,
    labelled: Labelled | None = None,
    questions: Questions | None = None,
    cache: Path | None = None,
) -> BenchmarkResult:
    """Measure a checkpoint and its artifacts on the same images, their answers first.

    Args:
        checkpoint: of the eager model. It is run with the artifacts' own sizes and thresholds.
        artifacts: exported from that checkpoint, all with the same sizes and thresholds.
        images: an image or a folder of images.
        device: "cpu", "cuda" or "cuda:N", for every contender.
        optional: other contenders, names of `contenders.roster.OPTIONAL`.
        warmup: calls per contender and image size before the timed ones.
        rounds: most timed calls per contender and image.
        stability: stop earlier when three windows of rounds agree within so many percent.
        limit: take so many images, evenly spaced over the folder; None for all.
        threads: CPU threads for every contender; None for torch's default.
        paste: whether artifacts also paste their masks into image pixels, as eager does.
        isolate: give every contender a process of its own.
        allow_mismatch: accept artifacts of another checkpoint.
        labelled: images to measure AP on.
        questions: what to measure beyond one image at a time.
        cache: folder for torchvision's own export; None makes it anew each time.

    Raises:
        ArtifactError: an artifact cannot be used, or is of another checkpoint.
        CheckpointError: the checkpoint cannot be used.
        DeviceError: a contender that is not optional does not run on the device.
        InputError: there are no images, artifacts differ in their settings, or a number is out of
            range.
    """
    place = _place(device)
    count = torch.get_num_threads() if threads is None else threads
    for name, value in {"threads": count, "warmup": warmup, "rounds": rounds}.items():
        if value < 1:
            raise InputError(f"{name}: expected a positive number, found {value}")
    header, digest = read_header(checkpoint), sha256_of(checkpoint)
    manifests = read_manifests(artifacts, None if allow_mismatch else digest)
    settings, overrides = configuration(header, manifests)
    files = choose_images(images, limit)
    pixels = [read_image(file) for file in files]
    gate = None if labelled is None else open_gate(labelled, checkpoint)
    truth = cached(partial(_truth, checkpoint, overrides, str(place)))
    judge = Judge(
        _rules(settings),
        [file.name for file in files],
        gate,
        reruns=lambda at: rerun(truth(), pixels[at]),
    )
    with ExitStack() as stack:
        stack.enter_context(float32_only())
        stack.enter_context(torch_threads(count))
        folder = cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = fingerprint(threads=count, gpu=place.index)
        conditions = Conditions(
            device=str(place), threads=count, paste=paste, cache=folder, settings=overrides
        )
        onnx = [path for path, manifest in manifests.items() if manifest.format == "onnx"]
        entrants, missing = enter(
            line_up(checkpoint, artifacts, optional, conditions, onnx=onnx),
            pixels,
            judge=judge,
            warmup=warmup,
            take_seat=_taker(str(place), count, isolate),
            stack=stack,
        )
        asked = questions or Questions()
        gauge = Gauge(str(place), threads=count) if asked.is_limited else None
        rows, drift = time_entrants(
            entrants, pixels, rounds=rounds, stability=stability, between=gauge
        )
        passed = [entrant for entrant in entrants if entrant.verdict.passed]
        resize = Resize(int(settings["min_size"]), int(settings["max_size"]))
        sections, lacking = answer(asked, passed, pixels, conditions, resize)
        if gauge is not None:
            machine = gauge.machine()
            sections = dataclasses.replace(
                sections, machine=machine, limits=limits(truth().model, pixels, rows, machine)
            )
    return BenchmarkResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings={
            "architecture": header.architecture,
            "checkpoint_sha256": digest,
            "device": str(place),
            "threads": count,
            "warmup": warmup,
            "rounds": len(rows[0].samples_ms),
            "max_rounds": rounds,
            "stability": stability,
            "paste": paste,
            "isolate": isolate,
            **settings,
        },
        environment=environment,
        images=[
            {"name": file.name, "height": image.shape[0], "width": image.shape[1]}
            for file, image in zip(files, pixels, strict=True)
        ],
        contenders=rows,
        sections=sections,
        not_run=missing + lacking,
        drift=drift,
    )


def _truth(checkpoint: Path, overrides: Mapping[str, float], device: str) -> EagerSegmenter:
    """Eager, outside of the race, for whoever asks it more than its detections."""
    loaded = with_settings(load_checkpoint(checkpoint), **overrides)
    return EagerSegmenter(loaded.model, class_names=loaded.header.class_names, device=device)


def _rules(settings: Mapping[str, float]) -> Settings:
    """By which all contenders choose their detections."""
    return Settings(
        settings["score_threshold"],
        settings["nms_threshold"],
        int(settings["detections_per_image"]),
        int(settings["min_size"]),
        int(settings["max_size"]),
    )


def _place(device: str) -> Device:
    place = parse_device(device)
    if place.kind == "auto":
        raise InputError("device: expected cpu, cuda or cuda:N, found auto; say what to measure")
    if place.kind == "tensorrt":
        raise InputError(
            "device: expected cpu, cuda or cuda:N, found tensorrt; use --device cuda "
            "--contenders tensorrt, which runs the ONNX artifacts by both"
        )
    resolve_device(str(place))
    return place


def _taker(device: str, threads: int, isolate: bool) -> Callable[[Contender], Seat]:
    if isolate:
        return partial(IsolatedSeat, device=device, threads=threads)
    return partial(LocalSeat, device=TorchDevice(device))
