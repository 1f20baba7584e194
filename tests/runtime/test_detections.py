from __future__ import annotations

import dataclasses
import json
from typing import Any

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


@pytest.fixture
def found_full(found: Detections) -> Detections:
    """The same with masks that the artifact has pasted."""
    return dataclasses.replace(found, roi_masks=None, full_masks=found.masks().astype(np.uint8))


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
    found: Detections,
    found_full: Detections,
    index: slice | list[int] | NDArray[np.bool_],
    kept: list[int],
) -> None:
    selected = found[index]
    assert len(selected) == len(kept)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(selected, name), getattr(found, name)[kept])
    assert selected.image_size == found.image_size
    assert found_full.full_masks is not None
    assert found_full[index].roi_masks is None
    np.testing.assert_array_equal(found_full[index].full_masks, found_full.full_masks[kept])


def test_both_forms_of_masks_answer_alike(found: Detections, found_full: Detections) -> None:
    assert found_full.masks().dtype == np.bool_
    np.testing.assert_array_equal(found.masks(), found_full.masks())
    assert found.rles() == found_full.rles()
    assert found.to_coco(1) == found_full.to_coco(1)
    for one, other in zip(found.crops(), found_full.crops(), strict=True):
        assert one.bits.sum() == other.bits.sum() > 0
    image = np.zeros((30, 20, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(found.draw(image)), np.asarray(found_full.draw(image)))


def test_pasted_masks_know_no_other_threshold(found: Detections, found_full: Detections) -> None:
    assert found.masks(0.9).shape == (3, 30, 20)
    for method in (found_full.masks, found_full.crops, found_full.rles):
        method(0.5)
        with pytest.raises(InputError, match=r"expected 0.5.*export with --masks roi"):
            method(0.9)


def test_masks_of_one_form_are_expected(found: Detections, found_full: Detections) -> None:
    with pytest.raises(InputError, match="found neither"):
        dataclasses.replace(found, roi_masks=None)
    with pytest.raises(InputError, match="found both"):
        dataclasses.replace(found, full_masks=found_full.full_masks)
    with pytest.raises(InputError, match=r"full_masks: expected shape \(3, 20, 30\)"):
        dataclasses.replace(found_full, image_size=(20, 30))


def test_soft_masks_have_two_axes_per_detection(found: Detections) -> None:
    with pytest.raises(InputError, match=r"expected \[D, 28, 28\], found \(3, 1, 28, 28\)"):
        dataclasses.replace(found, roi_masks=np.ones((3, 1, 28, 28), np.float32))


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


@pytest.mark.parametrize("image_id", [np.int64(7), np.uint8(7), 7])
def test_image_ids_of_numpy_are_fit_for_json(found: Detections, image_id: Any) -> None:
    entries = json.loads(json.dumps(found.to_coco(image_id)))
    assert {entry["image_id"] for entry in entries} == {7}


def test_an_image_id_that_json_does_not_take_is_refused(found: Detections) -> None:
    with pytest.raises(InputError, match="image_id: expected a number or text, found list"):
        found.to_coco([7])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_unequal_length_are_refused(found: Detections, name: str) -> None:
    values = {field: getattr(found, field) for field in FIELDS}
    values[name] = values[name][:2]
    with pytest.raises(InputError, match="expected shape"):
        Detections(**values, image_size=(30, 20))
