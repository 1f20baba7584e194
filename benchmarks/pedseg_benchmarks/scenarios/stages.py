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
from ..contenders.artifact import Artifact
from ..measuring import Entrant
from ..seats import Place
from ..sections import StageTime


def stages(
    entrants: Sequence[Entrant], image: Image, *, device: str, calls: int
) -> list[StageTime]:
    """Time the stages of answering one JPEG with COCO JSON.

    torchvision's forward pastes its masks itself, so eager and its variants have no stage `paste`.
    The copy to the GPU is measured by itself and is also part of `graph`.

    Args:
        entrants: whose answers are right.
        image: is compressed as JPEG, quality 90.
        device: of the benchmark.
        calls: per contender.
    """
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=90)
    rows = []
    for entrant in entrants:
        times = entrant.seat.do(stage_times, buffer.getvalue(), device, calls)
        rows += [StageTime(entrant.name, stage, samples) for stage, samples in times.items()]
    return rows


def stage_times(place: Place, data: bytes, device: str, calls: int) -> dict[str, list[float]]:
    """Work for a seat: stage -> milliseconds of every call, after one that is not timed."""
    loaded = place.loaded
    times: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        place.device.synchronise()
        start = place.clock()
        result = work(*arguments)
        place.device.synchronise()
        times.setdefault(stage, []).append(1e3 * (place.clock() - start))
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
