"""What the tests of the runtime share: a tiny artifact, and an image it finds two persons on."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Manifest, Segmenter
from pedseg_runtime.artifact.checksum import append_checksum
from pedseg_runtime.artifact.manifest import MANIFEST_FILE

GOLDEN = Path(__file__).parent / "golden"
CHECKSUM_SIZE = 83  # bytes of an ONNX file's last entry: 19 announce the key, 64 are the digits


def _golden(name: str) -> Path:
    path = GOLDEN / name
    if not path.exists():
        pytest.fail(f"{path} is missing; python tests/runtime/make_tiny_artifact.py writes it")
    return path


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    """An ONNX artifact that detects the red, the green and the blue pixels of an image."""
    return _golden("tiny.onnx")


@pytest.fixture(scope="session")
def fixed_path() -> Path:
    """The same fixed to 2 images of 40x60, with masks of the whole image."""
    return _golden("fixed.onnx")


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "openvino",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
            ),
        ),
    ]
)
def cpu_device(request: pytest.FixtureRequest) -> str:
    """Each device that runs ONNX on the CPU."""
    device: str = request.param
    return device


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


@pytest.fixture(scope="session")
def tiny_content(tiny_path: Path) -> bytes:
    """The tiny artifact without its checksum, to be edited and finished anew."""
    return tiny_path.read_bytes()[:-CHECKSUM_SIZE]


@pytest.fixture(scope="session")
def write_finished() -> Callable[[Path, bytes], Path]:
    """Writes content to a path and appends its checksum, as an exporter does."""

    def write(path: Path, content: bytes) -> Path:
        path.write_bytes(content)
        append_checksum(path)
        return path

    return write


@pytest.fixture(scope="session")
def with_metadata() -> Callable[[bytes, str, str], bytes]:
    """Adds an entry to the metadata of an ONNX model that has no checksum yet."""

    def add(content: bytes, key: str, value: str) -> bytes:
        fields = b"".join(
            bytes([tag]) + _varint(len(text)) + text
            for tag, text in ((0x0A, key.encode()), (0x12, value.encode()))
        )
        return content + b"\x72" + _varint(len(fields)) + fields

    return add


def _varint(number: int) -> bytes:
    """The number as protobuf writes it: seven bits per byte, lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


@pytest.fixture(scope="session")
def write_archive() -> Callable[..., Path]:
    """Writes a finished archive as torch lays it out, with texts as extra files but no model."""

    def write(path: Path, manifest: Manifest | str | None, **extra: str) -> Path:
        text = manifest.to_json() if isinstance(manifest, Manifest) else manifest
        texts = {MANIFEST_FILE: text, **extra}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tiny/data.pkl", b"")
            for name, text in texts.items():
                if text is not None:
                    archive.writestr(f"tiny/extra/{name}", text)
        append_checksum(path)
        return path

    return write
