"""Small datasets that the tests of this folder build by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Masks = dict[str, NDArray[np.uint8]]


@pytest.fixture
def smooth() -> Callable[..., Image.Image]:
    """An image of soft patches by seed: of another size it still looks the same."""

    def make(seed: int, size: tuple[int, int] = (30, 20)) -> Image.Image:
        patches = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
        return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)

    return make


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[Masks], Path]:
    """Write a dataset in the Penn-Fudan layout from one array of ids [H, W] per name."""

    def make(masks: Masks) -> Path:
        root = tmp_path / "dataset"
        for folder in ("PNGImages", "PedMasks"):
            (root / folder).mkdir(parents=True)
        for seed, (name, ids) in enumerate(masks.items()):
            image = np.random.default_rng(seed).integers(0, 256, (*ids.shape, 3), np.uint8)
            Image.fromarray(image).save(root / "PNGImages" / f"{name}.png")
            Image.fromarray(ids).save(root / "PedMasks" / f"{name}_mask.png")
        return root

    return make


@pytest.fixture
def two_people() -> NDArray[np.uint8]:
    """Ids [20, 30]: person 1 in rows 2..9 and columns 3..7, person 2 in 5..18 and 15..20."""
    ids = np.zeros((20, 30), np.uint8)
    ids[2:10, 3:8] = 1
    ids[5:19, 15:21] = 2
    return ids


@pytest.fixture
def dataset(make_dataset, two_people) -> Path:
    """Four images: "a" holds two people, "b" is an empty street, "c" and "d" one person each."""
    one = np.where(two_people == 1, two_people, 0).astype(np.uint8)
    return make_dataset({"c": one, "a": two_people, "b": np.zeros_like(one), "d": one.T.copy()})


Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    """Three images of 20x30 pixels: polygons, run lengths of both kinds, a crowd, two classes.

    "b" has no annotation. The ids are out of order and have gaps.
    """
    crowd = [20 * 15, 20 * 15]  # columns 15 to 29, column by column
    return {
        "images": [
            {"id": 70, "file_name": "c.png", "width": 30, "height": 20},
            {"id": 9, "file_name": "a.png", "width": 30, "height": 20},
            {"id": 12, "file_name": "b.png", "width": 30, "height": 20},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "person"}],
        "annotations": [
            annotation(5, 9, 3, [[3, 2, 8, 2, 8, 10, 3, 10]], area=40.5),
            annotation(2, 9, 18, [[15, 5, 21, 5, 21, 19, 15, 19]]),
            annotation(8, 9, 3, {"size": [20, 30], "counts": crowd}, iscrowd=1),
            annotation(1, 70, 18, {"size": [20, 30], "counts": [45, 5, 15, 5, 530]}),
        ],
    }


def annotation(number: int, image: int, category: int, segmentation: Any, **more: Any) -> Document:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        **more,
    }


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[Document], Path]:
    """Write a document as annotations.json, with a noise image for every image in `images`."""

    def write(document: Document) -> Path:
        root = tmp_path / "coco"
        for seed, image in enumerate(document["images"]):
            path = root / "images" / image["file_name"].replace("\\", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (image["height"], image["width"], 3)
            image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
            Image.fromarray(image).save(path)
        (root / "annotations.json").write_text(json.dumps(document))
        return root / "annotations.json"

    return write


@pytest.fixture
def coco(document: Document, write_coco: Callable[[Document], Path]) -> Path:
    """The file of `document`."""
    return write_coco(document)
