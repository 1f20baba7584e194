"""Results from a file are those of the model that made it; anything else is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pedseg_runtime.errors import InputError
from pedseg_train.data.coco.segmentation import decode
from pedseg_train.eager import EagerSegmenter
from pedseg_train.evaluation import count, record
from pedseg_train.evaluation.predictions import is_predictions, read_predictions, sound_rle
from pedseg_train.models import build_model

pytestmark = pytest.mark.slow

CLASSES = ("background", "person")


@pytest.fixture(scope="module")
def recording(toy):
    """What a network with random weights finds on all toy images."""
    torch.manual_seed(0)
    model = build_model(
        "maskrcnn_resnet18_fpn", min_size=64, max_size=96, score_threshold=0.0,
        detections_per_image=10,
    )  # fmt: skip
    return record(EagerSegmenter(model, class_names=CLASSES, paste=False), toy, range(len(toy)))


@pytest.fixture
def predicted(toy, recording, tmp_path):
    """The same as files that pedseg-predict writes, images numbered from 1."""
    kept = ("category_id", "bbox", "score", "segmentation")
    results = [
        {"image_id": entry["image_id"] + 1, **{name: entry[name] for name in kept}}
        for entry in recording.found
    ]
    images = {
        "images": [
            {"id": index + 1, "file_name": f"some/where/{toy.path(index).name}"}
            for index in range(len(toy))
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "coco_results.json").write_text(json.dumps(results))
    (tmp_path / "coco_images.json").write_text(json.dumps(images))
    return tmp_path / "coco_results.json"


def changed(path, change):
    """Apply `change` to the document of a JSON file."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps(change(document) or document))


def test_a_file_counts_like_the_model_that_made_it(predicted, recording, toy):
    assert is_predictions(predicted)
    assert count(read_predictions(predicted, toy, range(len(toy)))) == count(recording)


def test_more_masks_than_eight_bits_can_count_are_read(predicted, recording, toy):
    """pycocotools 2.0 cannot take the areas of 256 masks at once where numpy is 2."""
    changed(predicted, lambda found: found * 6)
    read = read_predictions(predicted, toy, range(len(toy)))
    assert len(read.found) == 6 * len(recording.found) > 255


def test_images_of_other_parts_are_left_out(predicted, recording, toy):
    read = read_predictions(predicted, toy, [4, 2])
    assert [image["id"] for image in read.images] == [4, 2]
    expected = [one["score"] for one in recording.found if one["image_id"] in (2, 4)]
    assert [one["score"] for one in read.found] == expected


def test_classes_that_the_dataset_lacks_are_left_out(predicted, recording, toy):
    changed(
        predicted,
        lambda found: [{**one, "category_id": 1 + (i % 2)} for i, one in enumerate(found)],
    )
    changed(
        predicted.with_name("coco_images.json"),
        lambda images: images["categories"].append({"id": 2, "name": "car"}),
    )
    read = read_predictions(predicted, toy, range(len(toy)))
    assert len(read.found) == (len(recording.found) + 1) // 2


def test_uncompressed_run_lengths_are_taken_too(predicted, recording, toy):

    def unpacked(found):
        for one in found:
            bits = decode(one["segmentation"], one["segmentation"]["size"]).T.ravel()
            edges = np.flatnonzero(np.diff(bits, prepend=False)).tolist()
            runs = np.diff([0, *edges, bits.size]).tolist()
            one["segmentation"] = {"size": one["segmentation"]["size"], "counts": runs}

    changed(predicted, unpacked)
    assert count(read_predictions(predicted, toy, range(len(toy)))) == count(recording)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {"annotations": found}, "expected a JSON list of COCO results, found an ob"),
        (lambda found: found[0].update(image_id=99), "result 0: expected an image_id .* found 99"),
        (lambda found: found[1].update(category_id=7), "result 1: expected an category_id .* 7"),
        (lambda found: found[0].pop("segmentation") and None, "found no segmentation"),
        (lambda found: found[0].update(bbox=[1, 2, 3]), r"four numbers x y width height, found \["),
        (lambda found: found[0].update(bbox=[1, 2, -3, 4]), "found a negative side"),
        (lambda found: found[0].update(score="high"), "expected a finite score, found 'high'"),
        (lambda found: found[0].update(segmentation=[[1, 2, 3, 4, 5, 6]]), "found list"),
        (lambda found: found[0]["segmentation"].update(size=[3, 4]), r"\[64, 80\], found size"),
        (lambda found: found[0]["segmentation"].update(counts="0"), "add up to 64 x 80 pixels"),
        (lambda found: found[0]["segmentation"].update(counts="~~"), "add up to 64 x 80 pixels"),
        (lambda found: found[0]["segmentation"].update(counts=[1, -1, 5120]), "add up to"),
    ],
)
def test_what_is_wrong_is_named(predicted, toy, change, words):
    changed(predicted, change)
    with pytest.raises(InputError, match=words):
        read_predictions(predicted, toy, range(len(toy)))


def test_no_json_is_refused(predicted, toy):
    predicted.write_text('[{"image_id": 1,')
    with pytest.raises(InputError, match="found no JSON"):
        read_predictions(predicted, toy, [0])


def test_results_without_their_images_ask_for_them(predicted, recording, toy, tmp_path):
    predicted.with_name("coco_images.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="name a COCO file with the same image ids by --image-ids"):
        read_predictions(predicted, toy, [0])
    read = read_predictions(predicted, toy, range(len(toy)), images=tmp_path / "elsewhere.json")
    assert count(read) == count(recording)


def test_images_that_were_not_predicted_are_no_misses(predicted, toy):
    changed(predicted.with_name("coco_images.json"), lambda images: images["images"].pop() and None)
    changed(predicted, lambda found: [one for one in found if one["image_id"] < len(toy)])
    assert len(read_predictions(predicted, toy, range(len(toy) - 1)).images) == len(toy) - 1
    with pytest.raises(InputError, match=f"found 5 and no {toy.path(5).name}"):
        read_predictions(predicted, toy, range(len(toy)))


def test_an_images_file_of_another_kind_is_refused(predicted, toy):
    predicted.with_name("coco_images.json").write_text('{"images": [{"id": 1}]}')
    with pytest.raises(InputError, match=r"images \(id, file_name\) and categories"):
        read_predictions(predicted, toy, [0])


def test_images_without_a_class_of_the_dataset_are_refused(predicted, toy):
    changed(
        predicted.with_name("coco_images.json"),
        lambda images: images.update(categories=[{"id": 1, "name": "car"}]),
    )
    with pytest.raises(InputError, match=r"a category of the dataset \(person\), found car"):
        read_predictions(predicted, toy, [0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_run_lengths_come_back_as_the_mask(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    np.testing.assert_array_equal(decode(rle, mask.shape), mask)
    text = {"size": [height, width], "counts": rle["counts"].decode("ascii")}
    assert sound_rle(text, (height, width)) == text
    with pytest.raises(InputError, match="height"):
        sound_rle(text, (height + 1, width))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
def test_any_text_is_sound_or_refused(counts):
    try:
        rle = sound_rle({"size": [5, 4], "counts": counts}, (5, 4))
    except InputError:
        return
    assert decode(rle, (5, 4)).shape == (5, 4)
