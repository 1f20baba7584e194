"""Where the time of one request goes: decode, copy, graph, paste, encode."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch

from pedseg_runtime.detections import Detections
from pedseg_runtime.images import read_image

from ..contenders import Image
from ..contenders.artifacts import Artifact
from ..harness import LoadedContender
from ..scenario_results import StageTime
from ..workers import WorkerContext


def stages(
    contenders: Sequence[LoadedContender], image: Image, *, device: str, calls: int
) -> list[StageTime]:
    """Time the stages of answering one JPEG with COCO JSON.

    torchvision's forward pastes its masks itself, so eager and its variants have no stage `paste`.
    The copy to the GPU is measured by itself and is also part of `graph`.

    Args:
        contenders: that passed the correctness check.
        image: is compressed as JPEG, quality 90.
        device: of the benchmark.
        calls: per contender.
    """
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=90)
    rows = []
    for contender in contenders:
        times = contender.worker.run(stage_times, buffer.getvalue(), device, calls)
        rows += [StageTime(contender.name, stage, samples) for stage, samples in times.items()]
    return rows


def stage_times(
    context: WorkerContext, data: bytes, device: str, calls: int
) -> dict[str, list[float]]:
    """Runs in a worker: stage -> milliseconds of every call, after one that is not timed."""
    loaded = context.model
    times: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        context.device.synchronise()
        start = context.clock()
        result = work(*arguments)
        context.device.synchronise()
        times.setdefault(stage, []).append(1e3 * (context.clock() - start))
        return result

    for _ in range(calls + 1):
        image = timed("decode", read_image, data)
        if device.startswith("cuda"):
            timed("host-to-device", torch.from_numpy(np.array(image)).to, device)
        if isinstance(loaded, Artifact):
            found = timed("graph", loaded.segmenter, image)
            timed("paste", found.masks)
        else:
            (found,) = timed("graph", loaded.infer, [image])
        timed("encode", _encoded, found)
    return {stage: samples[1:] for stage, samples in times.items()}


def _encoded(found: Detections) -> bytes:
    return json.dumps(found.to_coco(0)).encode()
