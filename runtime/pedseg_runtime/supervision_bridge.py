"""Detections as those of the package supervision, and back: for its tracking, zones and drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .masks import PastedMask, run_lengths

if TYPE_CHECKING:
    import supervision as sv

CLASS_NAME = "class_name"  # supervision's own key for names in `data`


class ConvertibleDetections(Protocol):
    """What is converted of detections; see `Detections`."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Float32 [D, 4], x1 y1 x2 y2 in pixels."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Int64 [D]."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Float32 [D]."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""

    def label_names(self) -> list[str]:
        """The class name of every detection."""

    def masks(self) -> NDArray[np.bool_]:
        """Dense masks, bool [D, H, W]."""

    def crops(self) -> list[PastedMask]:
        """The masks as crops of the image."""


def to_supervision(detections: ConvertibleDetections, *, compact: bool) -> sv.Detections:
    """See `Detections.to_supervision`."""
    supervision = _require_supervision()
    names = np.array(detections.label_names(), dtype=np.str_)
    masks = _compact(detections.crops(), detections.image_size) if compact else detections.masks()
    return supervision.Detections(
        xyxy=detections.boxes.copy(),
        mask=masks,
        confidence=detections.scores.copy(),
        class_id=detections.labels.copy(),
        data={CLASS_NAME: names},
    )


def from_supervision(found: sv.Detections, class_names: Sequence[str]) -> dict[str, Any]:
    """The fields of a `Detections`, the best score first; see `Detections.from_supervision`."""
    _require_supervision()
    for name in ("mask", "class_id"):
        if getattr(found, name) is None:
            raise InputError(f"{name}: expected one for every detection, found none")
    labels = np.asarray(found.class_id, np.int64)
    outside = labels[(labels < 1) | (labels >= len(class_names))]
    if len(outside):
        raise InputError(
            f"class_id: expected 1 to {len(class_names) - 1} (0 is the background), found "
            f"{outside[0]}; renumber the classes, or name all of them by class_names"
        )
    scores = np.ones(len(labels)) if found.confidence is None else found.confidence
    order = np.argsort(-np.asarray(scores), kind="stable")
    masks = np.asarray(found.mask, np.uint8)  # of compact masks too
    return {
        "boxes": np.asarray(found.xyxy, np.float32)[order],
        "labels": labels[order],
        "scores": np.asarray(scores, np.float32)[order],
        "roi_masks": None,
        "full_masks": masks[order],
        "image_size": masks.shape[1:],
        "class_names": tuple(class_names),
    }


def _compact(crops: Sequence[PastedMask], image_size: tuple[int, int]) -> Any:
    """Crops as supervision's `CompactMask`: run lengths in the frame of each crop."""
    from supervision.detection.compact_mask import CompactMask

    # supervision wants a pixel at least, on the image.
    filled = [
        crop if crop.bits.size else PastedMask(0, 0, np.zeros((1, 1), np.bool_)) for crop in crops
    ]
    return CompactMask(
        [
            np.array(run_lengths(PastedMask(0, 0, crop.bits), crop.bits.shape), np.int32)
            for crop in filled
        ],
        np.array([crop.bits.shape for crop in filled], np.int32).reshape(-1, 2),
        np.array([(crop.left, crop.top) for crop in filled], np.int32).reshape(-1, 2),
        image_size,
    )


def _require_supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise InputError(
            f"supervision: expected the package of this name, found none ({error}); pip install "
            "'pedseg[supervision]'"
        ) from error
    return supervision
