"""A COCO JSON file from labelled pictures, whatever their layout was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..protocol import Instances
from .segmentation import encode


class CocoWriter:
    """Collects pictures one by one; ids count from 1 in that order.

    Masks become compressed run lengths, so no pixel is lost. Boxes are those of the masks in COCO's
    way: x y of the first pixel's corner, and width and height in whole pixels. Areas are kept, but
    for those that only repeat the tutorial's rule: COCO's area is the number of pixels.

    Args:
        class_names: background first; a category gets its label as id.
        box_areas: whether the instances' areas are those of their boxes.
    """

    def __init__(self, class_names: Sequence[str], *, box_areas: bool) -> None:
        self._box_areas = box_areas
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [
            {"id": label, "name": name} for label, name in enumerate(class_names) if label
        ]

    def add(self, file_name: str, size: tuple[int, ...], instances: Instances) -> None:
        """Take in one picture of (height, width) `size`."""
        image = len(self._images) + 1
        self._images.append(
            {"id": image, "file_name": file_name, "width": size[1], "height": size[0]}
        )
        for place, mask in enumerate(instances.masks):
            x1, y1, x2, y2 = instances.boxes[place].tolist()
            area = mask.sum() if self._box_areas else instances.areas[place]
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": int(instances.labels[place]),
                    "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                    "area": float(area),
                    "iscrowd": int(instances.crowd[place]),
                    "segmentation": encode(mask),
                }
            )

    def document(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "info": {"description": "converted by pedseg-data"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": self._categories,
        }
