"""What an output folder holds: the formats, the files they go to, and how those are called."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from ..errors import InputError
from .video import is_video

OVERLAY, MASKS, JSON, COCO = "overlay", "masks", "json", "coco"
FORMATS = (OVERLAY, MASKS, JSON, COCO)
DEFAULT_FORMATS = (OVERLAY, JSON)
COCO_IMAGES = "coco_images"  # comes with COCO

JOURNAL_FILE = "detections.jsonl"
DETECTIONS_FILE = "detections.json"
COCO_RESULTS_FILE = "coco_results.json"
COCO_IMAGES_FILE = "coco_images.json"
MASKS_FOLDER = "PedMasks"  # as in the Penn-Fudan layout

_RESERVED = (JOURNAL_FILE, DETECTIONS_FILE, COCO_RESULTS_FILE, COCO_IMAGES_FILE)
_JPEG = frozenset({".jpeg", ".jpg"})
# Most filesystems take 255 bytes; number, suffix and a temporary name must fit as well.
_LONGEST_STEM = 200


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

    Kinds are "overlay" (a picture or a video), "mask" (of an image) and "lines" (of a video). The
    formats json and coco collect images in files of their own.
    """
    if is_video(file):
        patterns = {OVERLAY: ("overlay", "{}.mp4"), JSON: ("lines", "{}.jsonl")}
    else:
        picture = "{}.jpg" if file.suffix.lower() in _JPEG else "{}.png"
        mask = f"{MASKS_FOLDER}/{{}}_mask.png"
        patterns = {OVERLAY: ("overlay", picture), MASKS: ("mask", mask)}
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
    if not {OVERLAY, JSON} & set(formats):
        clip = next((file for file in files if is_video(file)), None)
        if clip is not None:
            raise InputError(
                f"{clip}: expected the format {OVERLAY} or {JSON} for a video, found "
                f"{' and '.join(formats)} alone; add one, or name the images only"
            )


def _storable(stem: str) -> str:
    """The stem as text that any filesystem and encoder takes, cut where it is too long."""
    encoded = stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode("utf-8")
    return encoded[:_LONGEST_STEM].decode("utf-8", "ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
