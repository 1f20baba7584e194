import json

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
    assert "expected images that can be read, found none" in report.errors[-1].message
