"""Clients that know nothing of pedseg get the runtime's answers from the same file."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401  registers torchvision::nms
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pedseg_runtime import InputError, Manifest, Segmenter, read_image
from pedseg_runtime.artifact.manifest import MANIFEST_FILE
from pedseg_runtime.backends.torch import register_suppression
from pedseg_runtime.masks import paste_masks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "examples" / "clients" / "plain_onnxruntime.py"
DOCS = ROOT / "docs" / "artifact.md"
ARTIFACTS = ROOT / "tests" / "runtime" / "golden"
SIZE = (40, 60)  # that fixed.onnx asks for


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PLAIN), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """Two persons, one in the corner, and nobody; the artifacts see the colours."""
    people = np.zeros((*SIZE, 3), np.uint8)
    people[5:20, 10:30, 0] = 230
    people[8:30, 40:55, 2] = 150
    corner = np.zeros((*SIZE, 3), np.uint8)
    corner[30:, 50:, 1] = 200
    images = {"people": people, "corner": corner, "empty": np.zeros((*SIZE, 3), np.uint8)}
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return {name: tmp_path / f"{name}.png" for name in images}


@pytest.mark.parametrize("artifact", ["tiny.onnx", "fixed.onnx"], ids=["free", "fixed, full"])
def test_the_client_answers_as_the_runtime(
    artifact: str, images: dict[str, Path], tmp_path: Path
) -> None:
    """Soft masks of free shapes, and full masks of a fixed batch."""
    done = run(ARTIFACTS / artifact, *images.values(), "--masks", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = []
    with Segmenter.load(ARTIFACTS / artifact, device="cpu") as segmenter:
        for path in images.values():
            detections = segmenter(path).above(0.5)
            for index, (mask, box, score) in enumerate(
                zip(detections.masks(), detections.boxes, detections.scores, strict=True)
            ):
                written = np.asarray(Image.open(tmp_path / "masks" / f"{path.stem}_{index}.png"))
                np.testing.assert_array_equal(written, mask)
                expected.append(
                    {
                        "image": path.name,
                        "class": "person",
                        "score": float(score),
                        "box": box.tolist(),
                        "mask_pixels": int(mask.sum()),
                    }
                )
    assert [one["image"] for one in expected] == ["people.png", "people.png", "corner.png"]
    assert found == expected


def write_tiff(path: Path, grey: NDArray[np.uint16], *, bits: int, white_is_zero: bool) -> None:
    """One strip of uncompressed grey; 12 bits take two samples in three bytes."""
    height, width = grey.shape
    if bits == 12:
        first, second = grey[:, 0::2], grey[:, 1::2]
        parts = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
        data = np.stack(parts, -1).astype(np.uint8).tobytes()
    else:
        data = grey.astype(f"<u{bits // 8}").tobytes()
    values = [(256, width), (257, height), (258, bits), (259, 1), (262, not white_is_zero)]
    values += [(273, 8), (277, 1), (278, height), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values)
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    path.write_bytes(head + struct.pack("<H", len(values)) + entries + bytes(4))


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_onnxruntime", PLAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("fp16", "1")])
def test_the_client_keeps_the_tensor_cores_of_half_precision(
    plain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, tf32: str
) -> None:
    class Session:
        """A session on a machine with a GPU; it keeps what it was asked for."""

        def __init__(self, _content: bytes, providers: list[Any]) -> None:
            self.providers = providers

        def set_providers(self, providers: list[Any]) -> None:
            self.providers = providers

        def get_providers(self) -> list[str]:
            return [each if isinstance(each, str) else each[0] for each in self.providers]

        def get_modelmeta(self) -> Any:
            manifest = json.dumps({"precision": precision})
            return SimpleNamespace(custom_metadata_map={"pedseg_manifest": manifest})

    monkeypatch.setattr(plain.ort, "InferenceSession", Session)
    path = tmp_path / "any.onnx"
    path.write_bytes(hashlib.sha256(b"").hexdigest().encode())
    session, _ = plain.load(path, "cuda")
    assert session.providers[0][1]["use_tf32"] == tf32


def test_the_client_reads_images_as_the_runtime_does(plain: ModuleType, tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64)[None].repeat(40, 0)
    grey = np.rint(ramp * 65535).astype(np.uint16)
    colors = np.stack([ramp, ramp[:, ::-1], 1 - ramp / 2], -1)
    image = Image.fromarray(np.rint(colors * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(tmp_path / "grey16.png", exif=exif)
    Image.fromarray(grey).save(tmp_path / "grey16.tif")
    write_tiff(tmp_path / "inverted.tif", grey, bits=16, white_is_zero=True)
    write_tiff(tmp_path / "grey12.tif", grey >> 4, bits=12, white_is_zero=False)
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(256)))
    image.convert("RGBA").save(tmp_path / "alpha.webp", lossless=True)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.convert("LA").save(tmp_path / "grey_alpha.png")
    image.convert("1").save(tmp_path / "one_bit.png")
    for path in sorted(tmp_path.iterdir()):
        found, expected = plain.read(path), read_image(path)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected, err_msg=path.name)
    for name in ("grey16.png", "grey16.tif", "grey12.tif", "inverted.tif"):
        assert read_image(tmp_path / name).max() == 255, name
    write_tiff(tmp_path / "grey32.tif", grey >> 8, bits=32, white_is_zero=False)
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("grey32.tif", "float.tif"):
        with pytest.raises(InputError):
            read_image(tmp_path / name)
        with pytest.raises(SystemExit, match="scale it to 8 bits"):
            plain.read(tmp_path / name)


def test_the_client_shows_the_manifest() -> None:
    done = run(ARTIFACTS / "tiny.onnx", "--manifest")
    with Segmenter.load(ARTIFACTS / "tiny.onnx", device="cpu") as segmenter:
        assert Manifest.from_json(done.stdout) == segmenter.manifest


def test_the_client_refuses_a_damaged_artifact(tmp_path: Path, images: dict[str, Path]) -> None:
    content = bytearray((ARTIFACTS / "tiny.onnx").read_bytes())
    content[1000] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(content)
    done = run(tmp_path / "damaged.onnx", images["people"])
    assert done.returncode == 1
    assert "its checksum does not match" in done.stderr
    assert done.stdout == ""


def test_the_client_refuses_a_size_that_a_fixed_graph_does_not_take(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "small.png")
    done = run(ARTIFACTS / "fixed.onnx", tmp_path / "small.png")
    assert done.returncode == 1
    assert "expected an image of [40, 60], found [20, 30]" in done.stderr


def test_the_client_needs_three_packages() -> None:
    tree = ast.parse(PLAIN.read_text(encoding="utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import)
                     else [node.module or ""])
    }  # fmt: skip
    assert imported - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 120), st.integers(1, 120),
    st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.floats(0.01, 2), st.floats(0.01, 2),
)  # fmt: skip
def test_the_client_pastes_as_the_runtime(
    plain: ModuleType,
    seed: int,
    height: int,
    width: int,
    left: float,
    top: float,
    wide: float,
    high: float,
) -> None:
    """At the border, beyond it, and in boxes of a few pixels; values near the threshold may flip.

    The client weighs in float64 where torchvision rounds to float32.
    """
    soft = np.random.default_rng(seed).random((28, 28), np.float32)
    x, y = left * width, top * height
    box = np.array([x, y, x + wide * width, y + high * height], np.float32)
    mask: NDArray[np.bool_] = plain.paste(soft, box, height, width)
    expected = paste_masks(soft[None], box[None], (height, width))[0]
    assert mask.shape == expected.shape
    assert np.count_nonzero(mask != expected) <= 1


SNIPPETS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


class Scripted(nn.Module):
    """The contract with one box per image, and the operator of torchvision that artifacts need."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        image_index = torch.arange(images.shape[0])
        boxes = images[:, 0, :4, 0].float() + torch.tensor([0.0, 0.0, 5.0, 5.0])
        scores = torch.full([images.shape[0]], 0.75)
        kept = torch.ops.torchvision.nms(boxes, scores, 2.0)
        masks = torch.ones([images.shape[0], 28, 28])
        return boxes, torch.ones_like(image_index), scores[kept], masks, image_index


class Traced(nn.Module):
    """The same with pedseg's operator; a box that stands twice is found once."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        image_index = torch.arange(images.shape[0])
        boxes = images[:, 0, :4, 0].float() + torch.tensor([0.0, 0.0, 5.0, 5.0])
        twice = torch.ops.pedseg.suppress(
            boxes[None].repeat(1, 2, 1), torch.full([1, 2], 0.75), 0.5, 0.1
        )
        masks = torch.ones([images.shape[0], 28, 28])
        return boxes, torch.ones_like(image_index), twice[0], masks, image_index


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page's snippets open."""
    desk = tmp_path_factory.mktemp("desk")
    shutil.copy(ARTIFACTS / "tiny.onnx", desk / "pedseg.onnx")
    image = np.zeros((*SIZE, 3), np.uint8)
    image[5:20, 10:30, 0] = 230
    Image.fromarray(image).save(desk / "street.jpg", "PNG")  # exact, and read by its content
    manifest = {MANIFEST_FILE: json.dumps({"class_names": ["background", "person"]})}
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(Scripted())
        torch.jit.save(scripted, str(desk / "pedseg.torchscript"), _extra_files=manifest)
    register_suppression(torch)
    images = torch.zeros(1, 240, 320, 3, dtype=torch.uint8)
    program = torch.export.export(Traced(), (images,))
    torch.export.save(program, desk / "pedseg.pt2", extra_files=manifest)
    return desk


@pytest.mark.parametrize(
    ("needle", "printed"),
    [
        ("hashlib", ""),
        ("onnxruntime", "person 0.902 [10.0, 5.0, 30.0, 20.0]\n"),
        ("torch.jit.load", "['background', 'person'] 1\n[0.75]\n"),
        ("torch.export.load", "['background', 'person'] 2\n[0.75, -1.0]\n"),
    ],
    ids=["checksum", "onnx", "torchscript", "pt2"],
)
def test_the_pages_snippets_run(desk: Path, needle: str, printed: str) -> None:
    (snippet,) = [code for code in SNIPPETS if needle in code]
    if "torch" in needle:
        snippet += "print(scores.tolist())\n"
    command = [sys.executable, "-W", "ignore", "-c", snippet]
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
    assert len(SNIPPETS) == 4


def test_the_page_names_every_field_of_the_manifest() -> None:
    page = DOCS.read_text(encoding="utf-8")
    missing = [
        field.name for field in dataclasses.fields(Manifest) if f"`{field.name}`" not in page
    ]
    assert missing == []
