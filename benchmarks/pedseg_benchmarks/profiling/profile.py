"""Profiles a checkpoint or an artifact with the library that runs it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from statistics import mean

import onnxruntime
import torch

from pedseg_runtime.artifact.metadata import is_archive
from pedseg_runtime.artifact.reading import read_artifact
from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import InputError
from pedseg_runtime.images import read_image
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import is_checkpoint, load_checkpoint
from pedseg_train.eager import EagerSegmenter

from ..contenders import Image
from ..environment import torch_threads
from .profilers import profile_onnx, profile_torch
from .result import Node, Profile, ProfilePlan, TimedRuns, by_operator

LAUNCHES = (
    "on a GPU onnxruntime's times are of launching a node, not of the GPU's work: they show what "
    "the host is busy with, and what runs on the CPU"
)
GPU_ONLY = "times of the GPU's own work; what the host does between is in the trace"


def profile(
    path: Path,
    *,
    image: Path,
    output: Path,
    device: str = "cpu",
    threads: int | None = None,
    warmup: int = 3,
    runs: int = 5,
) -> Profile:
    """Profile a model on one image and leave the raw trace.

    Args:
        path: a checkpoint, or an artifact of any format.
        image: an image file; use one with people on it.
        output: folder for the trace; made if missing.
        device: "cpu", "cuda", "cuda:N" or "tensorrt".
        threads: CPU threads; None for the library's choice.
        warmup: runs before those that count.
        runs: runs that the times are averages of.

    Raises:
        ArtifactError: the artifact cannot be used.
        CheckpointError: the checkpoint cannot be used.
        DeviceError: the model does not run on the device.
        InputError: the image cannot be read, or a number is out of range.
    """
    for name, value in {"warmup": warmup, "runs": runs}.items():
        if value < 1:
            raise InputError(f"{name}: expected a positive number, found {value}")
    if parse_device(device).kind == "auto":
        raise InputError("device: expected cpu, cuda or cuda:N, found auto; say what to profile")
    if parse_device(device).kind == "openvino":
        raise InputError(
            "device: expected cpu, cuda, cuda:N or tensorrt, found openvino, whose layers are not "
            "timed; use --device cpu"
        )
    pixels = read_image(image)
    output.mkdir(parents=True, exist_ok=True)
    trace = output / f"{path.stem}-{device.replace(':', '')}.json"
    plan = ProfilePlan(warmup, runs, trace)
    if not is_checkpoint(path) and not is_archive(path):
        nodes, timed, provider = profile_onnx(
            read_artifact(path), pixels, device=device, threads=threads, plan=plan
        )
        on_gpu = provider != "CPUExecutionProvider"
        library, note = f"onnxruntime {onnxruntime.__version__}", LAUNCHES if on_gpu else ""
    else:
        with torch_threads(threads or torch.get_num_threads()):
            nodes, timed, provider = _by_torch(path, pixels, device, plan)
        library, note = f"torch {torch.__version__}", GPU_ONLY if "cuda" in provider else ""
    return Profile(
        source=path.name,
        library=library,
        provider=provider,
        height=pixels.shape[0],
        width=pixels.shape[1],
        detections=timed.detections,
        runs=runs,
        wall_ms=mean(timed.milliseconds),
        nodes_ms=sum(node.ms for node in nodes),
        shape_of="output" if library.startswith("onnx") else "inputs",
        note=note,
        trace=trace.name,
        nodes=nodes,
        operators=by_operator(nodes),
    )


def _by_torch(
    path: Path, image: Image, device: str, plan: ProfilePlan
) -> tuple[list[Node], TimedRuns, str]:
    """Profile eager, TorchScript or torch.export."""
    if is_checkpoint(path):
        loaded = load_checkpoint(path)
        eager = EagerSegmenter(loaded.model, class_names=loaded.header.class_names, device=device)
        nodes, timed = profile_torch(lambda: len(eager(image)), provider=eager.provider, plan=plan)
        return nodes, timed, eager.provider
    with closing(Segmenter.load(path, device=device, self_test=False)) as segmenter:
        nodes, timed = profile_torch(
            lambda: len(segmenter(image)), provider=segmenter.provider, plan=plan
        )
        return nodes, timed, segmenter.provider
