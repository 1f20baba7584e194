import numpy as np
import pytest
from PIL import Image

from pedseg_runtime.draw import instance_color
from pedseg_runtime.errors import DatasetError, InputError
from pedseg_train.data.contact_sheet import draw_contact_sheet


def colors_in(sheet):
    return {tuple(color) for color in np.asarray(sheet).reshape(-1, 3).tolist()}


def test_every_instance_has_its_color_on_the_sheet(dataset):
    sheet = draw_contact_sheet(dataset, count=1)
    assert sheet.mode == "RGB"
    assert {instance_color(0), instance_color(1)} <= colors_in(sheet)


def test_rows_and_columns_decide_the_size(dataset):
    one, two, four = (draw_contact_sheet(dataset, count=n, columns=2).size for n in (1, 2, 4))
    assert two[0] > one[0]
    assert two[1] == one[1]
    assert four[0] == two[0]
    assert four[1] > two[1]


def test_more_than_there_is_shows_all(dataset):
    assert draw_contact_sheet(dataset, count=99).size == draw_contact_sheet(dataset, count=4).size


def test_an_empty_street_has_a_place(make_dataset):
    sheet = draw_contact_sheet(make_dataset({"a": np.zeros((9, 50), np.uint8)}))
    assert instance_color(0) not in colors_in(sheet)


@pytest.mark.parametrize(("count", "columns"), [(0, 1), (1, 0)])
def test_no_images_or_columns_are_refused(dataset, count, columns):
    with pytest.raises(InputError, match="at least 1"):
        draw_contact_sheet(dataset, count=count, columns=columns)


def test_an_empty_dataset_is_refused(make_dataset):
    with pytest.raises(DatasetError, match="found none"):
        draw_contact_sheet(make_dataset({}))


def test_classes_are_named_where_there_is_more_than_people(coco, dataset, monkeypatch):
    captions = []
    monkeypatch.setattr(
        "pedseg_train.data.contact_sheet.draw_instances",
        lambda image, masks, boxes, names: captions.append(names) or Image.fromarray(image),
    )
    draw_contact_sheet(coco)
    draw_contact_sheet(dataset, count=1)
    assert captions == [["person", "dog", "person, crowd"], [], ["dog"], None]
