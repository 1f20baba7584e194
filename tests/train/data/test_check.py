import json

import numpy as np
import pytest
from PIL import Image

from pedseg_runtime.errors import DatasetError
from pedseg_train.data.check import check_dataset


def found(report):
    return [(each.severity, each.file, each.message) for each in report.problems]


def test_a_sound_dataset_is_counted_and_measured(dataset):
    report = check_dataset(dataset)
    assert (report.pairs, report.instances, report.empty) == (4, 4, 1)
    assert report.problems == []
    spread = report.spreads["person height"]
    assert (spread.smallest, spread.median, spread.greatest) == (5, 8, 14)
    assert str(report.spreads["people in an image"]) == "0 / 1 / 2"
    assert report.spreads["image width"].greatest == 30


def test_progress_counts_images(dataset):
    seen = []
    check_dataset(dataset, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_missing_partners_are_named(dataset):
    (dataset / "PedMasks" / "a_mask.png").unlink()
    (dataset / "PNGImages" / "b.png").unlink()
    report = check_dataset(dataset)
    assert report.pairs == 2
    assert [each[:2] for each in found(report)] == [
        ("error", "PNGImages/a.png"),
        ("warning", "PedMasks/b_mask.png"),
    ]


@pytest.mark.parametrize("file", ["PNGImages/a.png", "PedMasks/a_mask.png"])
def test_a_damaged_file_is_named_and_the_rest_is_read(dataset, file):
    (dataset / file).write_bytes((dataset / file).read_bytes()[:60])
    report = check_dataset(dataset)
    assert report.pairs == 3
    assert [each[:2] for each in found(report)] == [("error", file)]
    assert str(dataset) not in report.errors[0].message.split("(")[0]


def test_a_mask_of_another_size_is_an_error(dataset):
    Image.new("L", (5, 4)).save(dataset / "PedMasks" / "a_mask.png")
    assert found(check_dataset(dataset)) == [
        (
            "error",
            "PedMasks/a_mask.png",
            "expected the image's size 30x20, found 5x4; image and mask must cover the same pixels",
        )
    ]


def test_ids_with_gaps_and_thin_people_are_warnings(make_dataset, two_people):
    two_people[two_people == 2] = 7
    two_people[0, 0:5] = 9
    report = check_dataset(make_dataset({"a": two_people}))
    assert not report.errors
    assert [each.message for each in report.warnings] == [
        "expected the ids 1 to 3, found 1, 7, 9",
        "expected people of at least 2x2 pixels, found instance 9 with 5x1; not trained on",
    ]


def test_doubles_and_foreign_files_are_warnings(dataset):
    (dataset / "PNGImages" / "b.png").write_bytes((dataset / "PNGImages" / "a.png").read_bytes())
    (dataset / "PNGImages" / "Thumbs.db").write_text("")
    (dataset / "PedMasks" / ".DS_Store").write_text("")
    assert found(check_dataset(dataset)) == [
        ("warning", "PNGImages/Thumbs.db", "expected PNG files only, found another; not used"),
        ("warning", "PNGImages/b.png", "expected different images, found the same as a.png"),
    ]


def test_no_usable_pair_is_an_error(make_dataset):
    report = check_dataset(make_dataset({}))
    assert [each.message for each in report.errors] == [
        "expected images with masks, found none that can be used"
    ]


def test_no_dataset_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="found no PNGImages and no PedMasks"):
        check_dataset(tmp_path)


def test_the_report_is_json(dataset, two_people):
    Image.fromarray(np.zeros_like(two_people)).save(dataset / "PedMasks" / "z_mask.png")
    value = json.loads(json.dumps(check_dataset(dataset).to_dict()))
    assert value["passed"]
    assert not value["official"]
    assert value["spreads"]["person width"] == {"min": 5, "median": 5.5, "max": 8}
    assert [each["file"] for each in value["problems"]] == ["PedMasks/z_mask.png"]


@pytest.mark.photos
def test_real_photographs_are_sound(photos):
    report = check_dataset(photos)
    assert not report.problems
    assert report.pairs >= 120
