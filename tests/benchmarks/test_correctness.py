from __future__ import annotations

import numpy as np
import pytest

from pedseg_benchmarks.correctness import CorrectnessCheck
from pedseg_export.accuracy_gate import AccuracyGate
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError
from pedseg_runtime.parity import Settings
from pedseg_train.data import PennFudanDataset
from pedseg_train.synthetic.dataset import synthesize

pytestmark = pytest.mark.slow

SETTINGS = Settings(0.05, 0.5, 100)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "data"
    synthesize(root, images=24, seed=3, min_size=128, max_size=160)
    return PennFudanDataset(root)


def oracle(dataset, shift=0.0):
    """Detects every person exactly at its label, or `shift` pixels beside."""
    answers = {dataset.image(i).tobytes(): dataset[i][1] for i in range(len(dataset))}

    def segment(image):
        target = answers[image.tobytes()]
        count = len(target["labels"])
        return Detections(
            boxes=np.asarray(target["boxes"], np.float32).reshape(-1, 4) + np.float32(shift),
            labels=np.ones(count, np.int64),
            scores=np.linspace(0.9, 0.8, count, dtype=np.float32),
            roi_masks=None,
            full_masks=np.asarray(target["masks"], np.uint8),
            image_size=image.shape[:2],
        )

    return segment


def checked(dataset, shift, precision="fp16"):
    gate = AccuracyGate(dataset, range(len(dataset)), 0.5)
    check = CorrectnessCheck(SETTINGS, ["a"], gate)
    truth, other = oracle(dataset), oracle(dataset, shift)
    image = dataset.image(0)
    first = check("eager", "fp32", [truth(image)], truth)
    return first, check("other", precision, [other(image)], other)


def test_ap_of_the_very_file_stands_beside_every_verdict(dataset):
    truth, same = checked(dataset, 0.0, "fp32")
    assert truth.judged_by == "truth"
    assert truth.accuracy == {"bbox": 1.0, "segm": 1.0, "images": 24}
    assert same.judged_by == "parity"
    assert same.accuracy == truth.accuracy


def test_a_lower_precision_that_loses_nothing_passes_by_ap(dataset):
    _, same = checked(dataset, 0.01)
    assert (same.judged_by, same.passed) == ("ap", True)
    assert same.gate_dict()["outcome"] == "passes"
    assert same.gate_dict()["images"] == 24


def test_a_lower_precision_that_loses_ap_fails(dataset):
    _, off = checked(dataset, 12.0)
    assert (off.judged_by, off.passed) == ("ap", False)
    assert "box AP lost" in off.reason
    assert off.accuracy["bbox"] < 0.9


def test_images_without_people_are_refused(dataset):
    empty = [i for i in range(len(dataset)) if not len(dataset[i][1]["labels"])]
    check = CorrectnessCheck(SETTINGS, ["a"], AccuracyGate(dataset, empty, 0.5))
    truth = oracle(dataset)
    with pytest.raises(DatasetError, match="found none on"):
        check("eager", "fp32", [truth(dataset.image(0))], truth)


def people(count):
    """So many in a row."""
    boxes = np.array([[30 * n, 10, 30 * n + 20, 60] for n in range(count)], np.float32)
    return Detections(
        boxes=boxes,
        labels=np.ones(count, np.int64),
        scores=np.linspace(0.9, 0.5, 4, dtype=np.float32)[:count],
        roi_masks=np.full((count, 28, 28), 0.7, np.float32),
        image_size=(64, 128),
    )


@pytest.mark.parametrize(("found", "passes"), [(4, True), (2, False)])
def test_what_eager_finds_with_a_little_noise_is_right(found, passes):
    asked = []

    def reruns(position):
        asked.append(position)
        yield 1e-5, people(4)

    check = CorrectnessCheck(SETTINGS, ["a"], reruns=reruns)
    check("eager", "fp32", [people(3)], None)
    assert check("other", "fp32", [people(found)], None).passed == passes
    assert asked == [0]
    check("lower", "fp16", [people(found)], None)
    assert asked == [0], "a lower precision is not held to it"


def test_without_reruns_what_eager_does_not_find_is_wrong():
    check = CorrectnessCheck(SETTINGS, ["a"])
    check("eager", "fp32", [people(3)], None)
    assert not check("other", "fp32", [people(4)], None).passed
