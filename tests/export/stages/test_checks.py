"""Each check tells agreement, an explained flip and a failure apart."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pedseg_export.graph import intermediates
from pedseg_export.stages.box_checks import DetectionCheck, ProposalCheck
from pedseg_export.stages.checks import (
    LIMITS,
    PastedMaskCheck,
    PreprocessingCheck,
    PyramidCheck,
    SoftMaskCheck,
    StageCheck,
    extent,
)
from pedseg_export.stages.eager_trace import NO_PROPOSAL, EagerTrace
from pedseg_export.stages.report import FAILED, NOT_JUDGED, PASSED, StageReport, StageResult
from pedseg_runtime.parity import Settings

FP32 = LIMITS["fp32"]
PLACES = 12


def trace_of(values: dict[str, np.ndarray], *level_cutoffs: float) -> EagerTrace:
    soft = np.zeros((0, 8, 12), np.float32)
    return EagerTrace(values=values, resized=(4, 6), soft_masks=soft, level_cutoffs=level_cutoffs)


def checked(check: StageCheck, eager: EagerTrace, found: dict[str, np.ndarray]) -> StageResult:
    check.inspect("street", eager, found)
    return check.result()


def ladder(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [count, 4] that do not overlap, and falling scores."""
    left = 20.0 * np.arange(count, dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 30], axis=1)
    return boxes, np.linspace(0.9, 1e-4, count, dtype=np.float32)


def proposals(boxes: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Filled up to `PLACES`, as the graph has them."""
    empty = PLACES - len(boxes)
    return {
        intermediates.PROPOSAL_BOXES: np.pad(boxes, ((0, empty), (0, 0)))[None],
        intermediates.PROPOSAL_SCORES: np.pad(scores, (0, empty), constant_values=NO_PROPOSAL)[
            None
        ],
    }


def eager_proposals(boxes: np.ndarray, scores: np.ndarray, *cuts: float) -> EagerTrace:
    return trace_of(proposals(boxes, scores), *cuts)


def proposal_check(cap: int = PLACES, precision: str = "fp32") -> ProposalCheck:
    limits = LIMITS[precision]
    return ProposalCheck(limits, limits.proposals, Settings(-np.inf, 0.7, cap))


def largest(result: StageResult, quantity: str) -> float | None:
    (found,) = (item for item in result.differences if item.quantity == quantity)
    return found.largest


def frame(height: int, width: int, inner: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros((1, 3, height, width), np.float32)
    pixels[..., : inner[0], : inner[1]] = 0.25
    return pixels


def test_the_extent_of_a_padded_image_ends_where_its_zeros_begin() -> None:
    assert extent(frame(8, 8, (4, 6))[0]) == (4, 6)
    assert extent(np.zeros((3, 8, 8), np.float32)) == (0, 0)


@pytest.mark.parametrize(
    ("found", "verdict", "note"),
    [
        (frame(8, 8, (4, 6)), PASSED, None),
        (frame(8, 8, (4, 6)) * 1.01, PASSED, None),
        (frame(8, 8, (4, 6)) * 1.1, FAILED, None),
        (frame(8, 8, (3, 6)), FAILED, "expected 4x6 in a frame of 8x8, found 3x6 in a frame"),
        (frame(8, 12, (4, 6)), FAILED, "found 4x6 in a frame of 8x12"),
        (frame(8, 8, (4, 6)) * np.nan, FAILED, None),
    ],
    ids=["equal", "rounded", "other values", "other size", "other padding", "NaN"],
)
def test_preprocessing_is_checked_by_sizes_first(found, verdict: str, note: str | None) -> None:
    eager = trace_of({intermediates.PIXELS: frame(8, 8, (4, 6))})
    result = checked(PreprocessingCheck(FP32), eager, {intermediates.PIXELS: found})
    assert result.verdict == verdict
    assert note is None or note in result.notes[0]


def test_the_pyramid_is_checked_relative_to_its_largest_value() -> None:
    level = np.full((1, 2, 4, 4), 100.0, np.float32)
    values = {f"{intermediates.FEATURES}.0": level, f"{intermediates.FEATURES}.1": level / 100}
    found = {name: value + 0.01 for name, value in values.items()}
    result = checked(PyramidCheck(FP32), trace_of(values), found)
    assert [item.within for item in result.differences] == [True, False]
    assert largest(result, "level 0") == pytest.approx(1e-4, rel=0.01)


def test_proposals_are_a_set() -> None:
    boxes, scores = ladder(9)
    order = np.random.default_rng(0).permutation(9)
    eager = eager_proposals(boxes, scores)
    result = checked(proposal_check(), eager, proposals(boxes[order] + 0.01, scores[order]))
    assert result.verdict == PASSED
    assert largest(result, "boxes") == pytest.approx(0.01, rel=0.01)


def test_tiny_scores_are_compared_as_fractions_of_themselves() -> None:
    boxes, scores = ladder(9)
    eager = eager_proposals(boxes, scores)
    result = checked(proposal_check(), eager, proposals(boxes, scores * 1.01))
    assert result.verdict == FAILED
    assert largest(result, "scores") == pytest.approx(0.01, rel=0.01)
    assert checked(proposal_check(), eager, proposals(boxes, scores * 1.0005)).verdict == PASSED


def test_a_missing_proposal_without_a_cause_is_a_failure() -> None:
    boxes, scores = ladder(9)
    kept = np.arange(9) != 4
    eager = eager_proposals(boxes, scores)
    result = checked(proposal_check(), eager, proposals(boxes[kept], scores[kept]))
    assert result.verdict == FAILED
    assert largest(result, "unexplained") == pytest.approx(1 / 17)
    assert "1 proposal on one side only, unexplained" in result.notes[0]
    lower = checked(proposal_check(precision="bf16"), eager, proposals(boxes[kept], scores[kept]))
    assert lower.verdict == PASSED


def test_a_tie_at_the_cap_is_explained_with_its_margin() -> None:
    """Which of two proposals at rank 1000 is kept depends on the last bit of their scores."""
    boxes, scores = ladder(PLACES + 1)
    scores[-1] = scores[-2] * np.float32(1.0001)
    eager = eager_proposals(boxes[:-1], scores[:-1])
    others = [*range(PLACES - 1), PLACES]
    result = checked(proposal_check(), eager, proposals(boxes[others], scores[others]))
    assert result.verdict == PASSED
    assert result.notes == (
        "2 proposals on one side only, explained: detection cap, margins up to 0.0001",
    )


def test_a_tie_at_the_cap_of_a_level_is_explained_with_its_margin() -> None:
    boxes, scores = ladder(9)
    kept = np.arange(9) != 4
    eager = eager_proposals(boxes, scores, float(scores[4]), 0.7)
    result = checked(proposal_check(), eager, proposals(boxes[kept], scores[kept]))
    assert result.verdict == PASSED
    assert "1 proposal on one side only, explained: cap of a level" in result.notes[0]


def test_boxes_that_all_moved_are_no_ties() -> None:
    boxes, scores = ladder(9)
    result = checked(
        proposal_check(), eager_proposals(boxes, scores), proposals(boxes + 0.6, scores)
    )
    assert result.verdict == FAILED
    assert largest(result, "boxes") == pytest.approx(0.6, rel=0.01)


def test_proposals_that_are_not_finite_fail() -> None:
    boxes, scores = ladder(9)
    broken = boxes.copy()
    broken[2, 1] = np.nan
    result = checked(proposal_check(), eager_proposals(boxes, scores), proposals(broken, scores))
    assert result.verdict == FAILED
    assert "unexplained" in result.notes[0]


def objects(boxes: np.ndarray, scores: np.ndarray, images: int = 1) -> dict[str, np.ndarray]:
    count = len(boxes)
    return {
        intermediates.BOXES: np.concatenate([boxes, *[boxes + 7] * (images - 1)]),
        intermediates.SCORES: np.tile(scores, images),
        intermediates.LABELS: np.ones(count * images, np.int64),
        intermediates.IMAGE_INDEX: np.repeat(np.arange(images), count),
    }


def detection_check() -> DetectionCheck:
    return DetectionCheck(FP32, FP32.detections, Settings(0.05, 0.5, 100))


def test_detections_of_the_first_image_are_checked() -> None:
    boxes, scores = ladder(5)
    eager = trace_of(objects(boxes, scores))
    assert checked(detection_check(), eager, objects(boxes, scores, images=3)).verdict == PASSED
    labelled = {**objects(boxes, scores), intermediates.LABELS: np.full(5, 2)}
    assert checked(detection_check(), eager, labelled).verdict == FAILED


def test_a_detection_at_the_threshold_is_a_flip() -> None:
    boxes, scores = ladder(5)
    scores[-1] = 0.05001
    eager = trace_of(objects(boxes, scores))
    result = checked(detection_check(), eager, objects(boxes[:-1], scores[:-1]))
    assert result.verdict == PASSED
    assert "explained: score threshold, margins up to 1e-05" in result.notes[0]


def test_streets_without_detections_leave_the_later_stages_unjudged() -> None:
    """Nothing compared is no agreement."""
    nothing = ladder(0)
    eager = trace_of(
        {**objects(*nothing), intermediates.ROI_MASKS: np.zeros((0, 28, 28)), "boxes": nothing[0]}
    )
    found = dict(eager.values)
    for check in (detection_check(), SoftMaskCheck(FP32), PastedMaskCheck(FP32)):
        result = checked(check, eager, found)
        assert result.verdict == NOT_JUDGED
        assert "no image has a detection" in result.notes[0]


@pytest.fixture
def pasted() -> tuple[EagerTrace, dict[str, np.ndarray]]:
    """One detection on an image of 8x12, with soft values 0 and 1 alone."""
    soft = np.zeros((1, 8, 12), np.float32)
    soft[0, 2:6, 3:9] = 1.0
    boxes = np.array([[3, 2, 9, 6]], np.float32)
    eager = dataclasses.replace(trace_of({"boxes": boxes}), soft_masks=soft)
    return eager, {"boxes": boxes, "masks": (soft >= 0.5).astype(np.uint8)}


def test_every_pasted_pixel_counts(pasted) -> None:
    eager, found = pasted
    assert checked(PastedMaskCheck(FP32), eager, found).verdict == PASSED
    found["masks"][0, 0, :3] = 1
    result = checked(PastedMaskCheck(FP32), eager, found)
    assert result.verdict == FAILED
    assert largest(result, "masks") == 3


def test_a_pixel_at_the_threshold_is_noted_and_not_counted(pasted) -> None:
    eager, found = pasted
    eager.soft_masks[0, 2, 3] = np.nextafter(np.float32(0.5), np.float32(0))
    result = checked(PastedMaskCheck(FP32), eager, found)
    assert result.verdict == PASSED
    assert result.notes == ("street: 1 pixel at the threshold differs",)


def test_masks_of_another_size_fail(pasted) -> None:
    eager, found = pasted
    result = checked(PastedMaskCheck(FP32), eager, {**found, "masks": found["masks"][:, :7]})
    assert result.verdict == FAILED
    assert "expected masks of [1, 8, 12], found [1, 7, 12]" in result.notes[0]


def test_the_worst_image_is_named_and_kept() -> None:
    check = SoftMaskCheck(FP32)
    for name, shift in (("first", 0.0), ("second", 0.3), ("third", 0.2)):
        eager = trace_of({intermediates.ROI_MASKS: np.zeros((1, 2, 2))})
        check.inspect(name, eager, {intermediates.ROI_MASKS: np.full((1, 2, 2), shift)})
    (difference,) = check.result().differences
    assert (difference.worst, difference.largest) == ("second", pytest.approx(0.3))


def test_the_report_is_json_and_names_its_first_failure() -> None:
    values = {intermediates.ROI_MASKS: np.zeros((1, 2, 2))}
    results = [
        checked(SoftMaskCheck(FP32), trace_of(values), found)
        for found in (values, {intermediates.ROI_MASKS: np.full((1, 2, 2), np.nan)})
    ]
    report = StageReport(precision="fp32", images=1, stages=tuple(results))
    assert not report
    assert report.first_failure is results[1]
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["first_failure"] == "RoI masks"
    assert document["stages"][1]["differences"][0]["largest"] is None
    assert "not finite" in report.summary()
