"""Compare artifacts with the eager model they were exported from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import ArtifactError, InputError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.images import find_images, read_image
from pedseg_runtime.parity import Settings
from pedseg_train.checkpoint import read_header
from pedseg_train.eager import float32_only, resolve_device

from .contenders import EAGER, Artifact, Contender, Eager, TorchDevice, artifact_names
from .environment import fingerprint, torch_threads
from .measuring import measure
from .results import BenchmarkResult


def benchmark(
    checkpoint: Path,
    artifacts: Sequence[Path],
    *,
    images: Path,
    device: str = "cpu",
    warmup: int = 3,
    rounds: int = 20,
    limit: int | None = None,
    threads: int | None = None,
    paste: bool = True,
    allow_mismatch: bool = False,
) -> BenchmarkResult:
    """Measure a checkpoint and its artifacts on the same images, parity first.

    Args:
        checkpoint: of the eager model.
        artifacts: exported from that checkpoint.
        images: an image or a folder of images.
        device: "cpu", "cuda" or "cuda:N", for every contender.
        warmup: calls per contender and image size before the timed ones.
        rounds: timed calls per contender and image.
        limit: take so many images, evenly spaced over the folder; None for all.
        threads: CPU threads for every contender; None for torch's default.
        paste: whether artifacts also paste their masks into image pixels, as eager does.
        allow_mismatch: accept artifacts of another checkpoint.

    Raises:
        ArtifactError: an artifact cannot be used, or is of another checkpoint.
        CheckpointError: the checkpoint cannot be used.
        DeviceError: a contender does not run on the device.
        InputError: there are no images, or a number is out of range.
    """
    place = parse_device(device)
    if place.kind == "auto":
        raise InputError("device: expected cpu, cuda or cuda:N, found auto; say what to measure")
    resolve_device(str(place))
    count = torch.get_num_threads() if threads is None else threads
    for name, value in {"threads": count, "warmup": warmup, "rounds": rounds}.items():
        if value < 1:
            raise InputError(f"{name}: expected a positive number, found {value}")
    header, digest = read_header(checkpoint), sha256_of(checkpoint)
    rules = Settings(header.score_threshold, header.nms_threshold, header.detections_per_image)
    files = choose_images(images, limit)
    pixels = [read_image(file) for file in files]
    expected = None if allow_mismatch else digest
    with float32_only(), torch_threads(count):
        environment = fingerprint(threads=count, gpu=place.index)
        rows = measure(
            _contenders(checkpoint, artifacts, str(place), count, paste, expected),
            pixels,
            names=[file.name for file in files],
            settings=rules,
            warmup=warmup,
            rounds=rounds,
            device=TorchDevice(str(place)),
        )
    return BenchmarkResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings={
            "architecture": header.architecture,
            "checkpoint_sha256": digest,
            "device": str(place),
            "threads": count,
            "warmup": warmup,
            "rounds": rounds,
            "paste": paste,
            **asdict(rules),
        },
        environment=environment,
        images=[
            {"name": file.name, "height": image.shape[0], "width": image.shape[1]}
            for file, image in zip(files, pixels, strict=True)
        ],
        contenders=rows,
    )


def _contenders(
    checkpoint: Path,
    artifacts: Sequence[Path],
    device: str,
    threads: int,
    paste: bool,
    checkpoint_sha256: str | None,
) -> list[Contender]:
    """Eager and the artifacts, not yet loaded."""
    start = partial(
        _open_artifact,
        device=device,
        threads=threads,
        paste=paste,
        checkpoint_sha256=checkpoint_sha256,
    )
    return [
        Contender(EAGER, checkpoint, partial(Eager, checkpoint, device=device)),
        *(
            Contender(name, path, partial(start, path))
            for name, path in zip(artifact_names(artifacts), artifacts, strict=True)
        ),
    ]


def choose_images(images: Path, limit: int | None) -> list[Path]:
    """The image files to use: all of them, or `limit` evenly spaced ones in the order of names.

    Raises:
        InputError: there are none, or `limit` is not positive.
    """
    files = find_images(images)
    if limit is None or limit >= len(files):
        return files
    if limit < 1:
        raise InputError(f"limit: expected a positive number of images, found {limit}")
    return [files[index] for index in np.linspace(0, len(files) - 1, limit).round().astype(int)]


def _open_artifact(
    path: Path, *, device: str, threads: int, paste: bool, checkpoint_sha256: str | None
) -> Artifact:
    """Load an artifact and refuse one of another checkpoint than `checkpoint_sha256`."""
    artifact = Artifact(path, device=device, threads=threads, paste=paste)
    found = artifact.manifest.checkpoint_sha256
    if checkpoint_sha256 is not None and checkpoint_sha256 != found:
        artifact.close()
        raise ArtifactError(
            f"{path}: expected an artifact of the checkpoint {checkpoint_sha256[:12]}, found one "
            f"of {found[:12]}; export it again, or compare them anyway with --allow-mismatch"
        )
    return artifact
