"""COCO numbers that can be worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError
from pedseg_train.evaluation import NUMBERS, evaluate

SIZE = (120, 160)


def detections_of(boxes, scores, image_size, roi_masks=None) -> Detections:
    """Detections of label 1; full boxes where no masks are given."""
    count = len(boxes)
    return Detections(
        boxes=np.asarray(boxes, np.float32).reshape(count, 4),
        labels=np.ones(count, np.int64),
        scores=np.asarray(scores, np.float32),
        roi_masks=np.ones((count, 28, 28), np.float32) if roi_masks is None else roi_masks,
        image_size=image_size,
    )


class Rectangles:
    """People who fill their boxes; image i's first pixel is i, to be recognised by."""

    def __init__(self, *boxes_per_image):
        self.boxes = boxes_per_image

    def __len__(self):
        return len(self.boxes)

    def image(self, index):
        return np.full((*SIZE, 3), index, np.uint8)

    def __getitem__(self, index):
        boxes = torch.tensor(self.boxes[index], dtype=torch.float32).reshape(-1, 4)
        masks = detections_of(self.boxes[index], np.ones(len(boxes)), SIZE).masks()
        sides = boxes[:, 2:] - boxes[:, :2]
        return None, {
            "boxes": boxes,
            "labels": torch.ones(len(boxes), dtype=torch.int64),
            "masks": torch.from_numpy(masks),
            "area": sides.prod(dim=1),
            "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        }


def answer(*per_image):
    """A segmenter that answers image i with the (boxes, scores) at position i."""

    def segment(image):
        boxes, scores = per_image[image[0, 0, 0]]
        return detections_of(boxes, scores, SIZE)

    return segment


BIG, OTHER = [10, 10, 120, 110], [5, 5, 40, 100]
SMALL, MEDIUM = [130, 10, 150, 30], [60, 20, 120, 80]


def test_perfect_predictions_score_one():
    dataset = Rectangles([BIG], [SMALL, MEDIUM])
    result = evaluate(
        answer(([BIG], [0.9]), ([SMALL, MEDIUM], [0.8, 0.7])), dataset, range(len(dataset))
    )
    for numbers in (result.bbox, result.segm):
        assert {name: numbers[name] for name in NUMBERS if name != "AR1"} == pytest.approx(
            dict.fromkeys(set(NUMBERS) - {"AR1"}, 1.0)
        )
    assert result.bbox["AR1"] == pytest.approx(2 / 3)  # one guess for each of two images
    assert (result.images, result.instances, result.detections) == (2, 3, 3)


def test_no_predictions_score_zero():
    result = evaluate(answer(([], []), ([], [])), Rectangles([BIG], [SMALL]), [0, 1])
    assert result.bbox["AP"] == result.segm["AP"] == 0.0
    assert result.detections == 0


def test_box_shifted_to_an_overlap_of_two_thirds_counts_up_to_that_overlap():
    """Box [0, 100] moved by 20 px has IoU 80/120: found at 0.50, 0.55, 0.60, 0.65 of ten."""
    truth, shifted = [0, 0, 100, 100], [20, 0, 120, 100]
    result = evaluate(answer(([shifted], [0.9])), Rectangles([truth]), [0])
    assert result.bbox["AP50"] == pytest.approx(1.0)
    assert result.bbox["AP75"] == 0.0
    assert result.bbox["AP"] == pytest.approx(0.4)


def test_a_better_scored_false_alarm_halves_the_precision():
    result = evaluate(answer(([SMALL, BIG], [0.9, 0.8])), Rectangles([BIG]), [0])
    assert result.bbox["AP50"] == pytest.approx(0.5)


def test_missing_one_of_two_people_halves_recall():
    result = evaluate(answer(([BIG], [0.9])), Rectangles([BIG, SMALL]), [0])
    assert result.bbox["AR100"] == pytest.approx(0.5)
    assert result.bbox["AP50"] == pytest.approx(51 / 101)  # recalls 0, 0.01 .. 0.5 of 101


def test_wrong_mask_in_a_right_box_loses_mask_ap_only():
    detections = detections_of([BIG], [0.9], SIZE, roi_masks=np.zeros((1, 28, 28), np.float32))
    result = evaluate(lambda _image: detections, Rectangles([BIG]), [0])
    assert result.bbox["AP"] == pytest.approx(1.0)
    assert result.segm["AP"] == 0.0


def test_image_without_people_counts_its_false_alarms():
    dataset = Rectangles([BIG], [])
    quiet = evaluate(answer(([BIG], [0.8]), ([], [])), dataset, [0, 1])
    noisy = evaluate(answer(([BIG], [0.8]), ([OTHER], [0.9])), dataset, [0, 1])
    assert quiet.bbox["AP50"] == pytest.approx(1.0)
    assert noisy.bbox["AP50"] == pytest.approx(0.5)


def test_nobody_anywhere_is_none_and_valid_json():
    result = evaluate(lambda _image: Detections.empty(SIZE), Rectangles([]), [0])
    assert set(result.bbox.values()) == {None}
    json.dumps(result.to_dict(), allow_nan=False)


def test_only_the_asked_images_are_evaluated():
    dataset = Rectangles([BIG], [OTHER])
    result = evaluate(answer(None, ([OTHER], [0.9])), dataset, [1])
    assert (result.images, result.bbox["AP"]) == (1, pytest.approx(1.0))


def test_an_image_named_twice_is_refused():
    """COCOeval would count its people twice and itself once."""
    with pytest.raises(InputError, match="found 1 repeated"):
        evaluate(answer(([BIG], [0.9])), Rectangles([BIG]), [0, 0])


def test_evaluation_prints_nothing_and_has_a_table(capsys):
    result = evaluate(answer(([BIG], [0.9])), Rectangles([BIG]), [0])
    assert capsys.readouterr().out == ""
    assert result.table().row_count == len(NUMBERS)
    assert result.summary() == "box AP 1.000, mask AP 1.000"
