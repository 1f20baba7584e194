from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Detections, InputError

FIELDS = ("boxes", "labels", "scores", "roi_masks")


@pytest.fixture
def found() -> Detections:
    return Detections(
        boxes=np.array([[1, 2, 11, 22], [5, 5, 8, 9], [0, 0, 3, 3]], np.float32),
        labels=np.array([1, 2, 1]),
        scores=np.array([0.9, 0.5, 0.1], np.float32),
        roi_masks=np.ones((3, 28, 28), np.float32),
        image_size=(30, 20),
        class_names=("background", "person", "dog"),
    )


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        pytest.param(slice(0, 2), [0, 1], id="slice"),
        pytest.param([2, 0], [2, 0], id="list"),
        pytest.param(np.array([False, True, False]), [1], id="mask"),
        pytest.param(np.zeros(3, bool), [], id="nothing"),
    ],
)
def test_selecting_keeps_fields_together(
    found: Detections, index: slice | list[int] | NDArray[np.bool_], kept: list[int]
) -> None:
    selected = found[index]
    assert len(selected) == len(kept)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(selected, name), getattr(found, name)[kept])
    assert selected.image_size == found.image_size


def test_above_is_strict(found: Detections) -> None:
    assert len(found.above(0.5)) == 1
    assert len(found.above(0.0)) == 3


def test_coco_entries_are_json_with_x_y_width_height(found: Detections) -> None:
    entries = json.loads(json.dumps(found.to_coco(7)))
    assert [entry["bbox"] for entry in entries] == [[1, 2, 10, 20], [5, 5, 3, 4], [0, 0, 3, 3]]
    assert [entry["category_name"] for entry in entries] == ["person", "dog", "person"]
    assert {entry["image_id"] for entry in entries} == {7}
    assert entries[0]["segmentation"]["size"] == [30, 20]


def test_no_detections_have_every_method() -> None:
    nothing = Detections.empty((30, 20))
    assert nothing.masks().shape == (0, 30, 20)
    assert nothing.rles() == []
    assert nothing.to_coco(1) == []
    assert nothing.label_names() == []
    assert len(nothing.above(0.5)) == 0


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_unequal_length_are_refused(found: Detections, name: str) -> None:
    values = {field: getattr(found, field) for field in FIELDS}
    values[name] = values[name][:2]
    with pytest.raises(InputError, match="expected shape"):
        Detections(**values, image_size=(30, 20))
