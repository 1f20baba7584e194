"""Small datasets that the tests of this folder build by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Masks = dict[str, NDArray[np.uint8]]


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[Masks], Path]:
    """Write a dataset in the Penn-Fudan layout from one array of ids [H, W] per name."""

    def make(masks: Masks) -> Path:
        root = tmp_path / "dataset"
        for folder in ("PNGImages", "PedMasks"):
            (root / folder).mkdir(parents=True)
        for seed, (name, ids) in enumerate(masks.items()):
            picture = np.random.default_rng(seed).integers(0, 256, (*ids.shape, 3), np.uint8)
            Image.fromarray(picture).save(root / "PNGImages" / f"{name}.png")
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
    """Four pictures: "a" holds two people, "b" is an empty street, "c" and "d" one person each."""
    one = np.where(two_people == 1, two_people, 0).astype(np.uint8)
    return make_dataset({"c": one, "a": two_people, "b": np.zeros_like(one), "d": one.T.copy()})
