"""Detections of supervision, the real package, and back."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Detections, InputError, Segmenter

supervision = pytest.importorskip("supervision", reason="needs supervision", exc_type=ImportError)


@pytest.fixture
def found(segmenter: Segmenter, street: NDArray[np.uint8]) -> Detections:
    return segmenter(street)


@pytest.mark.parametrize("compact", [False, True], ids=["dense", "compact"])
def test_nothing_is_lost_on_the_way_there_and_back(found: Detections, compact: bool) -> None:
    converted = found.to_supervision(compact=compact)
    assert isinstance(converted, supervision.Detections)
    assert converted.data["class_name"].tolist() == ["person", "person"]
    assert converted.class_id.tolist() == [1, 1]
    shuffled = converted[np.array([1, 0])]
    back = Detections.from_supervision(shuffled)
    assert np.array_equal(back.boxes, found.boxes)
    assert np.array_equal(back.scores, found.scores)
    assert np.array_equal(back.labels, found.labels)
    assert np.array_equal(back.masks(), found.masks())
    assert found.masks().any(axis=(1, 2)).all()
    assert back.image_size == found.image_size


def test_compact_masks_are_filtered_and_measured_by_supervision(found: Detections) -> None:
    converted = found.to_supervision(compact=True)
    assert converted.mask.area.tolist() == found.masks().sum(axis=(1, 2)).tolist()
    best = converted[converted.confidence > 0.5]
    assert np.array_equal(np.asarray(best.mask), found.masks()[:1])


@pytest.mark.parametrize("compact", [False, True], ids=["dense", "compact"])
def test_a_mask_outside_and_no_detection_at_all_are_converted(
    found: Detections, compact: bool
) -> None:
    outside = replace(found, boxes=found.boxes + np.float32(1000))
    converted = outside.to_supervision(compact=compact)
    assert not np.asarray(converted.mask).any()
    empty = Detections.empty((40, 60)).to_supervision(compact=compact)
    back = Detections.from_supervision(empty)
    assert len(back) == 0
    assert back.image_size == (40, 60)


def test_classes_keep_their_names(found: Detections) -> None:
    names = ("background", "car", "person")
    several = replace(found, labels=np.array([2, 1]), class_names=names)
    converted = several.to_supervision()
    assert converted.data["class_name"].tolist() == ["person", "car"]
    assert Detections.from_supervision(converted, names).label_names() == ["person", "car"]
    with pytest.raises(InputError, match=r"class_id: expected 1 to 1 .* found 2"):
        Detections.from_supervision(converted)


@pytest.mark.parametrize("field", ["mask", "class_id"])
def test_what_is_missing_is_named(found: Detections, field: str) -> None:
    converted = found.to_supervision()
    setattr(converted, field, None)
    with pytest.raises(InputError, match=f"^{field}: expected one for every detection"):
        Detections.from_supervision(converted)


def test_without_scores_all_are_certain(found: Detections) -> None:
    converted = found.to_supervision()
    converted.confidence = None
    assert Detections.from_supervision(converted).scores.tolist() == [1, 1]


def test_without_the_package_the_extra_is_named(
    found: Detections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r"pip install 'pedseg\[supervision\]'"):
        found.to_supervision()
