"""What one image yields: flat arrays in the pixels of the original image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

if TYPE_CHECKING:
    from PIL import Image

ROI_MASK_SIZE = 28


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The detections of one image, best score first.

    Attributes:
        boxes: float32 [D, 4], x1 y1 x2 y2 in absolute pixels of the original image.
        labels: int64 [D], indices into `class_names`; 0 is the background and never occurs.
        scores: float32 [D], in (score threshold, 1], descending.
        roi_masks: float32 [D, 28, 28], the soft mask in the frame of its box, in 0..1.
        image_size: (height, width) of the original image.
        class_names: one name per label, background first.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    roi_masks: NDArray[np.float32]
    image_size: tuple[int, int]
    class_names: tuple[str, ...] = ("background", "person")

    def __post_init__(self) -> None:
        count = len(self.boxes)
        expected = {
            "boxes": (count, 4),
            "labels": (count,),
            "scores": (count,),
            "roi_masks": (count, *self.roi_masks.shape[1:]),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(f"detections.{name}: expected shape {shape}, found {found}")
        if self.roi_masks.ndim != 3:
            raise InputError(
                f"detections.roi_masks: expected [D, 28, 28], found {self.roi_masks.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[Any] | slice | list[int]) -> Detections:
        """The detections that a slice, an index list or a boolean mask [D] selects."""
        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            scores=self.scores[index],
            roi_masks=self.roi_masks[index],
        )

    def above(self, score_threshold: float) -> Detections:
        """Only the detections with a score above `score_threshold`."""
        return self[self.scores > score_threshold]

    def label_names(self) -> list[str]:
        """The class name of every detection."""
        return [self.class_names[label] for label in self.labels]

    def masks(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Dense masks, bool [D, H, W], pasted by torchvision's rule; D*H*W bytes."""
        from .masks import paste_masks

        return paste_masks(self.roi_masks, self.boxes, self.image_size, threshold)

    def rles(self, threshold: float = 0.5) -> list[dict[str, Any]]:
        """COCO run-length encodings `{"size": [H, W], "counts": str}`, without dense frames."""
        from .masks import encode_masks

        return encode_masks(self.roi_masks, self.boxes, self.image_size, threshold)

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO result entries: bbox as x y width height, segmentation as RLE."""
        return list(self._coco_entries(image_id))

    def draw(self, image: Image.Image | NDArray[np.uint8]) -> Image.Image:
        """A copy of `image` (PIL or uint8 [H, W, 3] RGB) with masks, boxes and labels on it."""
        from .draw import draw_detections

        return draw_detections(image, self)

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

    def _coco_entries(self, image_id: int | str) -> Iterator[dict[str, Any]]:
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
