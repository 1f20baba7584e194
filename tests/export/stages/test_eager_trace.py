"""What eager computes between its stages, and the batch that is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from pedseg_export.graph import intermediates
from pedseg_export.stages.eager_trace import NO_PROPOSAL, EagerTracer, repeat_for_batch
from pedseg_export.verification import Sample, generated_samples

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return generated_samples()[:1]


def test_eager_is_left_as_it_was_and_passes_on_what_it_returns(eager, samples) -> None:
    image = samples[0].image
    trace = EagerTracer(eager.model, eager.device)(image)
    found = eager(image)
    np.testing.assert_array_equal(trace.values["boxes"], found.boxes)
    np.testing.assert_array_equal(trace.values[intermediates.ROI_MASKS], found.roi_masks)
    np.testing.assert_array_equal(trace.soft_masks >= 0.5, found.masks())
    assert "filter_proposals" not in vars(eager.model.rpn)
    assert not eager.model.backbone._forward_hooks
    scores = trace.values[intermediates.PROPOSAL_SCORES][0]
    assert scores.shape == (1000,)
    real = scores[scores >= 0]
    assert 0 < len(real) < 1000
    assert (np.diff(real) <= 0).all()
    assert (scores[len(real) :] == NO_PROPOSAL).all()


def test_a_batch_repeats_one_image_and_counts_its_detections(eager, samples) -> None:
    values = EagerTracer(eager.model, eager.device)(samples[0].image).values
    batch = repeat_for_batch(values, 3)
    count = len(values[intermediates.LABELS])
    assert batch[intermediates.PIXELS].shape[0] == 3
    assert batch[intermediates.IMAGE_INDEX].tolist() == [0] * count + [1] * count + [2] * count
    np.testing.assert_array_equal(
        batch[intermediates.BOXES][count : 2 * count], values[intermediates.BOXES]
    )
