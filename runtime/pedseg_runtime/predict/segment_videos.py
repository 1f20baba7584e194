"""Segmenting videos: a video with the detections drawn on it, and JSON lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from ..detections import Detections
from ..files import replacing
from ..text import pluralize
from .jobs import FailedFile, Job, PredictedFile, PredictionContext, reason_of
from .journal import Entry, Fingerprint
from .video_reading import Frame, VideoReader
from .video_writing import VideoWriter

OnFrames = Callable[[Path, int, int | None], object]
# Most frames that wait for their batch, decoded: 12 MB each at 3840x2160.
_WAITING = 32


def segment_video(
    context: PredictionContext, job: Job, on_frames: OnFrames | None
) -> PredictedFile | FailedFile:
    """Segment a video, write its outputs, and return the outcome.

    Of a damaged video all that can be decoded is written. Only a whole one is noted in the
    journal, as {"frames", "detections"}, two counts.

    Args:
        context: how to segment and where to write.
        job: the video.
        on_frames: called with the file, the number of frames done, and that of all if known.

    Raises:
        OSError: a result cannot be written.
    """
    try:
        fingerprint = Fingerprint.of(job.file)
        with VideoReader(job.file) as reader:
            detections, failures = _predict_frames(context, job, reader, on_frames)
    except OSError:
        raise
    except Exception as error:  # any: it is this file's
        return FailedFile.because(job.file, error)
    damage = reader.damage
    if failures:
        damage = (
            f"{job.file}: expected to segment all frames, found that {len(failures)} failed, the "
            f"first is {failures[0]}; the results lack them"
        )
    elif damage is None:
        counts = {"frames": reader.decoded, "detections": detections}
        context.journal.add(Entry(fingerprint, job.outputs, counts))
    else:
        damage = (
            f"{job.file}: expected a whole video, found {damage}; the results hold the "
            f"{pluralize(reader.decoded, 'frame')} that could be decoded, get the file anew"
        )
    return PredictedFile(
        job.file, job.paths(context.output), detections, frames=reader.decoded, damage=damage
    )


def _predict_frames(
    context: PredictionContext, job: Job, reader: VideoReader, on_frames: OnFrames | None
) -> tuple[int, list[str]]:
    """Segment and write all frames there are.

    A frame that fails keeps the detections before it in the overlay, and has no JSON line.

    Returns:
        The number of detections, and why frames failed.
    """
    count = 0
    failures: list[str] = []
    latest = Detections.empty((0, 0))
    with _sinks(job.paths(context.output), reader) as (overlay, lines):
        for window in _windows(reader, context, gapless=overlay is not None):
            found = _segment(context, window, failures)
            count += sum(map(len, found.values()))
            for frame in window:
                latest = found.get(frame.index, latest)
                if overlay is not None:
                    overlay.write(np.asarray(latest.draw(frame.pixels())), frame)
                if lines is not None and frame.index in found:
                    _write_line(lines, job.file, frame, latest)
            if on_frames is not None:
                on_frames(job.file, reader.decoded, reader.total)
    return count, failures


@contextlib.contextmanager
def _sinks(
    paths: Mapping[str, Path], like: VideoReader
) -> Iterator[tuple[VideoWriter | None, IO[str] | None]]:
    """What takes the overlay and the JSON lines, if wanted; both appear whole at the end."""
    overlay, lines = None, None
    with contextlib.ExitStack() as stack:
        if "overlay" in paths:
            temporary = stack.enter_context(replacing(paths["overlay"]))
            overlay = stack.enter_context(VideoWriter(temporary, like=like))
        if "lines" in paths:
            temporary = stack.enter_context(replacing(paths["lines"]))
            lines = stack.enter_context(temporary.open("w", encoding="utf-8"))
        yield overlay, lines


def _windows(
    frames: Iterable[Frame], context: PredictionContext, *, gapless: bool
) -> Iterator[list[Frame]]:
    """Frames in their order, so many at a time that a batch of them is to be segmented.

    The others are among them only if the windows shall be `gapless`.
    """
    window: list[Frame] = []
    due = 0
    for frame in frames:
        is_due = frame.index % context.every == 0
        if is_due or gapless:
            window.append(frame)
        due += is_due
        if due == context.batch_size or len(window) >= max(_WAITING, context.batch_size):
            yield window
            window, due = [], 0
    if window:
        yield window


def _segment(
    context: PredictionContext, window: Iterable[Frame], failures: list[str]
) -> dict[int, Detections]:
    """The detections of those frames in `window` that are due, by the frames' numbers.

    Frames that fail are left out, and the reasons added to `failures`.
    """
    images = {
        frame.index: context.segmenter.read(frame.pixels(), f"frame {frame.index}")
        for frame in window
        if frame.index % context.every == 0
    }
    found: dict[int, Detections] = {}
    for index, outcome in zip(images, context.segment(list(images.values())), strict=True):
        if isinstance(outcome, Exception):
            failures.append(f"frame {index}: {reason_of(outcome)}")
        else:
            found[index] = outcome
    return found


def _write_line(stream: IO[str], file: Path, frame: Frame, detections: Detections) -> None:
    """One JSON line: file, frame, seconds from the first frame, COCO results for that frame."""
    line = {
        "file": str(file),
        "frame": frame.index,
        "time": round(float(frame.time), 6),
        "detections": detections.to_coco(frame.index),
    }
    stream.write(json.dumps(line, allow_nan=False) + "\n")
