import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools.coco import COCO

from pedseg_runtime.errors import DatasetError
from pedseg_train.data import Layout, check_dataset, convert, open_images
from pedseg_train.data.pennfudan_layout import read_mask


def ids_of(root, name):
    return read_mask(root / "PedMasks" / f"{name}_mask.png")


@settings(max_examples=25)
@given(
    masks=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
            lambda size: arrays.arrays(np.uint8, size, elements=st.integers(0, 4))
        ),
        min_size=1,
        max_size=3,
    )
)
def test_there_and_back_changes_no_pixel(masks):
    with tempfile.TemporaryDirectory() as folder:
        root, there, back = (Path(folder) / name for name in ("dataset", "coco", "back"))
        for part in ("PNGImages", "PedMasks"):
            (root / part).mkdir(parents=True)
        for number, ids in enumerate(masks):
            _, ranks = np.unique(np.append(ids, 0), return_inverse=True)  # ids 1..N
            ids = ranks[:-1].reshape(ids.shape).astype(np.uint8)
            Image.fromarray(ids).save(root / "PedMasks" / f"{number}_mask.png")
            Image.fromarray(ids).convert("RGB").save(root / "PNGImages" / f"{number}.png")
        if not any(ids.any() for ids in masks):
            return  # a COCO file without any instance is refused
        convert(open_images(root), there, to=Layout.COCO)
        convert(open_images(there), back, to=Layout.PENNFUDAN)
        for number in range(len(masks)):
            assert np.array_equal(ids_of(back, number), ids_of(root, number))
            assert ids_of(back, number).dtype == np.uint8
        # Of people one pixel wide alone, there is nothing to learn on either side.
        assert check_dataset(back).errors == check_dataset(root).errors


def test_coco_of_penn_fudan_is_read_by_pycocotools(dataset, tmp_path, two_people):
    count = convert(open_images(dataset), tmp_path / "coco", to=Layout.COCO)
    assert (count["images"], count["instances"]) == (4, 4)
    coco = COCO(tmp_path / "coco" / "annotations" / "instances.json")
    assert coco.loadImgs(1)[0]["file_name"] == "a.png"
    first = coco.loadAnns(coco.getAnnIds(imgIds=1))[0]
    assert (first["bbox"], first["area"], first["iscrowd"]) == ([3, 2, 5, 8], 40, 0)
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "person"}]
    copied = tmp_path / "coco" / "images" / "a.png"
    assert copied.read_bytes() == (dataset / "PNGImages" / "a.png").read_bytes()


def test_images_can_be_linked(dataset, tmp_path):
    convert(open_images(dataset), tmp_path / "coco", to=Layout.COCO, link=True)
    linked = tmp_path / "coco" / "images" / "a.png"
    assert linked.is_symlink()
    assert len(open_images(tmp_path / "coco")) == 4


def test_coco_to_coco_keeps_classes_crowds_and_areas(coco, tmp_path):
    convert(open_images(coco), tmp_path / "clean", to=Layout.COCO)
    before, after = open_images(coco), open_images(tmp_path / "clean")
    assert after.class_names == before.class_names
    for index in range(3):
        (image, expected), (same, found) = before.sample(index), after.sample(index)
        assert np.array_equal(image, same)
        for field in ("masks", "labels", "areas", "crowd"):
            assert np.array_equal(getattr(found, field), getattr(expected, field))


def test_one_category_becomes_people_and_crowds_are_counted(coco, tmp_path):
    dataset = open_images(coco, categories=["person"])
    count = convert(dataset, tmp_path / "back", to=Layout.PENNFUDAN)
    assert (count["instances"], count["crowds"]) == (1, 1)
    assert np.array_equal(ids_of(tmp_path / "back", "a") > 0, dataset.sample(0)[1].masks[0])


def test_several_categories_are_refused(coco, tmp_path):
    with pytest.raises(DatasetError, match=r"found 2 \(person, dog\); select one"):
        convert(open_images(coco), tmp_path / "back", to=Layout.PENNFUDAN)
    assert not (tmp_path / "back").exists()


@pytest.fixture
def overlapping(document, write_coco):
    base = document["annotations"][0]
    inside, beside = [[4, 3, 6, 3, 6, 5, 4, 5]], [[6, 2, 12, 2, 12, 10, 6, 10]]
    document["annotations"] += [
        {**base, "id": 50, "segmentation": inside},
        {**base, "id": 51, "segmentation": beside},
        {**base, "id": 52, "segmentation": []},
    ]
    return open_images(write_coco(document), categories=["person"])


def test_overlaps_are_refused_with_their_number_and_leave_nothing(overlapping, tmp_path):
    with pytest.raises(DatasetError, match="found 2 that overlap another; --overlap first"):
        convert(overlapping, tmp_path / "out" / "back", to=Layout.PENNFUDAN)
    assert list((tmp_path / "out").iterdir()) == []


def test_overlapping_pixels_can_go_to_the_first(overlapping, tmp_path):
    count = convert(overlapping, tmp_path / "back", to=Layout.PENNFUDAN, overlap=True)
    assert (count["instances"], count["hidden"], count["overlapping"]) == (2, 1, 2)
    assert count["unusable"] == 1
    ids = ids_of(tmp_path / "back", "a")
    assert (ids == 1).sum() == 40
    assert (ids == 2).sum() == 4 * 8


def test_other_formats_become_png(document, write_coco, tmp_path):
    document["images"][1]["file_name"] = "day/a.jpg"
    dataset = open_images(write_coco(document), categories=["person"])
    count = convert(dataset, tmp_path / "back", to=Layout.PENNFUDAN, link=True)
    assert count["reencoded"] == 1
    back = open_images(tmp_path / "back")
    assert back.names == ("b", "c", "day_a")
    assert np.array_equal(back.image(2), dataset.image(2))


def test_names_that_only_folders_tell_apart_get_a_number(document, write_coco, tmp_path):
    document["images"][0]["file_name"] = "x/a.png"
    document["images"][1]["file_name"] = "x_a.png"
    dataset = open_images(write_coco(document), categories=["person"])
    count = convert(dataset, tmp_path / "back", to=Layout.PENNFUDAN)
    assert count["renamed"] == 1
    assert open_images(tmp_path / "back").names == ("b", "x_a", "x_a-2")


@pytest.mark.parametrize("to", Layout)
@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_written_outside_of_the_target(document, write_coco, tmp_path, to, link):
    file = write_coco(document)
    images = file.parent / "images"
    (images / "c.png").rename(images / "A.png")
    victims = tmp_path / "out" / "victims"
    victims.mkdir(parents=True)
    (victims / "a.png").write_bytes(b"precious")
    deep = file.parent / "json" / "deep"
    deep.mkdir(parents=True)
    names = ["../../images/A.png", "..\\..\\images\\a.png", str(images / "b.png")]
    for image, name in zip(document["images"], names, strict=True):
        image["file_name"] = name
    (deep / "x.json").write_text(json.dumps(document))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    dataset = open_images(deep / "x.json", categories=["person"])
    target = tmp_path / "out" / "new"
    assert convert(dataset, target, to=to, link=link)["images"] == 3
    assert all(path.read_bytes() == content for path, content in before.items())
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - set(before)
    assert all(target in path.parents for path in new)
    again = open_images(target)
    assert len(again) == 3
    assert len({name.casefold() for name in again.names}) == 3
    assert np.array_equal(again.image(0), dataset.image(0))


def test_an_image_that_exif_turns_is_written_upright(document, write_coco, tmp_path):
    file = write_coco(document)
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(file.parent / "images" / "a.png") as image:
        image.load()
        image.save(file.parent / "images" / "a.png", exif=exif)
    dataset = open_images(file, categories=["person"])
    assert convert(dataset, tmp_path / "back", to=Layout.PENNFUDAN)["reencoded"] == 1
    assert not check_dataset(tmp_path / "back").errors
    assert np.array_equal(open_images(tmp_path / "back").image(0), dataset.image(0))


def test_a_link_to_a_folder_leads_to_the_new_one(dataset, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    convert(open_images(dataset), tmp_path / "link", to=Layout.COCO)
    assert (tmp_path / "link").is_symlink()
    assert len(open_images(tmp_path / "real")) == 4


def test_more_than_255_people_get_ids_of_16_bits(make_dataset, tmp_path):
    ids = np.arange(1, 301, dtype=np.uint16).reshape(15, 20)
    root = make_dataset({"a": np.ones((15, 20), np.uint8)})
    Image.fromarray(ids).save(root / "PedMasks" / "a_mask.png")
    convert(open_images(root), tmp_path / "coco", to=Layout.COCO)
    convert(open_images(tmp_path / "coco"), tmp_path / "back", to=Layout.PENNFUDAN)
    assert np.array_equal(ids_of(tmp_path / "back", "a"), ids)


def test_a_folder_in_use_is_refused(dataset, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DatasetError, match="new or empty folder"):
        convert(open_images(dataset), tmp_path / "full", to=Layout.COCO)


def test_a_damaged_image_leaves_nothing_behind(dataset, tmp_path):
    source = open_images(dataset)
    (dataset / "PNGImages" / "d.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"d\.png"):
        convert(source, tmp_path / "out" / "coco", to=Layout.COCO)
    assert list((tmp_path / "out").iterdir()) == []


def test_ids_count_from_one_in_the_new_file(coco, tmp_path):
    convert(open_images(coco), tmp_path / "clean", to=Layout.COCO)
    document = json.loads((tmp_path / "clean" / "annotations" / "instances.json").read_text())
    assert [image["id"] for image in document["images"]] == [1, 2, 3]
    assert [each["id"] for each in document["annotations"]] == [1, 2, 3, 4]
    assert {each["category_id"] for each in document["annotations"]} == {1, 2}


@pytest.mark.photos
def test_real_photographs_keep_every_pixel(photos, tmp_path):
    convert(open_images(photos), tmp_path / "coco", to=Layout.COCO, link=True)
    convert(open_images(tmp_path / "coco"), tmp_path / "back", to=Layout.PENNFUDAN, link=True)
    for name in open_images(photos).names:
        assert np.array_equal(ids_of(tmp_path / "back", name), ids_of(photos, name))
