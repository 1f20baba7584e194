import pickle

import numpy as np
import pytest
import torch

from pedseg_runtime.errors import DatasetError
from pedseg_train.data import CocoDataset, open_dataset, open_images
from pedseg_train.data.coco import images as coco_images
from pedseg_train.data.coco.segmentation import decode
from pedseg_train.data.pennfudan import PennFudanImages


def test_every_layout_is_recognised(dataset, coco):
    assert isinstance(open_dataset(dataset).labelled_images, PennFudanImages)
    for path in (coco, coco.parent):
        found = open_dataset(path)
        assert isinstance(found.labelled_images, coco_images.CocoImages)
        assert found.names == open_images(path).names == ("a", "b", "c")


@pytest.mark.parametrize("first", ["images.json", "other.json"])
def test_the_annotations_folder_is_looked_into_first(coco, first):
    folder = coco.parent / "annotations"
    folder.mkdir()
    coco.rename(folder / "instances_all.json")
    (coco.parent / first).write_text("{}")
    (folder / "captions_all.json").write_text("{}")
    assert len(open_dataset(coco.parent)) == 3
    (folder / "instances_more.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"one COCO JSON file in annotations, found 3 \(cap"):
        open_dataset(coco.parent)


def test_a_folder_of_nothing_known_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"found no PNGImages and no PedMasks.*COCO JSON"):
        open_dataset(tmp_path)


def test_targets_have_the_tutorials_form_whatever_the_layout(dataset, coco):
    expected, found = (open_dataset(path)[0][1] for path in (dataset, coco))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert type(found[key]) is type(value)
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert found[key].ndim == value.ndim


def test_crowds_are_measured_with_and_not_trained_on(coco):
    found = open_dataset(coco)
    trained, truth = found[0][1], found.truth(0)
    assert trained["labels"].tolist() == [1, 2]
    assert trained["iscrowd"].tolist() == [0, 0]
    assert trained["boxes"].tolist() == [[3, 2, 8, 10], [15, 5, 21, 19]]
    assert trained["area"].tolist() == [40.5, 84]
    assert truth["labels"].tolist() == [1, 2, 1]
    assert truth["iscrowd"].tolist() == [0, 0, 1]
    assert truth["masks"].shape == (3, 20, 30)
    assert found.masks(0).shape == (2, 20, 30)
    assert found.labels(0).tolist() == [1, 2]


def test_truth_takes_no_part_in_transforms(coco):
    def refuse(image, target):
        raise AssertionError

    assert len(open_dataset(coco, transform=refuse).truth(0)["boxes"]) == 3


def test_indices_select_images_and_their_ids(coco):
    found = CocoDataset(coco, indices=[2, 0])
    assert found.names == ("c", "a")
    assert found.image_ids == (70, 9)
    assert found[0][1]["image_id"] == 2
    assert found.truth(1)["image_id"] == 0
    assert found.dropped(0) == ()


def test_a_model_that_knows_more_classes_can_be_measured_on_people(dataset):
    found = open_dataset(dataset, class_names=("background", "dog", "person"))
    assert found.class_names == ("background", "dog", "person")
    assert found[0][1]["labels"].tolist() == [2, 2]


def test_classes_that_penn_fudan_lacks_are_refused(dataset):
    assert open_dataset(dataset, categories=["person"]).class_names == ("background", "person")
    with pytest.raises(DatasetError, match="'persons', found none; did you mean 'person'"):
        open_dataset(dataset, categories=["persons"])
    with pytest.raises(DatasetError, match=r"knows \(car\), found person; .*--map person=car"):
        open_dataset(dataset, class_names=("background", "car"))


def test_a_folder_of_images_has_no_place_in_penn_fudan(dataset, tmp_path):
    with pytest.raises(DatasetError, match="for COCO JSON only"):
        open_dataset(dataset, images=tmp_path)


def test_a_dataset_can_be_sent_to_another_process(coco):
    before = open_dataset(coco)
    after = pickle.loads(pickle.dumps(before))
    assert np.array_equal(after.masks(0), before.masks(0))
    assert after.digest() == before.digest()


def test_no_mask_is_decoded_before_an_image_is_asked_for(coco, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        coco_images, "decode", lambda *_: decoded.append(1) or np.ones((20, 30), bool)
    )
    found = open_dataset(coco)
    assert not decoded
    assert len(found.masks(2)) == len(decoded) == 1


def test_boxes_end_on_the_last_pixel_in_the_tutorial_and_contain_it_in_coco(
    make_dataset, two_people, document, write_coco
):
    """One pixel wide is a box to train on in COCO and none in the tutorial."""
    two_people[0, 0:9] = 3
    thin = {"segmentation": [[0, 0, 9, 0, 9, 1, 0, 1]], "id": 60}
    document["annotations"].append({**document["annotations"][0], **thin})
    tutorial, coco = (
        open_dataset(make_dataset({"a": two_people})),
        open_dataset(write_coco(document)),
    )
    assert tutorial[0][1]["boxes"].tolist() == [[3, 2, 7, 9], [15, 5, 20, 18]]
    assert coco[0][1]["boxes"].tolist() == [[3, 2, 8, 10], [15, 5, 21, 19], [0, 0, 9, 1]]
    assert tutorial.truth(0)["boxes"].tolist() == [[3, 2, 7, 9], [15, 5, 20, 18]]
    assert [one.instance for one in tutorial.dropped(0)] == [3]
    assert coco.dropped(0) == ()


def test_what_is_measured_with_is_what_the_file_says(document, write_coco):
    first = document["annotations"][0] | {"bbox": [1.5, 2, 7, 8.25], "area": 0}
    document["annotations"][0] = first
    document["annotations"] += [
        {**first, "id": 50},
        {**first, "id": 51, "segmentation": [[40, 2, 60, 2, 60, 9, 40, 9]]},
        {**first, "id": 52, "segmentation": []},
        {**first, "id": 53, "segmentation": [], "bbox": None},
    ]
    dataset = open_dataset(write_coco(document))
    assert len(dataset[0][1]["boxes"]) == 2
    given = dataset.annotations(0)
    assert (given.id, given.size) == (9, (20, 30))
    boxes = [entry["bbox"] for entry in given.annotations]
    own = [1.5, 2, 7, 8.25]
    assert boxes == [own, [15, 5, 6, 14], [15, 0, 15, 20], own, own, own]
    areas = [entry["area"] for entry in given.annotations]
    assert areas == [0, 84, 300, 0, 0, 0]
    assert [entry["iscrowd"] for entry in given.annotations] == [0, 0, 1, 0, 0, 0]
    assert [entry.get("box_only", False) for entry in given.annotations] == [*[False] * 5, True]
    assert [decode(one["segmentation"], (20, 30)).sum() for one in given.annotations] == [
        40, 84, 300, 40, 0, 0,
    ]  # fmt: skip


def test_the_tutorials_layout_is_measured_by_its_targets(dataset):
    assert open_dataset(dataset).annotations(0) is None


def test_what_is_measured_with_survives_what_tools_write(document, write_coco):
    """Ids and numbers as text are read; boxes without a size stay, as pycocotools takes them."""
    first = document["annotations"][0]
    first.update(id="f3-1", bbox=["1.5", 2, 0, "8.25"], area="0")
    document["annotations"].append({**first, "id": "f3-2", "segmentation": {}})
    document["images"][1]["id"] = "a-9"
    for entry in document["annotations"]:
        if entry["image_id"] == 9:
            entry["image_id"] = "a-9"
    dataset = open_dataset(write_coco(document))
    given = dataset.annotations(0)
    assert given.id == "a-9"
    for entry in (given.annotations[0], given.annotations[-1]):
        assert (entry["bbox"], entry["area"]) == ([1.5, 2, 0, 8.25], 0)
    assert given.annotations[-1]["box_only"]
    assert [one.reason for one in dataset.dropped(0)] == ["it has no segmentation"]


def test_what_is_counted_to_learn_from_is_what_is_trained_on(document, write_coco):
    """One pixel wide is enough in COCO, and so is it when the data is looked at."""
    thin = {"segmentation": [[0, 0, 9, 0, 9, 1, 0, 1]], "id": 60}
    document["annotations"].append({**document["annotations"][0], **thin})
    dataset = open_dataset(write_coco(document))
    found = dataset.labelled_images.extents(0)
    assert found.learnable.sum() == len(dataset[0][1]["boxes"]) == 3
