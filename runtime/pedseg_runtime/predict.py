"""Segment image files: a picture of each with its detections, and one JSON file of them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .detections import Detections
from .errors import InputError
from .files import replacing, write_json
from .images import find_images, read_image
from .segmenter import Segmenter

DETECTIONS_FILE = "detections.json"
_JPEG = frozenset({".jpeg", ".jpg"})


@dataclass(frozen=True)
class PredictedFile:
    """One image file, what was found on it, and the picture that shows it."""

    file: Path
    overlay: Path
    detections: Detections


@dataclass(frozen=True)
class FailedFile:
    """One image file that could not be used, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class Prediction:
    """What `predict_files` did.

    Attributes:
        predicted: the images that were segmented, in the order they were given.
        failed: the images that were not.
        detections_file: the JSON file with all detections.
    """

    predicted: Sequence[PredictedFile]
    failed: Sequence[FailedFile]
    detections_file: Path

    def to_dict(self) -> dict[str, Any]:
        """Counts, files and failures, ready for JSON."""
        return {
            "images": len(self.predicted),
            "detections": sum(len(item.detections) for item in self.predicted),
            "detections_file": str(self.detections_file),
            "overlays": [str(item.overlay) for item in self.predicted],
            "failed": [{"file": str(item.file), "reason": item.reason} for item in self.failed],
        }


def collect_images(paths: Iterable[Path], *, output: Path) -> list[Path]:
    """The image files that `paths` (files or folders) stand for, each once, in the given order.

    Raises:
        InputError: a path is missing, a folder holds no image, or the pictures in `output` would
            stand among the images themselves.
    """
    files = {file.resolve(): file for path in paths for file in find_images(path)}
    if output.resolve() in {resolved.parent for resolved in files}:
        raise InputError(
            f"{output}: expected an output folder apart from the images, found images to segment "
            "in it; choose another --output, so that none is overwritten"
        )
    return list(files.values())


def predict_files(
    segmenter: Segmenter,
    files: Sequence[Path],
    *,
    output: Path,
    score_threshold: float | None = None,
    batch_size: int = 8,
    on_done: Callable[[int], object] | None = None,
) -> Prediction:
    """Segment image files and write pictures and `detections.json` into `output`.

    An image that cannot be read is recorded and the others go on. Every file is written whole or
    not at all, the JSON file last.

    Args:
        segmenter: a loaded artifact.
        files: the images, e.g. of `collect_images`.
        output: folder for the results; it is made if missing.
        score_threshold: keep detections above it; None keeps what the artifact yields.
        batch_size: most images held in memory and segmented at once.
        on_done: called with the number of images that are newly done.
    """
    overlays = dict(zip(files, overlay_names(files), strict=True))
    predicted: list[PredictedFile] = []
    failed: list[FailedFile] = []
    for batch in _batches(files, batch_size):
        images = {}
        for file in batch:
            try:
                images[file] = read_image(file)
            except InputError as error:
                failed.append(FailedFile(file, str(error)))
        results = segmenter.predict(
            list(images.values()), score_threshold=score_threshold, batch_size=batch_size
        )
        for (file, image), detections in zip(images.items(), results, strict=True):
            overlay = output / overlays[file]
            with replacing(overlay) as temporary:
                detections.draw(image).save(temporary, quality=92)
            predicted.append(PredictedFile(file, overlay, detections))
        if on_done is not None:
            on_done(len(batch))
    detections_file = output / DETECTIONS_FILE
    write_json(detections_file, [_record(item) for item in predicted])
    return Prediction(predicted, failed, detections_file)


def overlay_names(files: Sequence[Path]) -> list[str]:
    """A file name per image, all different even where letter case does not count.

    Images of one name (from two folders, or of two formats) get -2, -3, ... in their order.
    """
    taken: set[str] = set()
    names = []
    for file in files:
        suffix = ".jpg" if file.suffix.lower() in _JPEG else ".png"
        candidates = (
            f"{file.stem}{f'-{count}' if count > 1 else ''}{suffix}" for count in itertools.count(1)
        )
        name = next(name for name in candidates if name.lower() not in taken)
        taken.add(name.lower())
        names.append(name)
    return names


def _batches(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    if size < 1:
        raise InputError(f"batch_size: expected a positive number, found {size}")
    return (files[start : start + size] for start in range(0, len(files), size))


def _record(item: PredictedFile) -> dict[str, Any]:
    """The entry of one image in `detections.json`."""
    height, width = item.detections.image_size
    return {
        "file": str(item.file),
        "width": width,
        "height": height,
        "overlay": item.overlay.name,
        "detections": item.detections.to_coco(str(item.file)),
    }
