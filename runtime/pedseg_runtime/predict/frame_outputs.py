"""What is written of a video's frames, and what is kept of those that fail."""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np

from ..blur import blur_whole
from ..detections import Detections
from ..errors import InputError
from .jobs import reason_of
from .video.frames import Frame
from .video.writing import VideoWriter


class FrameFailures:
    """How many frames failed, and why the first did: a long video may have many.

    Attributes:
        count: how many there were.
        first: the name and the reason of the first one; empty without any.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, frame: Frame, error: Exception) -> None:
        """Note that a frame failed with `error`."""
        name, reason = f"frame {frame.index}: ", reason_of(error)
        self.first = self.first or (reason if reason.startswith(name) else f"{name}{reason}")
        self.count += 1


def draw_frame(overlay: VideoWriter, frame: Frame, latest: Detections) -> InputError | None:
    """Write a frame with the latest detections, if they are of its size.

    Returns:
        Why it has no pixels to write; None if it has.

    Raises:
        InputError: the encoder takes no such frame.
        OSError: the file cannot be written.
    """
    try:
        pixels = frame.pixels()
    except InputError as error:
        return error
    fits = latest.image_size == pixels.shape[:2]
    overlay.write(np.asarray(latest.draw(pixels)) if fits else pixels, frame)
    return None


def blur_frame(blurred: VideoWriter, frame: Frame, found: Detections | None) -> None:
    """Write a frame with what was found on it blurred; with None all of it is.

    A frame without pixels is left out.

    Raises:
        InputError: the encoder takes no such frame.
        OSError: the file cannot be written.
    """
    try:
        pixels = frame.pixels()
    except InputError:  # noted where it was to be segmented
        return
    shown = blur_whole(pixels) if found is None else found.blur(pixels)
    blurred.write(np.asarray(shown), frame)


def write_line(
    stream: IO[str], source: str, frame: Frame, detections: Detections, **more: Any
) -> None:
    """Write a JSON line: source, frame, seconds from the first one, size, COCO results of it."""
    height, width = detections.image_size
    line = {
        "file": source,
        "frame": frame.index,
        "time": round(float(frame.time), 6),
        **more,
        "width": width,
        "height": height,
        "detections": detections.to_coco(frame.index),
    }
    stream.write(json.dumps(line, allow_nan=False) + "\n")
