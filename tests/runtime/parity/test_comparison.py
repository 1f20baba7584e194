"""`compare` as a whole: what agrees, what does not, and what cannot be compared."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError
from pedseg_runtime.parity import FP32, Tolerances, compare

SIZE = (240, 320)


def scene(seed: int, count: int = 6) -> Detections:
    """Random detections in no overlap with each other, two labels, smooth soft masks."""
    rng = np.random.default_rng(seed)
    columns = np.arange(count) % 4 * 80
    rows = np.arange(count) // 4 * 110
    low = np.stack([columns, rows], axis=1) + rng.uniform(0, 8, (count, 2))
    high = low + rng.uniform(15, 60, (count, 2))
    return Detections(
        boxes=np.concatenate([low, high], axis=1).astype(np.float32),
        labels=rng.integers(1, 3, count),
        scores=np.sort(rng.uniform(0.2, 1, count))[::-1].astype(np.float32),
        roi_masks=rng.uniform(0, 1, (count, 28, 28)).astype(np.float32),
        image_size=SIZE,
        class_names=("background", "person", "rider"),
    )


scenes = st.builds(scene, st.integers(0, 2**32 - 1), st.integers(1, 8))


@given(scenes)
@settings(max_examples=25, deadline=None)
def test_anything_agrees_with_itself(detections):
    report = compare([detections], [detections])
    assert report
    assert report.passed
    assert report.counts.matched == len(detections)
    assert report.pasted.min_iou == 1.0
    assert all(field.max == 0 for field in report.fields)


@given(
    boxes=st.lists(
        st.tuples(*[st.floats(0, 100, width=32)] * 4), min_size=1, max_size=12, unique=True
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_even_degenerate_and_overlapping_boxes_agree_with_themselves(boxes, seed):
    rng = np.random.default_rng(seed)
    corners = np.array(boxes, np.float32)
    detections = Detections(
        boxes=np.concatenate(
            [
                np.minimum(corners[:, :2], corners[:, 2:]),
                np.maximum(corners[:, :2], corners[:, 2:]),
            ],
            axis=1,
        ),
        labels=np.ones(len(boxes), np.int64),
        scores=rng.uniform(0.1, 1, len(boxes)).astype(np.float32),
        roi_masks=np.full((len(boxes), 28, 28), 0.7, np.float32),
        image_size=SIZE,
    )
    order = rng.permutation(len(boxes))
    assert compare([detections], [detections[order]])


@given(scenes, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_detections_does_not_matter(detections, random):
    order = list(range(len(detections)))
    random.shuffle(order)
    assert compare([detections], [detections[order]])


def perturbed(detections: Detections, field: str, amount: float) -> Detections:
    """One value of one field moved by `amount`, downwards for scores and masks near 1."""
    values = getattr(detections, field).astype(np.float64)
    values.flat[0] += amount if values.flat[0] + amount <= 1 or field == "boxes" else -amount
    return replace(detections, **{field: values.astype(np.float32)})


@pytest.mark.parametrize("field", ["scores", "boxes", "roi_masks"])
@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False)], ids=["below", "above"])
@pytest.mark.parametrize("seed", range(5))
def test_each_limit_decides(field, share, agrees, seed):
    detections = scene(seed)
    moved = perturbed(detections, field, share * getattr(FP32, field))
    report = compare([detections], [moved], names=["street.png"])
    statistics = {f.name: f for f in report.fields}
    assert report.passed is agrees
    assert statistics[field].within is agrees
    assert statistics[field].worst == "street.png"
    assert statistics[field].max == pytest.approx(share * getattr(FP32, field), rel=0.05)
    assert all(f.within for name, f in statistics.items() if name != field)
    assert report.counts.defects == (not agrees)


def test_tolerances_are_the_callers():
    detections = scene(1)
    moved = perturbed(detections, "boxes", 0.5)
    assert not compare([detections], [moved])
    loose = Tolerances(scores=1e-4, boxes=1.0, roi_masks=1e-3, masks=0.01, iou=1e-3)
    assert compare([detections], [moved], tolerances=loose)


def test_statistics_are_over_pairs():
    detections = scene(3, count=4)
    boxes = detections.boxes.copy()
    boxes[:, 0] += np.array([0.0, 0.01, 0.02, 0.03], np.float32)
    report = compare([detections], [replace(detections, boxes=boxes)])
    statistics = next(f for f in report.fields if f.name == "boxes")
    assert statistics.count == 4
    assert statistics.mean == pytest.approx(0.015, abs=1e-4)
    assert statistics.p99 == pytest.approx(0.0297, abs=1e-4)
    assert statistics.unit == "pixels"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("field", ["scores", "boxes", "roi_masks"])
@pytest.mark.parametrize("side", ["reference", "candidate", "both"])
def test_a_value_that_is_not_finite_never_passes(field, value, side):
    detections = scene(4)
    values = getattr(detections, field).copy()
    values.flat[0] = value
    broken = replace(detections, **{field: values})
    report = compare(
        [broken if side != "candidate" else detections],
        [broken if side != "reference" else detections],
        score_threshold=float(detections.scores[0]),
        detections_per_image=1,
    )
    assert not report
    assert any(item.kind == "not finite" for item in report.unmatched)
    json.dumps(report.to_dict(), allow_nan=False)


def test_nothing_compared_is_a_failure():
    empty = Detections.empty(SIZE)
    report = compare([empty, empty], [empty, empty])
    assert not report
    assert report.reason == "nothing was compared"
    assert report.counts.empty_images == 2
    assert not compare([], [])


def test_an_image_empty_on_both_sides_agrees_beside_others():
    empty = replace(Detections.empty(SIZE), class_names=scene(5).class_names)
    report = compare([empty, scene(5)], [empty, scene(5)])
    assert report
    assert report.counts.empty_images == 1


def test_detections_that_all_vanish_are_defects():
    detections = scene(6, count=3)
    report = compare([detections], [detections[:0]])
    assert not report
    assert report.counts.defects == 3
    assert {item.kind for item in report.unmatched} == {"unexplained"}


def test_a_changed_label_shows_as_two_unmatched_detections():
    detections = scene(7, count=3)
    report = compare([detections], [replace(detections, labels=3 - detections.labels)])
    assert not report
    assert report.counts.matched == 0
    assert [item.side for item in report.unmatched] == ["reference"] * 3 + ["candidate"] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (1, 2)}, "image_size"),
        ({"class_names": ("background", "pedestrian", "rider")}, "class_names"),
        ({"roi_masks": np.zeros((6, 14, 14), np.float32)}, "RoI masks"),
    ],
    ids=["size", "classes", "mask size"],
)
def test_sides_that_speak_of_different_things_are_refused(change, message):
    detections = scene(8)
    with pytest.raises(InputError, match=message):
        compare([detections], [replace(detections, **change)])


def test_lists_of_different_length_are_refused():
    with pytest.raises(InputError, match="2 reference, 1 candidate, 2 names"):
        compare([scene(1), scene(2)], [scene(1)])
    with pytest.raises(InputError, match="1 reference, 1 candidate, 0 names"):
        compare([scene(1)], [scene(1)], names=[])


def test_the_report_is_json_a_line_and_a_table():
    detections = scene(9)
    report = compare([detections], [detections[1:]], names=["[odd] name.png"])
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["passed"] is False
    assert values["counts"]["matched"] == 5
    assert values["unmatched"][0]["image"] == "[odd] name.png"
    assert [field["name"] for field in values["fields"]] == ["scores", "boxes", "roi_masks"]
    assert "\n" not in report.summary()
    assert "FAILED" in report.summary()
    console = Console(width=120, file=io.StringIO())
    console.print(report.table())
    printed = console.file.getvalue()
    assert "pixels" in printed
    assert "[odd]" in printed
