"""The bootstrap agrees with COCOeval where COCOeval can answer, and with common sense elsewhere."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from rich.console import Console

from pedseg_runtime.errors import InputError
from pedseg_train.evaluation import Recording, count
from pedseg_train.evaluation.bootstrap import ap_intervals, compare_ap
from pedseg_train.evaluation.matches import Matches

pytestmark = pytest.mark.slow

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


def streets(images: int = 60, *, seed: int = 0) -> Recording:
    """Images with 0 to 4 people of one category, nothing found yet."""
    random = np.random.default_rng(seed)
    truth = [
        annotation(image, [40 * place + random.uniform(0, 5), random.uniform(0, 90), 30, 100])
        for image in range(images)
        for place in range(random.integers(0, 5))
    ]
    sizes = [{"id": image, "height": SIZE, "width": SIZE} for image in range(images)]
    return Recording(images=sizes, truth=truth, found=[])


def found(street: Recording, *, jitter: float, missed: float = 0.0, seed: int = 1) -> Recording:
    """Every person found with jitter in pixels, but for a share that is missed; some false alarms.

    Which people are missed does not depend on `jitter`: two models share the hard ones.
    """
    random, luck = np.random.default_rng(seed), np.random.default_rng(99)
    entries = []
    for person in street.truth:
        box = np.add(person["bbox"], random.normal(0, jitter, 4)).clip(1)
        entry = annotation(person["image_id"], box, score=random.uniform(0.3, 1))
        if luck.random() >= missed:
            entries.append(entry)
    for image in street.images[::5]:
        entries.append(annotation(image["id"], [150, 150, 20, 30], score=random.uniform(0.1, 0.6)))
    return dataclasses.replace(street, found=entries)


def copied(recording: Recording, copies) -> Recording:
    """A dataset in which every image stands `copies` times, side by side."""
    originals = np.repeat(np.arange(len(copies)), copies).tolist()

    def move(entries):
        return [
            {**entry, "image_id": place}
            for place, image in enumerate(originals)
            for entry in entries
            if entry["image_id"] == image
        ]

    images = [{**recording.images[image], "id": i} for i, image in enumerate(originals)]
    return Recording(images, move(recording.truth), move(recording.found))


@st.composite
def recordings(draw) -> Recording:
    """A few images, up to three categories, crowds, tied scores, empty images."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images, categories = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    crowds, ties = draw(st.booleans()), draw(st.booleans())

    def box():
        return [*random.integers(0, 3, 2) * 8, 60, 90 + random.integers(0, 20)]

    def some(most):
        return range(random.integers(0, most))

    truth = [
        annotation(image, box(), int(random.integers(1, categories + 1)),
                   iscrowd=int(crowds and random.random() < 0.3))
        for image in range(images) for _ in some(5)
    ]  # fmt: skip
    entries = [
        annotation(image, box(), int(random.integers(1, categories + 1)),
                   score=float(random.integers(1, 4) / 4 if ties else random.random()))
        for image in range(images) for _ in some(8)
    ]  # fmt: skip
    sizes = [{"id": image, "height": SIZE, "width": SIZE} for image in range(images)]
    return Recording(sizes, truth, entries)


def same(value: float, expected: float | None) -> bool:
    return math.isnan(value) if expected is None else value == expected


@given(recordings())
def test_every_image_once_is_cocoevals_ap_to_the_last_bit(recording):
    result = count(recording)
    once = np.ones(len(recording.images), np.int64)
    for kind in ("bbox", "segm"):
        value = Matches.of(recording, kind).average_precision(once)
        assert same(value, getattr(result, kind)["AP"]), kind


@given(recordings(), st.data())
def test_a_draw_is_cocoevals_ap_on_a_dataset_with_copies(recording, data):
    # Which of two tied detections comes first depends on the order of the copies: no ties here.
    spread = np.random.default_rng(0).permutation(len(recording.found))
    distinct = [
        {**entry, "score": float(1 / (2 + place))}
        for entry, place in zip(recording.found, spread, strict=True)
    ]
    recording = dataclasses.replace(recording, found=distinct)
    images = len(recording.images)
    copies = data.draw(st.lists(st.integers(0, 3), min_size=images, max_size=images))
    value = Matches.of(recording, "bbox").average_precision(np.array(copies))
    if any(copies):
        assert same(value, count(copied(recording, copies)).bbox["AP"])
    else:
        assert math.isnan(value)


def test_the_reported_aps_are_cocoevals():
    street = streets()
    sides = found(street, jitter=1), found(street, jitter=4)
    difference = compare_ap(*sides, resamples=10)
    for kind in ("bbox", "segm"):
        expected = [getattr(count(side), kind)["AP"] for side in sides]
        one = getattr(difference, kind)
        assert [one.reference, one.candidate] == expected
        assert one.difference == pytest.approx(100 * (expected[1] - expected[0]))


def test_a_model_beside_itself_loses_nothing():
    side = found(streets(), jitter=3)
    difference = compare_ap(side, side, resamples=50)
    assert (difference.bbox.difference, difference.bbox.low, difference.bbox.high) == (0, 0, 0)


def test_a_real_loss_is_seen():
    """One person in eight is missed: about ten points of AP, whatever images are drawn."""
    street = streets(120)
    difference = compare_ap(
        found(street, jitter=1), found(street, jitter=1, missed=0.125), resamples=300
    )
    for kind in difference.kinds().values():
        assert -20 < kind.low < kind.difference < kind.high < -4


def test_noise_alone_is_no_loss():
    street = streets(120)
    difference = compare_ap(
        found(street, jitter=2, seed=1), found(street, jitter=2, seed=2), resamples=300
    )
    for kind in difference.kinds().values():
        assert kind.low < 0 < kind.high
        assert kind.difference != 0


def test_pairing_makes_the_interval_narrower_than_either_sides_own():
    """Both sides miss the same people; how many of them are drawn is no difference."""
    street = streets(80)
    sides = [found(street, jitter=1, missed=0.3, seed=seed) for seed in (1, 2)]
    paired = compare_ap(*sides, resamples=300).bbox
    alone = ap_intervals(sides[0], resamples=300)["bbox"]["AP"]
    assert alone.low < alone.value < alone.high
    assert paired.high - paired.low < 0.7 * 100 * (alone.high - alone.low)


def test_the_candidates_own_interval_is_the_one_it_has_alone():
    street = streets(20)
    candidate = found(street, jitter=6)
    difference = compare_ap(found(street, jitter=2), candidate, resamples=60, seed=3)
    alone = ap_intervals(candidate, resamples=60, seed=3)
    for kind in ("bbox", "segm"):
        interval = alone[kind]["AP"]
        assert getattr(difference, kind).candidate_interval == (interval.low, interval.high)


def test_more_images_make_the_interval_narrower():
    widths = []
    for images in (30, 270):
        one = ap_intervals(found(streets(images), jitter=3), resamples=200)["segm"]["AP"]
        widths.append(one.high - one.low)
    assert widths[1] < 0.6 * widths[0]  # a third, by the root of nine


def test_the_seed_decides_the_draws():
    street = streets(30)
    sides = found(street, jitter=1), found(street, jitter=4)
    first, again = (compare_ap(*sides, resamples=40, seed=5) for _ in range(2))
    other = compare_ap(*sides, resamples=40, seed=6)
    assert first == again
    assert first.bbox.difference == other.bbox.difference
    assert (first.bbox.low, first.bbox.high) != (other.bbox.low, other.bbox.high)


def test_the_order_of_the_images_does_not_matter():
    """COCOeval sorts the ids; the copies must fall on the same images."""
    street = found(streets(20), jitter=3)
    backwards = dataclasses.replace(street, images=street.images[::-1])
    assert ap_intervals(street, resamples=20) == ap_intervals(backwards, resamples=20)


def test_draws_without_a_person_are_left_out_and_not_counted():
    street = streets(6)
    lonely = dataclasses.replace(
        street,
        truth=[one for one in street.truth if one["image_id"] == street.truth[0]["image_id"]],
    )
    side = found(lonely, jitter=1)
    difference = compare_ap(side, side, resamples=200)
    assert 0 < difference.resamples < 200
    assert math.isfinite(difference.bbox.low)


def test_results_are_json_and_readable():
    street = streets(20)
    difference = compare_ap(found(street, jitter=1), found(street, jitter=3), resamples=20)
    document = json.loads(json.dumps(difference.to_dict(), allow_nan=False))
    assert document["bbox"]["candidate"] == difference.bbox.candidate
    assert document["images"] == 20
    line = difference.summary()
    assert line.startswith("box AP ")
    assert f"{difference.segm.difference:+.2f} points" in line
    assert "\n" not in line
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(difference.table())
    assert f"{difference.segm.low:+.2f} to {difference.segm.high:+.2f}" in console.export_text()


def test_nobody_on_the_images_is_refused():
    nobody = dataclasses.replace(streets(3), truth=[])
    with pytest.raises(InputError, match="found none on 3 images"):
        compare_ap(nobody, nobody)
    with pytest.raises(InputError, match="found none on 3 images"):
        ap_intervals(nobody)


def test_sides_of_other_images_are_refused():
    with pytest.raises(InputError, match="the same images"):
        compare_ap(found(streets(5), jitter=1), found(streets(6), jitter=1))
    with pytest.raises(InputError, match="the same images"):
        compare_ap(found(streets(5), jitter=1), found(streets(5, seed=3), jitter=1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"resamples": 0}, "resamples"), ({"confidence": 1.0}, "fraction"),
     ({"confidence": 0.0}, "fraction")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(arguments, words):
    side = found(streets(5), jitter=1)
    with pytest.raises(InputError, match=words):
        compare_ap(side, side, **arguments)
