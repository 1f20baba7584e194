"""What an output folder holds: the formats, the names of the files, and how they are written."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import InputError
from ..files import replacing, write_json
from .journal import Entry
from .video.reading import is_video

OVERLAY, BLURRED, MASKS, JSON, COCO = "overlay", "blurred", "masks", "json", "coco"
COCO_INSTANCES, LABEL_STUDIO = "coco-instances", "label-studio"
FORMATS = (OVERLAY, BLURRED, MASKS, JSON, COCO, COCO_INSTANCES, LABEL_STUDIO)
VIDEO_FORMATS = (OVERLAY, BLURRED, JSON)
DEFAULT_FORMATS = (OVERLAY, JSON)
COCO_IMAGES = "coco_images"  # comes with COCO
LABEL_INTERFACE = "label_interface"  # comes with LABEL_STUDIO

JOURNAL_FILE = "detections.jsonl"
DETECTIONS_FILE = "detections.json"
COCO_RESULTS_FILE = "coco_results.json"
COCO_IMAGES_FILE = "coco_images.json"
COCO_INSTANCES_FILE = "coco_instances.json"
LABEL_STUDIO_FILE = "label_studio.json"
LABEL_INTERFACE_FILE = "label_studio.xml"
MASKS_FOLDER = "PedMasks"  # as in the Penn-Fudan layout

_RESERVED = (
    JOURNAL_FILE,
    DETECTIONS_FILE,
    COCO_RESULTS_FILE,
    COCO_IMAGES_FILE,
    COCO_INSTANCES_FILE,
    LABEL_STUDIO_FILE,
    LABEL_INTERFACE_FILE,
)
_JPEG = frozenset({".jpeg", ".jpg"})
# Most filesystems take 255 bytes; number, suffix and a temporary name must fit as well.
_LONGEST_STEM = 200
_JPEG_QUALITY = 92
_COCO_KEYS = ("category_id", "bbox", "score", "segmentation")
# Of a video: format -> kind of output, and its name with {} for the stem.
VIDEO_PATTERNS = {
    OVERLAY: ("overlay", "{}.mp4"),
    BLURRED: ("blurred", "{}_blurred.mp4"),
    JSON: ("lines", "{}.jsonl"),
}


class Names:
    """Hands out file names that differ even where neither letter case nor Unicode form counts.

    Args:
        taken: names that are in use already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {_folded(name) for name in (*_RESERVED, *taken)}
        self._counts: dict[str, int] = {}

    def take(self, pattern: str, stem: str) -> str:
        """A new name: `pattern` with `stem` for {}, then with -2, -3, ... behind the stem."""
        stem = _storable(stem)
        key = _folded(pattern.format(stem))
        count = self._counts.get(key, 1)
        while True:
            name = pattern.format(stem if count == 1 else f"{stem}-{count}")
            count += 1
            if _folded(name) not in self._taken:
                break
        self._counts[key] = count
        self._taken.add(_folded(name))
        return name


def plan_outputs(file: Path, formats: Collection[str], names: Names) -> dict[str, str]:
    """The files that come of one input, by kind and relative to the output folder.

    Kinds are "overlay" and "blurred" (an image or a video), "mask" (of an image) and "lines" (of a
    video). The other formats collect images in files of their own.
    """
    if is_video(file):
        patterns = VIDEO_PATTERNS
    else:
        suffix = ".jpg" if file.suffix.lower() in _JPEG else ".png"
        patterns = {
            OVERLAY: ("overlay", f"{{}}{suffix}"),
            BLURRED: ("blurred", f"{{}}_blurred{suffix}"),
            MASKS: ("mask", f"{MASKS_FOLDER}/{{}}_mask.png"),
        }
    return {
        kind: names.take(pattern, file.stem)
        for format_, (kind, pattern) in patterns.items()
        if format_ in formats
    }


def check_formats(formats: Collection[str], files: Iterable[Path]) -> None:
    """Refuse formats that are unknown, none at all, or none of which holds a video's results.

    Raises:
        InputError: see above.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        found = repr(unknown[0]) if unknown else "none"
        raise InputError(f"formats: expected some of {', '.join(FORMATS)}, found {found}")
    if not set(VIDEO_FORMATS) & set(formats):
        clip = next((file for file in files if is_video(file)), None)
        if clip is not None:
            raise no_video_format(clip, formats)


def no_video_format(source: object, formats: Collection[str]) -> InputError:
    """The error of a video or live source for which no format holds results."""
    return InputError(
        f"{source}: expected the format overlay, blurred or json for a video, found "
        f"{' and '.join(formats)} alone; add one, or name the images only"
    )


def write_overlay(path: Path, image: NDArray[np.uint8], detections: Detections) -> None:
    """Write a copy of `image`, uint8 [H, W, 3] RGB, with the detections on it."""
    with replacing(path) as temporary:
        detections.draw(image).save(temporary, quality=_JPEG_QUALITY)


def write_blurred(path: Path, image: NDArray[np.uint8], detections: Detections) -> None:
    """Write a copy of `image`, uint8 [H, W, 3] RGB, with what was found on it blurred."""
    with replacing(path) as temporary:
        detections.blur(image).save(temporary, quality=_JPEG_QUALITY)


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
        write_list(stream, (_record(file, entry) for file, entry in images), indent=2)


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
        write_list(stream, results())
    categories = [{"id": label, "name": name} for label, name in enumerate(class_names) if label]
    write_json(images_path, {"images": known, "annotations": [], "categories": categories})


def _storable(stem: str) -> str:
    """The stem as text that any filesystem and encoder takes, cut where it is too long."""
    encoded = stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode("utf-8")
    return encoded[:_LONGEST_STEM].decode("utf-8", "ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


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


def write_list(
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
