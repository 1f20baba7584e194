"""Recordings made of boxes whose masks fill them."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pedseg_train.evaluation import Recording

SIZE = 200


def annotation(image: int, box, category: int = 1, **more):
    """A COCO annotation whose mask is its box [4] x y width height."""
    box = [float(value) for value in box]
    (rle,) = coco_mask.frPyObjects(np.array([box]), SIZE, SIZE)
    area = box[2] * box[3]
    return {
        "image_id": image, "category_id": category, "bbox": box, "segmentation": rle,
        "area": area, "mask_area": area, "iscrowd": 0, **more,
    }  # fmt: skip


@pytest.fixture(scope="session")
def scene():
    """A function that makes a recording of one image per argument: (truth, found).

    Truth is a list of boxes, or of (box, category) or (box, category, iscrowd); found one of
    (box, score) or (box, score, category).
    """

    def make(*images, class_names=("background", "person")) -> Recording:
        truth, found = [], []
        for image, (people, detections) in enumerate(images):
            for person in people:
                box, *rest = person if isinstance(person, tuple) else (person,)
                category, crowd = (*rest, *(1, 0)[len(rest) :])
                truth.append(annotation(image, box, category, iscrowd=crowd))
            for box, score, *category in detections:
                found.append(annotation(image, box, *category, score=score))
        sizes = [{"id": image, "height": SIZE, "width": SIZE} for image in range(len(images))]
        return Recording(sizes, truth, found, class_names)

    return make
