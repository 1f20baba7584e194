import json

import numpy as np
import pytest
from PIL import Image

from pedseg_runtime.errors import DatasetError
from pedseg_train.data import check_dataset


def found(report):
    return [(each.severity, each.file, each.message) for each in report.problems]


def test_a_sound_file_is_counted(coco):
    seen = []
    report = check_dataset(coco, progress=lambda done, total: seen.append((done, total)))
    assert not report.problems
    assert (report.layout, report.pairs, report.instances) == ("COCO JSON", 3, 3)
    assert (report.empty, report.crowds) == (1, 1)
    assert report.classes == {"person": 1, "dog": 2}
    assert report.spreads["instance width"].smallest == 2
    assert set(report.digests) == {"annotations", "images"}
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_everything_that_is_wrong_is_told_at_once(document, write_coco):
    base = document["annotations"][0]
    document["images"].append({"id": 71, "file_name": "gone.png", "width": 30, "height": 20})
    document["images"].append({"id": 72, "file_name": "z.png", "width": 30, "height": 20})
    document["categories"].append({"id": 20, "name": "pram"})
    document["annotations"] += [
        {**base, "id": 20, "image_id": 404},
        {**base, "id": 21, "category_id": 404},
        {**base, "id": 5},
        {**base, "id": 22},
        {**base, "id": 23, "segmentation": [[20, 2, 45, 2, 45, 9, 20, 9]]},
        {**base, "id": 24, "segmentation": {"size": [30, 20], "counts": [600]}},
        {**base, "id": 25, "image_id": 70, "segmentation": {"size": [20, 30], "counts": "52203"}},
    ]
    file = write_coco(document)
    (file.parent / "images" / "gone.png").unlink()
    Image.new("RGB", (7, 7)).save(file.parent / "images" / "z.png")
    report = check_dataset(file)
    errors, warnings = (
        [f"{p.file}: {p.message}" for p in kind] for kind in (report.errors, report.warnings)
    )
    assert [each.split("expected")[0] for each in errors] == [
        "annotations.json: image 71 (gone.png): ",
        "annotations.json: annotation 20: ",
        "annotations.json: annotation 21: ",
        "annotations.json: annotation 5: ",
        "annotations.json: annotation 24 of image 9 (a.png): ",
        "annotations.json: annotation 25 of image 70 (c.png): ",
        "z.png: ",
    ]
    assert warnings == [
        "a.png: annotation 22 is not used: it repeats annotation 5",
        "a.png: annotation 23 reaches 15 px out of the frame and is cut off",
        "annotations.json: expected instances of every category, found none of 'pram'; it is "
        "learnt from nothing, select others to leave it out",
    ]
    assert (report.pairs, report.instances) == (2, 3)
    assert json.loads(json.dumps(report.to_dict()))["passed"] is False


def test_the_same_image_twice_is_a_warning(coco):
    images = coco.parent / "images"
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    assert found(check_dataset(coco)) == [
        ("warning", "b.png", "expected different images, found the same as a.png")
    ]


def test_categories_narrow_the_check(coco):
    report = check_dataset(coco, categories=["dog"])
    assert report.classes == {"dog": 2}
    with pytest.raises(DatasetError, match="did you mean 'dog'"):
        check_dataset(coco, categories=["dogs"])


def test_no_image_at_all_is_an_error(coco):
    for path in (coco.parent / "images").iterdir():
        path.unlink()
    report = check_dataset(coco)
    assert len(report.errors) == 3
    assert all("found nothing; name the folder" in each.message for each in report.errors)
    assert not report.warnings


def test_crowds_alone_are_an_error_that_says_what_to_do(document, write_coco):
    for entry in document["annotations"]:
        entry["iscrowd"] = 1
    (error,) = check_dataset(write_coco(document)).errors
    assert "found 4 crowd regions (iscrowd 1) only" in error.message
    assert "set their iscrowd to 0" in error.message


def test_problems_of_one_kind_are_one_line(document, write_coco):
    base = document["annotations"][0]
    document["annotations"] += [{**base, "id": 100 + i, "image_id": 400 + i} for i in range(30)]
    report = check_dataset(write_coco(document))
    ((problem, more),) = [group for group in report.grouped() if group[0].severity == "error"]
    assert "annotation 100" in problem.message
    assert more == 29


def test_an_orientation_that_keeps_the_size_is_a_warning(coco):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (30, 20)).save(coco.parent / "images" / "a.png", exif=exif)
    (warning,) = check_dataset(coco).warnings
    assert "EXIF orientation of 3" in warning.message


def misplaced(kind):
    """Twelve instances whose masks were written wrongly, in one of the ways of the field."""
    random = np.random.default_rng(4)
    annotations = []
    for number in range(12):
        x, y, w, h = (int(v) for v in random.integers([0, 20, 4, 12], [10, 45, 9, 18]))
        mask = np.zeros((70, 50), np.uint8)
        mask[y : y + h, x : x + w] = 1
        ring = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        segmentation = {
            "rows": {"size": [70, 50], "counts": runs(mask.ravel())},
            "swapped": [[*ring[0][1::-1], *ring[0][3:1:-1], *ring[0][5:3:-1], *ring[0][7:5:-1]]],
            "half": [[v / 2 for v in ring[0]]],
            "right": {"size": [70, 50], "counts": runs(mask.T.ravel())},
        }[kind]
        annotations.append(
            {"id": number + 1, "image_id": 1, "category_id": 1, "bbox": [x, y, w, h],
             "segmentation": segmentation, "iscrowd": 0}
        )  # fmt: skip
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 50, "height": 70}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }


def runs(flat):
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat))))
    return np.diff(np.concatenate(([0], changes, [len(flat)]))).tolist()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("rows", "run lengths go along the rows"),
        ("swapped", "x and y are exchanged"),
        ("half", "drawn at another size"),
    ],
)
def test_masks_that_are_not_in_their_boxes_are_explained(write_coco, kind, words):
    errors = [each.message for each in check_dataset(write_coco(misplaced(kind))).errors]
    assert len(errors) == 1
    assert words in errors[0]


def test_masks_within_their_boxes_are_no_problem(write_coco):
    assert not check_dataset(write_coco(misplaced("right"))).problems
