"""Writing results: pictures and masks one by one, JSON and COCO of all images."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..files import replacing, write_json
from .journal import Entry

_JPEG_QUALITY = 92
_COCO_KEYS = ("category_id", "bbox", "score", "segmentation")


def write_overlay(path: Path, image: NDArray[np.uint8], detections: Detections) -> None:
    """Write a picture of `image`, uint8 [H, W, 3] RGB, with the detections on it."""
    with replacing(path) as temporary:
        detections.draw(image).save(temporary, quality=_JPEG_QUALITY)


def write_mask(path: Path, detections: Detections) -> None:
    """Write the instance ids of one image as a PNG of one channel, as Penn-Fudan has it."""
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(instance_ids(detections)).save(temporary)


def instance_ids(detections: Detections) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Which detection each pixel belongs to: 0 is none, k the k-th; the better score wins.

    Returns:
        [H, W], uint8 up to 255 detections and uint16 beyond. A detection that better ones cover
        altogether has no pixel, and its id does not occur.
    """
    ids = np.zeros(detections.image_size, np.uint8 if len(detections) < 256 else np.uint16)
    crops = detections.crops()
    for index in reversed(range(len(crops))):
        top, left, bits = crops[index]
        ids[top : top + bits.shape[0], left : left + bits.shape[1]][bits] = index + 1
    return ids


def write_detections(path: Path, images: Iterable[tuple[Path, Entry]]) -> None:
    """Write `detections.json`: a list with a record per image. One record is in memory at a time.

    Args:
        path: the file.
        images: each image as it was given, with what the journal has of it.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        _write_list(stream, (_record(file, entry) for file, entry in images), indent=2)


def write_coco(
    path: Path,
    images_path: Path,
    images: Iterable[tuple[Path, Entry]],
    class_names: Sequence[str],
) -> None:
    """Write COCO results, as `COCO.loadRes` takes them, and the images and categories they mean.

    Args:
        path: the results: {image_id, category_id, bbox, score, segmentation}, box x y width height
            in pixels, segmentation as RLE.
        images_path: the companion, a COCO annotation file without annotations. Images are
            numbered from 1; `file_name` is the path as it was given.
        images: each image as it was given, with what the journal has of it.
        class_names: one name per label, background first.
    """
    known: list[dict[str, Any]] = []

    def results() -> Iterator[dict[str, Any]]:
        for number, (file, entry) in enumerate(images, 1):
            size = {name: entry.result[name] for name in ("width", "height")}
            known.append({"id": number, "file_name": str(file), **size})
            for found in entry.result["detections"]:
                yield {"image_id": number, **{key: found[key] for key in _COCO_KEYS}}

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        _write_list(stream, results())
    categories = [{"id": label, "name": name} for label, name in enumerate(class_names) if label]
    write_json(images_path, {"images": known, "annotations": [], "categories": categories})


def _record(file: Path, entry: Entry) -> dict[str, Any]:
    """The entry of one image in `detections.json`."""
    result = entry.result
    return {
        "file": str(file),
        "width": result["width"],
        "height": result["height"],
        **entry.outputs,
        "detections": [{"image_id": str(file), **found} for found in result["detections"]],
    }


def _write_list(
    stream: IO[str], values: Iterable[dict[str, Any]], *, indent: int | None = None
) -> None:
    """Write a JSON list value by value, just as `json.dumps` would at once."""
    empty = True
    for value in values:
        stream.write("[\n" if empty else ",\n")
        text = json.dumps(value, indent=indent, allow_nan=False)
        stream.write(textwrap.indent(text, " " * (indent or 0)))
        empty = False
    stream.write("[]\n" if empty else "\n]\n")
