"""The detections of one image: flat arrays in the pixels of the original image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

if TYPE_CHECKING:
    import supervision as sv
    from PIL import Image

    from .masks import PastedMask

ROI_MASK_SIZE = 28
MASK_THRESHOLD = 0.5
"""Pixels of at least this soft value belong to a mask, unless the caller asks for another."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The detections of one image, best score first.

    Their masks come in one of two forms, whichever the artifact yields: `roi_masks` or
    `full_masks`; the other is None. `masks`, `rles`, `crops`, `to_coco` and `draw` work with both.

    Attributes:
        boxes: float32 [D, 4], x1 y1 x2 y2 in absolute pixels of the original image.
        labels: int64 [D], indices into `class_names`; 0 is the background and never occurs.
        scores: float32 [D], in (score threshold, 1], descending.
        roi_masks: float32 [D, 28, 28], the soft mask in the frame of its box, in 0..1; or None.
        image_size: (height, width) of the original image.
        class_names: one name per label, background first.
        full_masks: uint8 [D, H, W], 1 on the instance and 0 elsewhere, pasted by the artifact at
            the threshold 0.5; or None.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    roi_masks: NDArray[np.float32] | None
    image_size: tuple[int, int]
    class_names: tuple[str, ...] = ("background", "person")
    full_masks: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if (self.roi_masks is None) == (self.full_masks is None):
            given = "neither" if self.roi_masks is None else "both"
            raise InputError(f"detections: expected roi_masks or full_masks, found {given}")
        count = len(self.boxes)
        expected: dict[str, tuple[int, ...]] = {
            "boxes": (count, 4),
            "labels": (count,),
            "scores": (count,),
        }
        if self.roi_masks is None:
            expected["full_masks"] = (count, *self.image_size)
        else:
            expected["roi_masks"] = (count, *self.roi_masks.shape[1:])
            if self.roi_masks.ndim != 3:
                raise InputError(
                    f"detections.roi_masks: expected [D, 28, 28], found {self.roi_masks.shape}"
                )
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(f"detections.{name}: expected shape {shape}, found {found}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[Any] | slice | list[int]) -> Detections:
        """The detections that a slice, an index list or a boolean mask [D] selects."""
        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            scores=self.scores[index],
            roi_masks=None if self.roi_masks is None else self.roi_masks[index],
            full_masks=None if self.full_masks is None else self.full_masks[index],
        )

    def above(self, score_threshold: float) -> Detections:
        """Only the detections with a score above `score_threshold`."""
        return self[self.scores > score_threshold]

    def label_names(self) -> list[str]:
        """The class name of every detection."""
        return [self.class_names[label] for label in self.labels]

    def masks(self, threshold: float = MASK_THRESHOLD) -> NDArray[np.bool_]:
        """Dense masks, bool [D, H, W], pasted by torchvision's rule; D*H*W bytes.

        Raises:
            InputError: another threshold than 0.5 for masks that the artifact pasted already.
        """
        from .masks import paste_masks

        if self.roi_masks is None:
            return self._pasted(threshold).astype(np.bool_)
        return paste_masks(self.roi_masks, self.boxes, self.image_size, threshold)

    def crops(self, threshold: float = MASK_THRESHOLD) -> list[PastedMask]:
        """The masks as crops of the image that hold all of an instance, without dense frames.

        Raises:
            InputError: another threshold than 0.5 for masks that the artifact pasted already.
        """
        from .masks import crop_dense, crop_masks

        if self.roi_masks is None:
            return [crop_dense(mask) for mask in self._pasted(threshold)]
        return crop_masks(self.roi_masks, self.boxes, self.image_size, threshold)

    def rles(self, threshold: float = MASK_THRESHOLD) -> list[dict[str, Any]]:
        """COCO run-length encodings `{"size": [H, W], "counts": str}`, without dense frames.

        Raises:
            InputError: another threshold than 0.5 for masks that the artifact pasted already.
        """
        from .masks import encode_crops

        return encode_crops(self.crops(threshold), self.image_size)

    def polygons(self, threshold: float = MASK_THRESHOLD) -> list[list[NDArray[np.float32]]]:
        """The outlines of every mask, float32 [P, 2] each: x y in pixels, along pixel edges.

        A mask of several parts has several outlines, the largest first; holes are left out. For
        COCO's list of numbers take `outline.ravel().tolist()`.

        Raises:
            InputError: another threshold than 0.5 for masks that the artifact pasted already.
        """
        from .polygons import outlines

        return [outlines(crop) for crop in self.crops(threshold)]

    def to_coco(self, image_id: int | str | np.integer[Any]) -> list[dict[str, Any]]:
        """COCO result entries: bbox as x y width height, segmentation as RLE.

        Raises:
            InputError: `image_id` is neither a number nor text, so that JSON does not take it.
        """
        plain = image_id.item() if isinstance(image_id, np.generic) else image_id
        if not isinstance(plain, int | float | str):
            raise InputError(
                f"image_id: expected a number or text, found {type(image_id).__name__}; JSON "
                "takes nothing else"
            )
        return list(self._coco_entries(plain))

    def draw(self, image: Image.Image | NDArray[np.uint8]) -> Image.Image:
        """A copy of `image` (PIL or uint8 [H, W, 3] RGB) with masks, boxes and labels on it."""
        from .draw import draw_detections

        return draw_detections(image, self)

    def blur(self, image: Image.Image | NDArray[np.uint8]) -> Image.Image:
        """A copy of `image` (PIL or uint8 [H, W, 3] RGB) with all detections unrecognisable.

        Raises:
            InputError: the image has another size than the detections.
        """
        from .blur import blur_masks

        return blur_masks(image, self.crops(), self.image_size)

    def to_supervision(self, *, compact: bool = False) -> sv.Detections:
        """The same for the package supervision: for its trackers, zones, slicer and annotators.

        `class_id` has the labels, 1 for the first class, and `data["class_name"]` the names.

        Args:
            compact: masks as a `CompactMask` of the size of the boxes, rather than as a bool array
                [D, H, W], which every tool takes.

        Raises:
            InputError: supervision is not installed.
        """
        from .supervision_bridge import to_supervision

        return to_supervision(self, compact=compact)

    @classmethod
    def from_supervision(
        cls, found: sv.Detections, class_names: Sequence[str] = ("background", "person")
    ) -> Detections:
        """Detections of the package supervision, put in the order of their scores.

        Masks become `full_masks`, D*H*W bytes; without `confidence` every score is 1.

        Args:
            found: with masks; `class_id` counts from 1, as `to_supervision` has it.
            class_names: one name per label, background first.

        Raises:
            InputError: supervision is not installed, `found` has no masks or no classes, or a class
                without a name.
        """
        from .supervision_bridge import from_supervision

        return cls(**from_supervision(found, class_names))

    @classmethod
    def empty(
        cls,
        image_size: tuple[int, int],
        class_names: tuple[str, ...] = ("background", "person"),
    ) -> Detections:
        """No detections on an image of `image_size` (height, width)."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int64),
            scores=np.zeros(0, np.float32),
            roi_masks=np.zeros((0, ROI_MASK_SIZE, ROI_MASK_SIZE), np.float32),
            image_size=image_size,
            class_names=class_names,
        )

    def _pasted(self, threshold: float) -> NDArray[np.uint8]:
        """The masks as the artifact pasted them, uint8 [D, H, W]."""
        assert self.full_masks is not None  # one of the two forms is there
        if threshold != MASK_THRESHOLD:
            raise InputError(
                f"threshold: expected {MASK_THRESHOLD}, at which the artifact pasted its masks, "
                f"found {threshold}; export with --masks roi to choose another"
            )
        return self.full_masks

    def _coco_entries(self, image_id: float | str) -> Iterator[dict[str, Any]]:
        for box, label, score, rle in zip(
            self.boxes.tolist(),
            self.labels.tolist(),
            self.scores.tolist(),
            self.rles(),
            strict=True,
        ):
            x1, y1, x2, y2 = box
            yield {
                "image_id": image_id,
                "category_id": label,
                "category_name": self.class_names[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
                "segmentation": rle,
            }
