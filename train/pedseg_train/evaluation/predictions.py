"""COCO results from a file, as `pedseg-predict --format coco` and other tools write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pedseg_runtime.errors import InputError
from pedseg_runtime.predict.outputs import COCO_IMAGES_FILE

from ..data.coco.segmentation import Unsound, filling_runs
from ..data.protocol import SegmentationDataset
from .recording import Recording, class_names_of, labelled, with_mask_areas

_AMBIGUOUS = -1
KEYS = ("image_id", "category_id", "bbox", "score", "segmentation")


@dataclass(frozen=True, slots=True)
class Key:
    """The meaning of the ids in a file of results.

    Attributes:
        images: image id -> position in the dataset; None for an image that it lacks.
        labels: category id -> label of the dataset; None for a class that it lacks.
        source: the file that defines the ids.
    """

    images: dict[int, int | None]
    labels: dict[int, int | None]
    source: Path


def is_predictions(path: Path) -> bool:
    """Whether a file is JSON and hence results, by its name or first bytes."""
    if path.suffix.lower() == ".json":
        return True
    with path.open("rb") as stream:
        return stream.read(64).lstrip()[:2] in (b"[{", b"[]", b"[\n")


def read_predictions(
    path: Path, dataset: SegmentationDataset, indices: Sequence[int], *, images: Path | None = None
) -> Recording:
    """Read a file of COCO results together with the ground truth of some images.

    Detections on other images, and of classes that the dataset lacks, are left out.

    Args:
        path: a JSON list of {image_id, category_id, bbox, score, segmentation}: bbox x y width
            height in pixels, segmentation as run lengths. Without bboxes, those of the masks count.
        dataset: the images with their ground truth.
        indices: the positions in it to evaluate on.
        images: a COCO file whose lists "images" and "categories" define the ids. By default
            `coco_images.json` beside `path`, which `pedseg-predict` writes.

    Raises:
        InputError: the file is no such list; an entry has an unknown id, a box of another length
            or run lengths of another size; or images to evaluate on were not predicted.
    """
    entries = _load(path, "a list of COCO results")
    if not isinstance(entries, list):
        raise InputError(
            f"{path}: expected a JSON list of COCO results, found {_kind(entries)}; give the file "
            "that pedseg-predict --format coco wrote"
        )
    boxed = not entries or _has_box(entries[0])
    key = _read_key(_key_file(path, images), dataset)
    _check_covered(key, dataset, indices)
    truth = labelled(dataset, indices)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth.images}
    found = []
    for number, entry in enumerate(entries):
        try:
            position, label = _checked(entry, key, boxed=boxed)
            if position in sizes and label is not None:
                rle = sound_rle(entry["segmentation"], sizes[position])
                changed = {
                    "image_id": position,
                    "category_id": label,
                    "segmentation": rle,
                    "score": entry["score"],
                }
                box = {"bbox": entry["bbox"]} if boxed else _mask_box(rle)
                found.append({**changed, **box})
        except InputError as error:
            raise InputError(f"{path}: result {number}: {error}") from error
    return replace(truth, found=with_mask_areas(found))


def _has_box(entry: Any) -> bool:
    """Whether results have boxes; of a whole file the first decides, as in pycocotools."""
    return not isinstance(entry, Mapping) or bool(entry.get("bbox")) or "segmentation" not in entry


def _mask_box(rle: dict[str, Any]) -> dict[str, Any]:
    """The box of a result that has none: pycocotools then takes its size from the mask."""
    return {"bbox": coco_mask.toBbox(rle).tolist(), "mask_only": True}


def _checked(entry: Any, key: Key, *, boxed: bool) -> tuple[int | None, int | None]:
    """Position and label of one result; checks everything but its run lengths.

    Raises:
        InputError: a missing or wrong value.
    """
    needed = [name for name in KEYS if boxed or name != "bbox"]
    missing = [name for name in needed if not isinstance(entry, Mapping) or name not in entry]
    if missing:
        raise InputError(
            f"expected {', '.join(needed)}, found no {' and no '.join(missing)}; write the results "
            "anew, with masks"
        )
    for name, known in (("image_id", key.images), ("category_id", key.labels)):
        if not isinstance(entry[name], int) or entry[name] not in known:
            raise InputError(
                f"expected an {name} that {key.source} names, found {entry[name]!r}; were the "
                "results made for another dataset?"
            )
    box = entry["bbox"] if boxed else [0, 0, 0, 0]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        raise InputError(f"expected a bbox of four numbers x y width height, found {box!r}")
    if min(box[2:]) < 0:
        raise InputError(
            f"expected a bbox x y width height, found a negative side in {box}; corners "
            "must be turned into sides"
        )
    if not _is_finite(entry["score"]):
        raise InputError(f"expected a finite score, found {entry['score']!r}")
    return key.images[entry["image_id"]], key.labels[entry["category_id"]]


def _key_file(path: Path, images: Path | None) -> Path:
    beside = path.with_name(COCO_IMAGES_FILE) if images is None else images
    if not beside.is_file():
        raise InputError(
            f"{path}: expected {COCO_IMAGES_FILE} beside it, which defines its image ids, "
            "found none; name a COCO file with the same image ids by --image-ids"
            if images is None
            else f"{beside}: expected a COCO file with the list images, found no file"
        )
    return beside


def _read_key(path: Path, dataset: SegmentationDataset) -> Key:
    document = _load(path, "a COCO file with the lists images and categories")
    try:
        files = {image["id"]: str(image["file_name"]) for image in document["images"]}
        categories = {one["id"]: str(one["name"]) for one in document["categories"]}
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected a COCO file with the lists images (id, file_name) and categories "
            f"(id, name), found another document ({error!r})"
        ) from error
    positions = _positions(dataset)
    images = {number: positions.get(PurePosixPath(name).name) for number, name in files.items()}
    ambiguous = next(
        (files[one] for one, position in images.items() if position == _AMBIGUOUS), None
    )
    if ambiguous is not None:
        raise InputError(
            f"{path}: expected file names that differ, found several images named "
            f"{PurePosixPath(ambiguous).name} in the dataset; rename them"
        )
    known = {name: label for label, name in enumerate(class_names_of(dataset)) if label}
    labels = {category: known.get(name) for category, name in categories.items()}
    if not any(labels.values()):
        raise InputError(
            f"{path}: expected a category of the dataset ({', '.join(known)}), found "
            f"{', '.join(categories.values()) or 'none'}"
        )
    return Key(images, labels, path)


def _positions(dataset: SegmentationDataset) -> dict[str, int]:
    """Position by file name without folders; `_AMBIGUOUS` where two files share one."""
    positions: dict[str, int] = {}
    for index in range(len(dataset.names)):
        name = dataset.path(index).name
        positions[name] = _AMBIGUOUS if name in positions else index
    return positions


def _check_covered(key: Key, dataset: SegmentationDataset, indices: Sequence[int]) -> None:
    predicted = set(key.images.values())
    missing = [index for index in indices if index not in predicted]
    if missing:
        raise InputError(
            f"{key.source}: expected all {len(indices)} images to evaluate on, found "
            f"{len(indices) - len(missing)} and no {dataset.path(missing[0]).name}; predict the "
            "others too, or choose another part with --split"
        )


def _load(path: Path, expected: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected {expected}, found no JSON ({error})") from error


def _is_finite(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
    )


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else type(value).__name__


def sound_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """The compressed run lengths of a mask, which pycocotools would believe unseen.

    Run lengths that do not fill the frame make it read memory that is none of theirs.

    Args:
        segmentation: `{"size": [H, W], "counts": str or list of pixels}`.
        size: (height, width) of the image.

    Raises:
        InputError: anything else, another size, or runs that do not fill the frame.
    """
    height, width = size
    if not isinstance(segmentation, dict) or {"size", "counts"} - segmentation.keys():
        raise InputError(
            "expected a segmentation as run lengths {size, counts}, found "
            f"{type(segmentation).__name__}; write masks as COCO results do"
        )
    if segmentation["size"] != [height, width]:
        raise InputError(
            f"expected run lengths for the image's [height, width] [{height}, {width}], found "
            f"size {segmentation['size']}; were the results made from other images?"
        )
    counts = segmentation["counts"]
    try:
        filling_runs(counts, size)
    except Unsound as unsound:
        raise InputError(
            f"expected run lengths that add up to {height} x {width} pixels, found others; the "
            "file is damaged"
        ) from unsound
    if isinstance(counts, list):
        rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        counts = rle["counts"].decode("ascii")
    return {"size": [height, width], "counts": counts}
