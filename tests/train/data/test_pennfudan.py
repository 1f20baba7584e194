from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from pedseg_runtime.errors import DatasetError
from pedseg_train.data import PennFudanDataset, evaluation_transform


def test_pairs_are_sorted_by_name(dataset):
    found = PennFudanDataset(dataset)
    assert found.names == ("a", "b", "c", "d")
    assert len(found) == 4
    assert found.path(1) == dataset / "PNGImages" / "b.png"


def test_target_is_the_tutorials(dataset, two_people):
    image, target = PennFudanDataset(dataset)[0]
    assert isinstance(image, tv_tensors.Image)
    assert (image.shape, image.dtype) == ((3, 20, 30), torch.uint8)
    assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
    assert target["boxes"].dtype == torch.float32
    assert target["boxes"].canvas_size == (20, 30)
    assert target["boxes"].tolist() == [[3, 2, 7, 9], [15, 5, 20, 18]]
    assert isinstance(target["masks"], tv_tensors.Mask)
    assert target["masks"].dtype == torch.uint8
    assert torch.equal(target["masks"][1].bool(), torch.from_numpy(two_people == 2))
    assert target["image_id"] == 0
    assert target["area"].tolist() == [4 * 7, 5 * 13]
    assert target["area"].dtype == torch.float32
    for key, value in (("labels", 1), ("iscrowd", 0)):
        assert target[key].dtype == torch.int64
        assert target[key].tolist() == [value, value]


def test_an_empty_street_has_targets_of_length_zero(dataset):
    image, target = PennFudanDataset(dataset, transform=evaluation_transform())[1]
    assert image.shape == (3, 20, 30)
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 20, 30)
    assert all(len(target[key]) == 0 for key in ("labels", "area", "iscrowd"))


def test_arrays_without_torch_equal_the_sample(dataset):
    found = PennFudanDataset(dataset)
    image, target = found[0]
    assert found.image(0).dtype == np.uint8
    assert np.array_equal(found.image(0), image.permute(1, 2, 0).numpy())
    assert found.masks(0).dtype == np.bool_
    assert np.array_equal(found.masks(0), target["masks"].numpy().astype(bool))
    assert found.masks(1).shape == (0, 20, 30)


def test_indices_keep_their_order_and_their_image_ids(dataset):
    found = PennFudanDataset(dataset, indices=[3, 0])
    assert found.names == ("d", "a")
    assert [found[i][1]["image_id"] for i in range(2)] == [3, 0]


@pytest.mark.parametrize("index", [-1, 4], ids=["negative", "past the end"])
def test_an_index_outside_is_refused(dataset, index):
    with pytest.raises(DatasetError, match=f"from 0 to 3, found {index}"):
        PennFudanDataset(dataset, indices=[index])


def test_instances_without_width_or_height_are_dropped_with_a_reason(make_dataset, two_people):
    two_people[0, 0] = 3
    two_people[12:15, 1] = 4
    found = PennFudanDataset(make_dataset({"a": two_people}))
    assert len(found[0][1]["boxes"]) == len(found[0][1]["masks"]) == 2
    assert len(found.masks(0)) == 4
    assert [(each.instance, each.reason) for each in found.dropped(0)] == [
        (3, "its box is 0 px wide and 0 px high"),
        (4, "its box is 0 px wide and 2 px high"),
    ]


def test_palette_masks_yield_their_indices(dataset):
    path = dataset / "PedMasks" / "a_mask.png"
    with Image.open(path) as mask:
        mask.putpalette([value for index in range(256) for value in (255 - index, 7, 7)])
        mask.save(path)
    assert mask.mode == "P"
    assert PennFudanDataset(dataset)[0][1]["boxes"].tolist() == [[3, 2, 7, 9], [15, 5, 20, 18]]


def test_ids_with_gaps_are_separate_instances(make_dataset, two_people):
    found = PennFudanDataset(make_dataset({"a": two_people * 100}))
    assert len(found.masks(0)) == 2


def test_grey_images_become_rgb(dataset):
    path = dataset / "PNGImages" / "a.png"
    with Image.open(path) as image:
        image.convert("L").save(path)
    assert PennFudanDataset(dataset).image(0).shape == (20, 30, 3)


def break_root(root: Path) -> Path:
    return root / "nowhere"


def break_folder(root: Path) -> Path:
    return root / "PNGImages"


def break_emptied(root: Path) -> Path:
    for path in (root / "PNGImages").iterdir():
        path.unlink()
    return root


def break_mask_missing(root: Path) -> Path:
    (root / "PedMasks" / "a_mask.png").unlink()
    return root


def break_mask_size(root: Path) -> Path:
    Image.new("L", (5, 4)).save(root / "PedMasks" / "a_mask.png")
    return root


def break_mask_mode(root: Path) -> Path:
    Image.new("RGB", (30, 20)).save(root / "PedMasks" / "a_mask.png")
    return root


def break_image_truncated(root: Path) -> Path:
    path = root / "PNGImages" / "a.png"
    path.write_bytes(path.read_bytes()[:200])
    return root


def break_mask_foreign(root: Path) -> Path:
    (root / "PedMasks" / "a_mask.png").write_text("not an image")
    return root


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(break_root, r"nowhere: expected a dataset folder, found nothing", id="root"),
        pytest.param(break_folder, r"found no PNGImages and no PedMasks", id="another folder"),
        pytest.param(break_emptied, r"expected PNG files in PNGImages, found none", id="empty"),
        pytest.param(
            break_mask_missing, r"a\.png: expected the mask .*a_mask\.png", id="mask missing"
        ),
        pytest.param(break_mask_size, r"a_mask\.png: .*size 30x20, found 5x4", id="mask size"),
        pytest.param(break_mask_mode, r"a_mask\.png: .*found mode RGB", id="mask mode"),
        pytest.param(break_image_truncated, r"a\.png: .*found a damaged one", id="truncated"),
        pytest.param(break_mask_foreign, r"a_mask\.png: .*a damaged file", id="no image"),
    ],
)
def test_a_bad_folder_is_refused_by_name(dataset, damage, message):
    with pytest.raises(DatasetError, match=message) as caught:
        PennFudanDataset(damage(dataset))[0]
    assert "\n" not in str(caught.value)


@pytest.mark.photos
def test_real_photographs_have_one_to_eight_people(photos):
    found = PennFudanDataset(photos)
    counts = [len(found[i][1]["boxes"]) for i in range(0, len(found), 10)]
    assert min(counts) >= 1
    assert max(counts) <= 8
