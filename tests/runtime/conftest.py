"""What the tests of the runtime share: a tiny artifact, and a picture it finds two persons on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Segmenter

TINY = Path(__file__).parent / "golden" / "tiny.onnx"


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    """An ONNX artifact that detects the red, the green and the blue pixels of an image."""
    if not TINY.exists():
        pytest.fail(f"{TINY} is missing; python tests/runtime/make_tiny_artifact.py writes it")
    return TINY


@pytest.fixture
def segmenter(tiny_path: Path) -> Iterator[Segmenter]:
    with Segmenter.load(tiny_path, device="cpu") as loaded:
        yield loaded


@pytest.fixture
def street() -> NDArray[np.uint8]:
    """An image [40, 60] with a red person (score 200 / 255) and a blue one (100 / 255)."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[5:20, 10:30, 0] = 200
    image[8:30, 40:55, 2] = 100
    return image
