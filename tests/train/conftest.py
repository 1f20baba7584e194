"""A toy dataset and a tiny Mask R-CNN, shared by the training tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pedseg_train.data import PennFudanDataset
from pedseg_train.models import build_model
from pedseg_train.recipes import RECIPES, Recipe

TOY_IMAGES = 6
TOY_SIZE = (64, 80)  # height, width


def write_toy_dataset(root: Path, count: int = TOY_IMAGES, seed: int = 0) -> Path:
    """Upright bright ellipses on dark noise; the second image shows nobody."""
    random = np.random.default_rng(seed)
    (root / "PNGImages").mkdir(parents=True)
    (root / "PedMasks").mkdir()
    height, width = TOY_SIZE
    rows, columns = np.mgrid[:height, :width]
    for number in range(count):
        image = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
        ids = np.zeros((height, width), np.uint8)
        for person in range(0 if number == 1 else 2):
            x, y = 20 + 36 * person + random.integers(-4, 5), 32 + random.integers(-6, 7)
            inside = ((columns - x) / 8) ** 2 + ((rows - y) / 20) ** 2 <= 1
            ids[inside] = person + 1
            image[inside] = random.integers(150, 255, 3, dtype=np.uint8)
        Image.fromarray(image).save(root / "PNGImages" / f"toy{number}.png")
        Image.fromarray(ids).save(root / "PedMasks" / f"toy{number}_mask.png")
    return root


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    return write_toy_dataset(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="session")
def toy(toy_root):
    return PennFudanDataset(toy_root)


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """Two epochs of two steps on 48-pixel images."""
    return dataclasses.replace(
        RECIPES["smoke"],
        min_size=48,
        max_size=64,
        epochs=2,
        batch_size=2,
        box_batch=16,
        proposals=50,
        workers=0,
    )


@pytest.fixture
def tiny_model():
    """Random weights, yet some detections on any image."""
    torch.manual_seed(0)
    return build_model(
        "maskrcnn_resnet18_fpn",
        min_size=64,
        max_size=96,
        score_threshold=0.0,
        detections_per_image=10,
    )


@pytest.fixture
def noise():
    """An image, uint8 [70, 90, 3]."""
    return np.random.default_rng(3).integers(0, 256, (70, 90, 3), dtype=np.uint8)
