"""A small network and its artifacts, exported once per session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from pedseg_export.export import ExportResult, export_artifact
from pedseg_export.options import ExportOptions
from pedseg_export.verification import Sample, generated_samples, generated_street
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import (
    CheckpointHeader,
    LoadedCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from pedseg_train.eager import EagerSegmenter
from pedseg_train.models import build_model

CLASSES = ("background", "person")
ARCHITECTURE = "maskrcnn_resnet10_fpn_lite"
# With the 64 and 96 pixels of `spread_out`: 63x90 in float32, 64x90 in float64.
FLOAT32_TRAP = (115, 162)


@dataclass(frozen=True)
class Exported:
    """A checkpoint with its eager reference, and its artifact opened by the runtime."""

    result: ExportResult
    segmenter: Segmenter


@pytest.fixture(scope="session")
def black() -> NDArray[np.uint8]:
    """A frame on which the small network finds nothing."""
    return np.zeros((120, 160, 3), np.uint8)


def spread_out(seed: int) -> MaskRCNN:
    """Random weights whose answers differ from place to place."""
    torch.manual_seed(seed)
    model = build_model(
        ARCHITECTURE, class_names=CLASSES, min_size=64, max_size=96, detections_per_image=8
    ).eval()
    heads = model.roi_heads
    heads.score_thresh = 0.0
    with torch.no_grad():
        model.rpn.head.cls_logits.weight.mul_(5)
        heads.box_predictor.cls_score.weight.mul_(5)
        heads.box_predictor.bbox_pred.weight.mul_(100)
        heads.mask_predictor.mask_fcn_logits.weight.mul_(1000)
    return model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, black: NDArray[np.uint8]) -> Path:
    """The first random network that tells black from every street, with a threshold between."""
    for seed in range(100):
        model = spread_out(seed)
        eager = EagerSegmenter(model, class_names=CLASSES)
        dark = eager(black).scores.max()
        light = min(eager(sample.image).scores.max() for sample in generated_samples())
        if light - dark > 0.01:  # far more than any format's rounding
            break
    else:
        pytest.fail("none of a hundred random networks tells black from a street")
    model.roi_heads.score_thresh = float((dark + light) / 2)
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    header = CheckpointHeader.of(model, architecture=ARCHITECTURE, class_names=CLASSES)
    save_checkpoint(path, model, header)
    return path


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> LoadedCheckpoint:
    return load_checkpoint(checkpoint)


@pytest.fixture(scope="session")
def eager(loaded: LoadedCheckpoint) -> EagerSegmenter:
    return EagerSegmenter(loaded.model, class_names=CLASSES)


def export_to(checkpoint: Path, path: Path, **options: Any) -> Exported:
    result = export_artifact(checkpoint, output=path, options=ExportOptions(**options))
    return Exported(result, Segmenter.load(result.path, device="cpu"))


@pytest.fixture(scope="session")
def onnx_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_to(checkpoint, tmp_path_factory.mktemp("onnx") / "small.onnx")


@pytest.fixture(scope="session")
def torchscript_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("torchscript") / "small.torchscript"
    return export_to(checkpoint, path, format="torchscript")


@pytest.fixture(scope="session")
def pt2_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_to(checkpoint, tmp_path_factory.mktemp("pt2") / "small.pt2", format="pt2")


@pytest.fixture(scope="session")
def cuda_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The graph for CUDA, on the CPU."""
    path = tmp_path_factory.mktemp("cuda") / "small.cuda.onnx"
    return export_to(checkpoint, path, device_target="cuda")


@pytest.fixture(params=["onnx", "torchscript", "pt2"])
def artifact(request: pytest.FixtureRequest) -> Exported:
    """Each format in turn."""
    exported = request.getfixturevalue(f"{request.param}_artifact")
    assert isinstance(exported, Exported)
    return exported


@pytest.fixture(scope="session")
def trap() -> Sample:
    """A street whose size float32 arithmetic resizes wrongly."""
    return Sample("float32 trap", generated_street(0, *FLOAT32_TRAP, people=True))


@pytest.fixture(scope="session")
def static_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """For two images of 96x128 pixels."""
    path = tmp_path_factory.mktemp("static") / "static.onnx"
    return export_to(checkpoint, path, static_shape=(2, 96, 128), self_test=False)


@pytest.fixture(scope="session")
def fp16_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("fp16") / "fp16.onnx"
    return export_to(checkpoint, path, precision="fp16", self_test=False)


@pytest.fixture(scope="session")
def full_artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("full") / "full.onnx"
    return export_to(checkpoint, path, mask_format="full", self_test=False)


@pytest.fixture(
    scope="session",
    params=[("onnx", None), ("torchscript", None), ("pt2", (2, *FLOAT32_TRAP))],
    ids=["onnx", "torchscript", "pt2 for two images of one size"],
)
def full_masks(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """Artifacts that paste their masks themselves."""
    format, shape = request.param
    if format == "onnx":
        exported: Exported = request.getfixturevalue("full_artifact")
        return exported
    path = tmp_path_factory.mktemp("full") / "full.bin"
    options = {"format": format, "static_shape": shape, "mask_format": "full", "self_test": False}
    return export_to(checkpoint, path, **options)
