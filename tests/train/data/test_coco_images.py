import json

import numpy as np
import pytest
from PIL import Image

from pedseg_runtime.errors import DatasetError
from pedseg_train.data.coco.images import CocoImages


def rewrite(file, change):
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_images_are_sorted_by_name_and_labels_by_category_id(coco):
    found = CocoImages(coco)
    assert found.names == ("a", "b", "c")
    assert found.class_names == ("background", "person", "dog")
    assert found.image_ids == (9, 12, 70)
    assert found.category_ids == (None, 3, 18)
    assert found.path(2) == coco.parent / "images" / "c.png"
    image, instances = found.sample(0)
    assert (image.shape, image.dtype) == ((20, 30, 3), np.uint8)
    assert instances.ids.tolist() == [5, 2, 8]
    assert instances.labels.tolist() == [1, 2, 1]
    assert instances.crowd.tolist() == [False, False, True]
    assert instances.boxes.tolist() == [[3, 2, 7, 9], [15, 5, 20, 18], [15, 0, 29, 19]]
    assert instances.areas.tolist() == [40.5, 6 * 14, 300]
    assert instances.masks.dtype == np.bool_
    assert [int(mask.sum()) for mask in instances.masks] == [5 * 8, 6 * 14, 300]


def test_an_image_without_annotations_has_none(coco):
    image, instances = CocoImages(coco).sample(1)
    assert instances.masks.shape == (0, *image.shape[:2])
    assert instances.boxes.shape == (0, 4)
    assert len(instances) == 0


def test_run_lengths_go_down_the_columns(coco):
    instances = CocoImages(coco).sample(2)[1]
    assert instances.boxes.tolist() == [[2, 5, 3, 9]]


def test_selected_categories_alone_are_kept(coco):
    found = CocoImages(coco, categories=["dog"])
    assert found.class_names == ("background", "dog")
    assert len(found) == 3
    assert found.sample(0)[1].ids.tolist() == [2]
    assert found.sample(0)[1].labels.tolist() == [1]


def test_a_models_class_names_decide_the_labels(coco):
    found = CocoImages(coco, class_names=("background", "dog", "pram", "person"))
    assert found.class_names == ("background", "dog", "pram", "person")
    assert found.category_ids == (None, 18, None, 3)
    assert found.sample(0)[1].labels.tolist() == [3, 1, 3]


def test_a_category_that_is_not_there_is_met_with_the_closest(coco):
    with pytest.raises(DatasetError, match="'persn', found none; did you mean 'person'"):
        CocoImages(coco, categories=["persn"])
    with pytest.raises(
        DatasetError, match=r"knows \(car, tram\), found person, dog; .*--map person=tram"
    ):
        CocoImages(coco, class_names=("background", "car", "tram"))


def test_suffixes_stay_where_names_would_be_shared(document, write_coco):
    document["images"][0]["file_name"] = "a.jpg"
    found = CocoImages(write_coco(document))
    assert found.names == ("a.jpg", "a.png", "b.png")


def test_folders_are_part_of_a_name(document, write_coco):
    document["images"][0]["file_name"] = "night\\a.png"
    found = CocoImages(write_coco(document))
    assert found.names == ("a", "b", "night/a")


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        pytest.param("x.json", "a.png", id="beside"),
        pytest.param("x.json", "images/a.png", id="images"),
        pytest.param("annotations/x.json", "images/a.png", id="annotations and images"),
        pytest.param("annotations/instances_val.json", "val/a.png", id="as in COCO"),
        pytest.param("annotations/instances_val.json", "images/val/a.png", id="part of images"),
        pytest.param("labels/x.json", "a.png", id="one above"),
    ],
)
def test_images_are_found_where_tools_put_them(tmp_path, document, annotations, images):
    document["images"] = document["images"][1:2]
    document["annotations"] = document["annotations"][:3]
    for path in (annotations, images):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / annotations).write_text(json.dumps(document))
    Image.new("RGB", (30, 20)).save(tmp_path / images)
    assert CocoImages(tmp_path / annotations).path(0) == tmp_path / images


def test_a_folder_of_images_can_be_named(coco, tmp_path):
    (coco.parent / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"image 9 \(a\.png\).*and 2 more.*pedseg-data check"):
        CocoImages(coco)
    found = CocoImages(coco, images=tmp_path / "elsewhere")
    assert found.image(0).shape == (20, 30, 3)


def test_names_of_another_machine_are_found_by_their_ends(coco, tmp_path):
    rewrite(
        coco,
        lambda document: [
            image.update(file_name=f"C:\\Users\\me\\{image['file_name']}")
            for image in document["images"]
        ],
    )
    assert CocoImages(coco).names == ("a", "b", "c")
    (coco.parent / "images").rename(tmp_path / "elsewhere")
    found = CocoImages(coco, images=tmp_path / "elsewhere")
    assert found.path(0) == tmp_path / "elsewhere" / "a.png"
    with pytest.raises(DatasetError, match=r"name another folder.*check .*--images"):
        CocoImages(coco, images=tmp_path / "gone")


def test_two_images_are_never_one_file(coco):
    rewrite(coco, change("images", 0, file_name="/x/1/a.png"))
    rewrite(coco, change("images", 1, file_name="/x/2/a.png"))
    with pytest.raises(DatasetError, match=r"expected a file of its own, found .*a\.png"):
        CocoImages(coco)


def test_unusable_instances_are_left_out_with_a_reason(document, write_coco):
    base = document["annotations"][0]
    extra = [
        {"segmentation": []},
        {"segmentation": [[40, 2, 60, 2, 60, 9, 40, 9]]},
        {"segmentation": [[1, 1, 1, 1, 1, 1]]},
        {"segmentation": [[4, 0, 5, 0, 5, 9, 4, 9]]},
        {"segmentation": {"size": [20, 30], "counts": [600]}},
        {},
    ]
    document["annotations"] += [{**base, "id": 100 + i, **e} for i, e in enumerate(extra)]
    found = CocoImages(write_coco(document))
    assert found.sample(0)[1].ids.tolist() == [5, 2, 8, 103]
    assert {each.instance: each.reason for each in found.dropped(0)} == {
        100: "it has no segmentation",
        101: "its polygon lies outside of the frame or has no area",
        102: "its polygon lies outside of the frame or has no area",
        104: "its run lengths have no pixel of 30x20",
        105: "it repeats annotation 5",
    }
    assert found.dropped(1) == ()


def test_polygons_that_leave_the_frame_are_cut_off_and_named(document, write_coco):
    document["annotations"][0]["segmentation"] = [[20, 2, 45, 2, 45, 9, 20, 9]]
    found = CocoImages(write_coco(document))
    assert found.sample(0)[1].boxes[0].tolist() == [20, 2, 29, 8]
    assert list(found.remarks(0)) == [(5, "reaches 15 px out of the frame and is cut off")]


@pytest.mark.parametrize("area", [None, 0, -3, "big"], ids=str)
def test_an_area_that_is_none_is_counted(document, write_coco, area):
    document["annotations"][0]["area"] = area
    assert CocoImages(write_coco(document)).sample(0)[1].areas[0] == 40


def change(key, place, **values):
    return lambda document: document[key][place].update(values)


def repeat(key, **values):
    return lambda document: document[key].append({**document[key][0], **values})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            change("annotations", 0, image_id=4),
            "annotation 5: expected the id of an image, found image_id 4",
            id="unknown image",
        ),
        pytest.param(
            change("annotations", 0, category_id=1),
            r"annotation 5: expected the id of a category \(3, 18\), found category_id 1",
            id="unknown category",
        ),
        pytest.param(
            change("annotations", 0, id=[5]), r"annotation number 0: .*found \[5\]", id="bad id"
        ),
        pytest.param(
            change("annotations", 0, iscrowd=2),
            r"annotation 5 of image 9 \(a\.png\): expected iscrowd 0 or 1, found 2",
            id="crowd",
        ),
        pytest.param(
            change("annotations", 1, id=5), "annotation 5: expected every id once", id="same id"
        ),
        pytest.param(
            change("annotations", 0, segmentation={"size": [5, 5], "counts": [25]}),
            r"annotation 5 of image 9 \(a\.png\): .*found \[5, 5\]",
            id="size of run lengths",
        ),
        pytest.param(
            change("annotations", 0, segmentation=[[1, 2, 3, 4, 5, 6, 7]]),
            r"annotation 5 of image 9 \(a\.png\): .*7 numbers",
            id="odd polygon",
        ),
        pytest.param(
            change("images", 0, id=9),
            r"image 9 \(a\.png\): .*once, found it again",
            id="same image",
        ),
        pytest.param(
            change("images", 0, file_name="a.png"), "every file once, found it as", id="same file"
        ),
        pytest.param(change("images", 0, id=None), "image number 0: .*found None", id="no id"),
        pytest.param(change("images", 0, file_name=""), "expected a file_name", id="no name"),
        pytest.param(change("images", 0, width=0), "width and height in pixels", id="no width"),
        pytest.param(
            change("images", 0, file_name="d.png"),
            r"image 70 \(d\.png\): expected the file .*d\.png, found nothing; .*--images",
            id="missing image",
        ),
        pytest.param(
            change("categories", 0, id=3), "category 3: expected every id once", id="same category"
        ),
        pytest.param(
            change("categories", 0, name="person"), "every name once, found 'person'", id="name"
        ),
        pytest.param(change("categories", 0, name=""), "an id and a name", id="no class"),
        pytest.param(
            change("categories", 0, name="background"), "label 0 of every model", id="background"
        ),
        pytest.param(
            lambda document: document.update(categories=[]),
            "at least one category",
            id="no classes",
        ),
        pytest.param(
            lambda document: document.update(annotations=[]),
            "expected instances of person, dog, found none",
            id="no annotations",
        ),
        pytest.param(
            lambda document: document.update(images=[], annotations=[]),
            "expected at least one image",
            id="no images",
        ),
        pytest.param(lambda document: document.pop("images"), "found no images", id="no list"),
        pytest.param(lambda document: document.update(images={}), "no list under", id="no array"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_id(coco, damage, message):
    rewrite(coco, damage)
    with pytest.raises(DatasetError, match=message) as caught:
        CocoImages(coco)
    assert str(caught.value).startswith(str(coco))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "found no JSON", id="damaged"),
        pytest.param("[]", "a file of results holds detections", id="results"),
        pytest.param("3", "found no images and no annotations and no categories", id="number"),
        pytest.param("[" * 100_000, "found no JSON", id="bottomless"),
    ],
)
def test_what_is_no_coco_json_is_refused(tmp_path, content, message):
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match=message):
        CocoImages(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="found nothing"):
        CocoImages(tmp_path / "x.json")


def test_an_image_of_another_size_is_refused_when_read(coco):
    file = coco.parent / "images" / "a.png"
    Image.new("RGB", (20, 30)).save(file)
    message = r"a\.png: expected 30x20 .* image 9, found 20x30.*; exchange width and height"
    with pytest.raises(DatasetError, match=message):
        CocoImages(coco).sample(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(file, exif=exif)
    with pytest.raises(DatasetError, match=r"found 20x30.*EXIF orientation 6.*exiftool"):
        CocoImages(coco).sample(0)


def test_ids_may_be_text_or_beyond_64_bits_and_numbers_text(coco):
    expected = CocoImages(coco).sample(0)[1]

    def as_text(document):
        for image in document["images"]:
            image.update(id=str(image["id"]), width=30.0, height="20")
        for entry in document["annotations"]:
            entry.update(id=2**100 + entry["id"], image_id=float(entry["image_id"]))
            entry.update(category_id=str(entry["category_id"]), iscrowd=str(entry["iscrowd"]))
        document["annotations"][0].update(id="f3a0-11", area="40.5", iscrowd="0")

    rewrite(coco, as_text)
    found = CocoImages(coco)
    instances = found.sample(0)[1]
    assert np.array_equal(instances.masks, expected.masks)
    assert instances.labels.tolist() == expected.labels.tolist()
    assert instances.crowd.tolist() == expected.crowd.tolist()
    assert instances.areas.tolist() == expected.areas.tolist()
    assert len(set(instances.ids.tolist())) == 3
    assert [problem.severity for problem in found.problems] == ["warning"]


@pytest.mark.parametrize("crowd", [None, False, "0", 0.0], ids=str)
def test_no_crowd_is_written_in_many_ways(coco, crowd):
    rewrite(coco, change("annotations", 0, iscrowd=crowd))
    assert CocoImages(coco).sample(0)[1].crowd.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "extra",
    [
        {"id": 0, "name": "background"},
        {"id": 0, "name": "_background_"},
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 0, "name": "person", "supercategory": "none"},
    ],
    ids=lambda extra: extra["name"],
)
def test_categories_without_annotations_that_are_none_are_passed_over(coco, extra):
    def add(document):
        document["categories"].insert(0, extra)
        document["categories"][1]["supercategory"] = "things"

    rewrite(coco, add)
    assert CocoImages(coco).class_names == ("background", "person", "dog")


def test_cocos_own_person_of_the_supercategory_person_stays(coco):
    def change_parents(document):
        document["categories"][1]["supercategory"] = "person"
        document["annotations"] = [a for a in document["annotations"] if a["category_id"] == 18]

    rewrite(coco, change_parents)
    assert CocoImages(coco).class_names == ("background", "person", "dog")


def test_categories_get_other_names_and_may_become_one(coco):
    found = CocoImages(coco, class_map={"dog": "animal", "person": "animal"})
    assert found.class_names == ("background", "animal")
    assert found.sample(0)[1].labels.tolist() == [1, 1, 1]
    model = ("background", "people")
    assert (
        len(CocoImages(coco, class_names=model, class_map={"person": "people"}).sample(0)[1]) == 2
    )
    with pytest.raises(DatasetError, match="'Person' to map to 'x', found none; did you mean"):
        CocoImages(coco, class_map={"Person": "x"})


def test_blanks_around_a_category_do_not_count(coco):
    rewrite(coco, change("categories", 1, name=" person "))
    assert CocoImages(coco, class_names=("background", "person")).category_ids == (None, 3)


def test_boxes_without_masks_are_named_as_that(coco):
    rewrite(
        coco, lambda document: [entry.update(segmentation=[]) for entry in document["annotations"]]
    )
    with pytest.raises(DatasetError, match=r"4 of 4 are left out .*boxes teach no masks"):
        CocoImages(coco)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[[3, 2], [8, 2], [8, 10], [3, 10]]],
        [[3, 2], [8, 2], [8, 10], [3, 10]],
        [[[3, 2, 8, 2, 8, 10, 3, 10]]],
        [["3", "2", "8", "2", "8", "10", "3", "10"]],
        [[3, 2, 8, 2, 8, 10, 3, 10], [1, 2, 3], [5], [], [None, None], ["1", "2", "3"]],
    ],
    ids=["pairs", "pairs without brackets", "too deep", "text", "short rings"],
)
def test_polygons_are_read_as_tools_write_them(coco, segmentation):
    expected = CocoImages(coco).sample(0)[1].masks[0]
    rewrite(coco, change("annotations", 0, segmentation=segmentation))
    found = CocoImages(coco)
    assert np.array_equal(found.sample(0)[1].masks[0], expected)
    told = [remark for _, remark in found.remarks(0)]
    assert told == (
        ["has 5 polygons of fewer than three points, which are left out"]
        if len(segmentation) == 6
        else []
    )


def test_damaged_run_lengths_are_refused_when_decoded(document, write_coco):
    document["annotations"][0]["segmentation"] = {"size": [20, 30], "counts": "52203"}
    found = CocoImages(write_coco(document))
    with pytest.raises(DatasetError, match=r"annotation 5 of image 9 \(a\.png\): expected run len"):
        found.sample(0)


def test_the_digest_tells_annotations_images_and_classes_apart(coco):
    before = CocoImages(coco).digest()
    assert all(len(digest) == 64 for digest in before.values())

    def changed():
        after = CocoImages(coco).digest()
        return {part for part in after if after[part] != before[part]}

    assert changed() == set()
    with (coco.parent / "images" / "a.png").open("ab") as stream:
        stream.write(b"x")
    assert changed() == {"images"}
    selected = CocoImages(coco, categories=["dog"]).digest()
    assert selected["classes"] != before["classes"]
    rewrite(coco, change("annotations", 0, area=1))
    assert changed() == {"images", "annotations"}
