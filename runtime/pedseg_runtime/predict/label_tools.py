"""Detections as files that label tools import, so that people correct instead of drawing.

CVAT takes COCO's instance annotations ("COCO 1.0"), Label Studio a list of tasks with predictions
and a labelling interface whose names they use. Masks are exact, or polygons simplified by a
tolerance in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..files import replacing, write_json
from ..masks import crop_dense, decode_rle
from ..polygons import outlines, simplify
from .journal import Entry
from .outputs import write_list

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's storage of local files
_CONTROL, _OBJECT = "label", "image"  # names in the labelling interface
_RUN_BITS = (3, 4, 8, 16)  # sizes of a run in Label Studio's RLE, as its own encoder has them
_VALUE_BITS = 8
_CHANNELS = 4  # Label Studio's masks are RGBA

Images = Iterable[tuple[Path, Entry]]


def write_coco_instances(
    path: Path, images: Images, class_names: Sequence[str], *, tolerance: float | None = None
) -> None:
    """Write COCO instance annotations: images, annotations with their scores, and categories.

    Args:
        path: the file.
        images: each image as it was given, with what the journal has of it. `file_name` is relative
            to the folder that all of them share: CVAT finds images by the end of their path.
        class_names: one name per label, background first.
        tolerance: pixels by which polygons may differ from the outlines; None writes the exact
            masks as run lengths.
    """
    known: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, entry) in enumerate(_named(images), 1):
        size = {side: entry.result[side] for side in ("width", "height")}
        known.append({"id": number, "file_name": name, **size})
        for found in entry.result["detections"]:
            rle = found["segmentation"]
            shapes = [ring.ravel().tolist() for ring in _polygons(rle, tolerance)]
            top, left, bits = crop_dense(decode_rle(rle))
            if bits.any():
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": found["category_id"],
                        "segmentation": rle if tolerance is None else shapes,
                        "bbox": [left, top, bits.shape[1], bits.shape[0]],
                        "area": int(bits.sum()),
                        "iscrowd": 0,
                        "score": found["score"],
                    }
                )
    categories = [{"id": label, "name": name} for label, name in enumerate(class_names) if label]
    write_json(path, {"images": known, "annotations": annotations, "categories": categories})


def write_label_studio(
    path: Path,
    interface: Path,
    images: Images,
    class_names: Sequence[str],
    *,
    tolerance: float | None = None,
    prefix: str = LOCAL_FILES,
) -> None:
    """Write Label Studio tasks with predictions, and the labelling interface that they belong to.

    Args:
        path: the tasks, for "Import". One image is in memory at a time.
        interface: the XML for the project's "Labeling Interface".
        images: see `write_coco_instances`.
        class_names: one name per label, background first.
        tolerance: of polygons in pixels; one region per part, since Label Studio has no polygons
            of several. None writes exact brush masks.
        prefix: what stands before an image's name in its address.
    """
    kind = "Brush" if tolerance is None else "Polygon"
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in class_names[1:])
    with replacing(interface) as temporary:
        temporary.write_text(
            f'<View>\n  <Image name="{_OBJECT}" value="${_OBJECT}" zoom="true"/>\n'
            f'  <{kind}Labels name="{_CONTROL}" toName="{_OBJECT}">{labels}</{kind}Labels>\n'
            "</View>\n",
            encoding="utf-8",
        )
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        write_list(stream, _tasks(images, class_names, tolerance, prefix))


def brush_rle(bits: NDArray[np.bool_]) -> list[int]:
    """A mask [H, W] as the bytes of Label Studio's brush format.

    The bits are: the number of values (32), their size less 1 (5), four sizes of runs less 1
    (4 each), and then runs: a 1, which size (2), the run's length less 1, and its value. Values are
    those of an RGBA image, row by row, 0 or 255.
    """
    flat = bits.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    written = [f"{flat.size * _CHANNELS:032b}", f"{_VALUE_BITS - 1:05b}"]
    written += [f"{size - 1:04b}" for size in _RUN_BITS]
    for length, value in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        left = length
        while left:
            run = min(left, 1 << _RUN_BITS[-1])
            place = next(i for i, size in enumerate(_RUN_BITS) if run <= 1 << size)
            written.append(f"1{place:02b}{run - 1:0{_RUN_BITS[place]}b}{255 * value:08b}")
            left -= run
    text = "".join(written)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _tasks(
    images: Images, class_names: Sequence[str], tolerance: float | None, prefix: str
) -> Iterator[dict[str, Any]]:
    for name, entry in _named(images):
        size = (entry.result["height"], entry.result["width"])
        regions = [
            {
                "id": f"{number}-{part}",
                "from_name": _CONTROL,
                "to_name": _OBJECT,
                "original_width": size[1],
                "original_height": size[0],
                "image_rotation": 0,
                "score": found["score"],
                **shape,
            }
            for number, found in enumerate(entry.result["detections"], 1)
            for part, shape in enumerate(
                _shapes(found, class_names[found["category_id"]], size, tolerance), 1
            )
        ]
        scores = [found["score"] for found in entry.result["detections"]]
        prediction = {"model_version": f"pedseg {__version__}", "result": regions}
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        yield {"data": {_OBJECT: prefix + quote(name)}, "predictions": [prediction]}


def _shapes(
    found: dict[str, Any], label: str, size: tuple[int, int], tolerance: float | None
) -> Iterator[dict[str, Any]]:
    """The regions of one detection: a brush, or a polygon per part in percent of the image."""
    rle = found["segmentation"]
    if tolerance is None:
        bits = decode_rle(rle)
        if bits.any():
            value: dict[str, Any] = {
                "format": "rle",
                "rle": brush_rle(bits),
                "brushlabels": [label],
            }
            yield {"type": "brushlabels", "value": value}
        return
    for ring in _polygons(rle, tolerance):
        points = (ring * (100 / np.array([size[1], size[0]]))).round(4).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [label]}
        yield {"type": "polygonlabels", "value": value}


def _polygons(rle: dict[str, Any], tolerance: float | None) -> list[NDArray[np.float32]]:
    """Simplified outlines of a mask, the largest first; none without a tolerance."""
    if tolerance is None:
        return []
    return [simplify(ring, tolerance) for ring in outlines(crop_dense(decode_rle(rle)))]


def _named(images: Images) -> Iterator[tuple[str, Entry]]:
    """Every image with its path relative to the folder that all share, with forward slashes."""
    # Not resolved: an image keeps its own name where it is a link.
    listed = [(Path(os.path.abspath(file)), entry) for file, entry in images]  # noqa: PTH100
    if not listed:
        return
    try:
        root = os.path.commonpath([file.parent for file, _ in listed])
    except ValueError:  # on several drives
        root = ""
    for file, entry in listed:
        yield (file.relative_to(root).as_posix() if root else file.name), entry
