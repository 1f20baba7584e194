from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pedseg_runtime import ArtifactError, DeviceError, Manifest, Segmenter
from pedseg_runtime.artifact.checksum import append_checksum
from pedseg_runtime.artifact.manifest import MANIFEST_FILE
from pedseg_runtime.artifact.reading import read_artifact
from pedseg_runtime.backends import Resources
from pedseg_runtime.backends import torch as torch_backend
from pedseg_runtime.devices import Device, Driver, parse_device, probe_driver

pytestmark = pytest.mark.slow

WriteArchive = Callable[..., Path]

MANIFEST = Manifest(
    architecture="tiny_script",
    class_names=("background", "person"),
    checkpoint_sha256="0" * 64,
    format="torchscript",
)
SOURCE = """
def forward(self, images):
    # type: (Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    on = images.flatten(1).max(1)[0]
    kept = torch.nonzero(on)[:, 0]
    boxes = torch.tensor([[1.0, 2.0, 9.0, 8.0]]).to(images.device).repeat(kept.size(0), 1)
    scores = on[kept].float() / 255
    order = torch.ops.torchvision.nms(boxes[:1], scores[:1], 0.5)
    return boxes, torch.ones_like(kept), scores, torch.ones(kept.size(0), 28, 28), kept
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that finds one box per image that is not black, and needs torchvision's NMS."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    path = tmp_path_factory.mktemp("script") / "tiny.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own TorchScript deprecated
        module = torch.jit.ScriptModule()
        module.define(SOURCE)
        module.save(str(path), _extra_files={MANIFEST_FILE: MANIFEST.to_json()})
    append_checksum(path)
    return path


def test_a_script_runs_like_any_artifact(script: Path) -> None:
    images = np.zeros((3, 10, 12, 3), np.uint8)
    images[0, 0, 0, 0], images[2, 3, 4, 1] = 51, 204
    with Segmenter.load(script, device="cpu") as segmenter:
        assert segmenter.provider == "torch:cpu"
        assert segmenter.manifest == MANIFEST
        results = segmenter.predict(list(images))
    assert [len(detections) for detections in results] == [1, 0, 1]
    np.testing.assert_allclose([results[0].scores[0], results[2].scores[0]], [0.2, 0.8])
    assert results[0].boxes.tolist() == [[1, 2, 9, 8]]


def test_the_content_chooses_the_backend_not_the_suffix(script: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "model.onnx"
    disguised.write_bytes(script.read_bytes())
    assert Segmenter.load(disguised, device="cpu").provider == "torch:cpu"


def test_auto_takes_cuda_only_where_torch_has_it(script: Path) -> None:
    torch = pytest.importorskip("torch")
    expected = "torch:cuda:0" if torch.cuda.is_available() else "torch:cpu"
    assert Segmenter.load(script).provider == expected


class Cuda(Device):
    """A GPU that computes on the CPU."""

    def __str__(self) -> str:
        return "cpu"


@pytest.mark.parametrize(("precision", "expected"), [("fp32", "ieee"), ("fp16", "tf32")])
def test_float32_on_cuda_runs_without_tf32(
    script: Path, monkeypatch: pytest.MonkeyPatch, precision: str, expected: str
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch_backend, "_choose", lambda torch, device: Cuda("cuda"))
    artifact = read_artifact(script)
    artifact = replace(artifact, manifest=replace(artifact.manifest, precision=precision))
    backend = torch_backend.TorchScriptBackend(artifact, Device("cuda"), Resources())
    real, seen = backend.module, []

    def module(images: Any) -> Any:
        seen.append(torch.backends.cudnn.conv.fp32_precision)
        return real(images)

    backend.module = module
    with preserve_precision(torch):
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        backend.run(np.zeros((1, 10, 12, 3), np.uint8))
    assert seen == [expected]


@contextlib.contextmanager
def preserve_precision(torch: Any) -> Iterator[None]:
    before = torch.backends.cudnn.conv.fp32_precision
    try:
        yield
    finally:
        torch.backends.cudnn.conv.fp32_precision = before


@pytest.mark.skipif(probe_driver().devices > 0, reason="this machine has a GPU")
def test_cuda_on_a_machine_without_gpu_is_one_clear_line(script: Path) -> None:
    with pytest.raises(DeviceError, match="expected torch to run on CUDA") as caught:
        Segmenter.load(script, device="cuda")
    assert "\n" not in str(caught.value)


def test_an_archive_without_manifest_is_refused_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_archive: WriteArchive
) -> None:
    monkeypatch.setattr(torch_backend, "_import_torch", lambda path: pytest.fail("torch imported"))
    with pytest.raises(ArtifactError, match="without its manifest"):
        Segmenter.load(write_archive(tmp_path / "foreign.pt", None))
    with pytest.raises(ArtifactError, match="expected a pedseg manifest"):
        Segmenter.load(write_archive(tmp_path / "odd.pt", "{}"))


def test_an_archive_that_is_no_script_is_named(tmp_path: Path, write_archive: WriteArchive) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(ArtifactError, match="expected a TorchScript archive that torch"):
        Segmenter.load(write_archive(tmp_path / "empty.pt", MANIFEST), device="cpu")


def test_a_missing_torch_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_archive: WriteArchive
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(torch_backend.importlib, "import_module", missing)
    with pytest.raises(ArtifactError, match="No module named 'torch'; pip install"):
        Segmenter.load(write_archive(tmp_path / "whole.pt", MANIFEST))


def test_an_image_that_may_not_be_written_is_taken(script: Path) -> None:
    """Pillow's pixels are read-only, and one image is not copied on its way."""
    image = np.full((10, 12, 3), 51, np.uint8)
    image.flags.writeable = False
    with Segmenter.load(script, device="cpu") as segmenter:
        assert len(segmenter(image)) == 1


class Torch:
    """As much of torch as the choice of a device asks, on a machine of the test's choice."""

    __version__ = "9.9"

    def __init__(self, devices: int, built_for: str | None) -> None:
        self.cuda = SimpleNamespace(is_available=lambda: devices > 0, device_count=lambda: devices)
        self.version = SimpleNamespace(cuda=built_for)


@pytest.mark.parametrize(
    ("asked", "devices", "chosen"),
    [("cpu", 2, "cpu"), ("auto", 2, "cuda:0"), ("cuda:1", 2, "cuda:1"), ("auto", 0, "cpu")],
)
def test_the_device_is_cuda_where_torch_can_use_it(asked: str, devices: int, chosen: str) -> None:
    assert str(torch_backend._choose(Torch(devices, "13.0"), parse_device(asked))) == chosen


def test_a_gpu_that_torch_cannot_use_is_told_or_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch_backend, "probe_driver", lambda: Driver(1, (13, 0)))
    cause = "torch 9.9 is built without CUDA; install a CUDA build of torch"
    with pytest.raises(DeviceError, match=cause):
        torch_backend._choose(Torch(0, None), parse_device("cuda"))
    assert not caplog.messages
    assert torch_backend._choose(Torch(0, None), parse_device("auto")) == Device("cpu")
    assert caplog.messages == [f"running on the CPU although there is a GPU: {cause}"]
