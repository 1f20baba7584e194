"""Artifacts broken on purpose are refused, and the broken stage is named, in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from pedseg_export.export import describe, write
from pedseg_export.formats import (
    FORMATS,
    onnx,
    torch_archives,
)
from pedseg_export.graph import (
    InferenceGraph,
    backbone,
)
from pedseg_export.graph.sizes import box_limits, int_vector, network_size, positive
from pedseg_export.library_output import capture_library_output, discard
from pedseg_export.options import ExportOptions
from pedseg_export.stages import StageReport, examine
from pedseg_export.verification import Sample, generated_samples, verify
from pedseg_runtime.errors import ArtifactError
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import LoadedCheckpoint
from pedseg_train.eager import EagerSegmenter

pytestmark = pytest.mark.slow

STAGES = (
    "preprocessed image",
    "pyramid levels",
    "proposals",
    "class scores and boxes",
    "RoI masks",
    "pasted masks",
)
PASSED, FAILED = "passed", "failed"
Break = Callable[[InferenceGraph, pytest.MonkeyPatch], None]


def untouched(graph: InferenceGraph, patch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong."""


def float32_resize(graph: InferenceGraph, patch: pytest.MonkeyPatch) -> None:
    """The size arithmetic of torchvision's own export."""
    patch.setattr(backbone, "network_size", network_size_in_float32)


def network_size_in_float32(
    height: int, width: int, min_size: int, max_size: int, block: int
) -> tuple[list[int], list[int]]:
    size = int_vector([height, width], torch.device("cpu")).to(torch.float32)
    sides = torch.stack([size.min(), size.max()])
    scale = torch.div(torch.tensor([min_size, max_size], dtype=torch.float32), sides).min()
    resized = torch.floor(size * scale).to(torch.int64)
    blocks = torch.div(resized + (block - 1), block, rounding_mode="floor")
    return (
        [positive(resized[0]), positive(resized[1])],
        [positive(blocks[0]) * block, positive(blocks[1]) * block],
    )


class ResizedSpace(nn.Module):
    """Pastes at the network's size and resizes the masks afterwards, as mmdeploy once did."""

    def __init__(self, graph: InferenceGraph) -> None:
        super().__init__()
        self.paste = graph.paste
        self.rule = (
            graph.preprocessing.min_size,
            graph.preprocessing.max_size,
            graph.preprocessing.block,
        )

    def forward(self, roi_masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
        resized, _ = network_size(height, width, *self.rule)
        sizes = [
            int_vector([w, h, w, h], boxes.device).float() for h, w in [resized, [height, width]]
        ]
        masks = self.paste(roi_masks, boxes * (sizes[0] / sizes[1]), resized[0], resized[1])
        large = nn.functional.interpolate(masks[:, None].float(), size=[height, width])
        return large[:, 0].to(torch.uint8)


def resized_space(graph: InferenceGraph, patch: pytest.MonkeyPatch) -> None:
    graph.paste = ResizedSpace(graph)


class Swapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> tuple[Tensor, list[int]]:
        return self.inner(images.flip([3]))


def swapped_channels(graph: InferenceGraph, patch: pytest.MonkeyPatch) -> None:
    """Made for BGR."""
    graph.preprocessing = Swapped(graph.preprocessing)


class Unscaled(InferenceGraph):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        pixels, resized = self.preprocessing(images)
        limits = box_limits(resized[0], resized[1], images.device)
        features = self.trunk(pixels)
        proposals, proposal_scores = self.proposals(
            features, [pixels.shape[2], pixels.shape[3]], limits
        )
        boxes, labels, scores, image_index = self.boxes(
            features, proposals, proposal_scores, limits
        )
        masks = self.masks(features, boxes, labels, image_index)
        return boxes, labels, scores, masks, image_index


def left_in_resized_pixels(graph: InferenceGraph, patch: pytest.MonkeyPatch) -> None:
    graph.__class__ = Unscaled


def artifact_of(
    loaded: LoadedCheckpoint, folder: Path, break_it: Break = untouched, **options: Any
) -> Path:
    """An artifact as the exporter writes it, but for what `break_it` does to its graph."""
    chosen = ExportOptions(**options)
    graph = InferenceGraph(loaded.model, mask_format=chosen.mask_format, dtype=chosen.dtype)
    with pytest.MonkeyPatch.context() as patch, capture_library_output(discard):
        break_it(graph, patch)
        draft = FORMATS[chosen.format].convert(graph, static_shape=chosen.static_shape, opset=18)
        path = folder / f"artifact{FORMATS[chosen.format].suffix}"
        write(draft, path, describe(loaded, chosen, draft))
    return path


def aligned_in_onnx(model: ir.Model) -> None:
    """RoIAlign shifted by half a cell, the default of other frameworks."""
    pooling = [node for node in model.graph if node.op_type == "RoiAlign"]
    for node in pooling:
        node.attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", "half_pixel"
        )
    assert pooling


def swapped_in_onnx(model: ir.Model) -> None:
    """As `swapped_channels`."""
    (images,) = model.graph.inputs
    order = ir.Value(name="bgr", const_value=ir.tensor(np.array([2, 1, 0]), name="bgr"))
    model.graph.register_initializer(order)
    swapped = ir.node("Gather", [images, order], {"axis": 3})
    ir.convenience.replace_all_uses_with(images, swapped.outputs[0])
    swapped.replace_input_with(0, images)
    model.graph.insert_before(model.graph[0], swapped)


def float32_in_onnx(model: ir.Model) -> None:
    """The scale is rounded to float32."""
    (scale,) = [
        node.outputs[0]
        for node in model.graph
        if node.op_type == "ReduceMin" and node.inputs[0].producer().op_type == "Div"
    ]
    narrow = ir.node("Cast", [scale], {"to": ir.DataType.FLOAT})
    wide = ir.node("Cast", [narrow.outputs[0]], {"to": ir.DataType.DOUBLE})
    ir.convenience.replace_all_uses_with(scale, wide.outputs[0])
    narrow.replace_input_with(0, scale)
    model.graph.insert_after(scale.producer(), [narrow, wide])


def edited(exported: Any, folder: Path, edit: Callable[[ir.Model], None]) -> Path:
    """A copy of an ONNX artifact with an edited graph: the export of another takes long."""
    model = ir.load(exported.result.path)
    edit(model)
    path = folder / "edited.onnx"
    write(onnx.draft_of(model), path, exported.result.manifest)
    return path


def verdicts(report: StageReport) -> dict[str, str]:
    return {stage.name: stage.verdict for stage in report.stages}


@pytest.fixture(scope="module")
def samples(trap: Sample) -> list[Sample]:
    return [*generated_samples()[:2], trap]


def test_a_healthy_artifact_agrees_stage_by_stage(artifact, eager, samples) -> None:
    report = examine(artifact.result.path, eager, samples)
    assert report, report.summary()
    assert verdicts(report) == dict.fromkeys(STAGES, PASSED)
    assert report.first_failure is None
    assert "all 6 agree with eager on 3 images" in report.summary()


def test_masks_pasted_by_the_artifact_agree(full_masks, eager, trap) -> None:
    report = examine(full_masks.result.path, eager, [trap])
    assert report, report.summary()


@pytest.mark.parametrize(
    ("format", "break_it", "mask_format", "stage"),
    [
        ("torchscript", swapped_channels, "roi", "preprocessed image"),
        ("torchscript", left_in_resized_pixels, "roi", "pasted masks"),
        # torch.export takes a minute for the masks of any size; TorchScript seconds.
        ("torchscript", resized_space, "full", "pasted masks"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_artifact_is_refused_and_its_stage_named(
    format: str,
    break_it: Break,
    mask_format: str,
    stage: str,
    loaded: LoadedCheckpoint,
    eager: EagerSegmenter,
    tmp_path: Path,
    samples: list[Sample],
) -> None:
    path = artifact_of(loaded, tmp_path, break_it, format=format, mask_format=mask_format)
    check_refusal(path, eager, samples, {stage})


@pytest.mark.parametrize(
    ("edit", "stages"),
    [
        (float32_in_onnx, {"preprocessed image"}),
        (swapped_in_onnx, {"preprocessed image"}),
        (aligned_in_onnx, {"class scores and boxes", "RoI masks"}),
    ],
    ids=["float32 resize", "swapped channels", "aligned"],
)
def test_an_edited_graph_is_refused_and_its_stage_named(
    edit: Callable[[ir.Model], None],
    stages: set[str],
    onnx_artifact: Any,
    eager: EagerSegmenter,
    tmp_path: Path,
    samples: list[Sample],
) -> None:
    check_refusal(edited(onnx_artifact, tmp_path, edit), eager, samples, stages)


def check_refusal(
    path: Path, eager: EagerSegmenter, samples: list[Sample], stages: set[str]
) -> None:
    """Just `stages` fail, and the first of them is named."""
    with Segmenter.load(path, device="cpu") as segmenter:
        assert not verify(segmenter, eager, samples)
    report = examine(path, eager, samples)
    assert not report
    first = next(stage for stage in STAGES if stage in stages)
    assert report.first_failure is not None
    assert report.first_failure.name == first
    assert f"first stage that disagrees with eager: {first}: " in report.summary()
    # The error stays where it is: what does not use the broken step agrees with eager.
    assert {name for name, verdict in verdicts(report).items() if verdict == FAILED} == stages


def test_a_wrong_size_leaves_unjudged_what_reads_it(loaded, eager, tmp_path: Path, samples) -> None:
    path = artifact_of(loaded, tmp_path, float32_resize, format="pt2")
    report = examine(path, eager, [samples[-1]])
    first, *_ = report.stages
    assert first.notes == (
        "float32 trap: expected 64x90 in a frame of 64x96, found 63x90 in a frame of 64x96",
    )
    assert first.notes[0] in report.summary()
    unjudged = [name for name, verdict in verdicts(report).items() if verdict == "not judged"]
    assert unjudged == ["proposals", "class scores and boxes", "pasted masks"]
    assert verdicts(report)["RoI masks"] == PASSED


@pytest.mark.parametrize("format", ["pt2", "torchscript"])
def test_a_lower_precision_is_judged_by_its_own_limits(
    format: str, loaded, eager, tmp_path: Path, samples
) -> None:
    path = artifact_of(loaded, tmp_path, format=format, precision="fp16")
    report = examine(path, eager, samples)
    assert report.precision == "fp16"
    assert report, report.summary()
    pyramid_levels = report.stages[1].differences
    assert all(1e-5 < level.largest < level.limit for level in pyramid_levels)


class Foreign(nn.Module):
    """Keeps the contract, but has no stages."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        pixels = images.flatten(1)[:, :4].float()
        label = images.flatten(1)[:, 0].long()
        return pixels, label, pixels[:, 0], pixels[:, :1, None].expand(-1, 28, 28), label * 0


def nameless(format: str, onnx_path: Path):
    """A draft of an artifact without a name between its stages."""
    if format == "onnx":
        model = ir.load(onnx_path)
        for value in (value for node in model.graph for value in node.outputs):
            value.name = value.name.replace("stage.", "value.")
        return onnx.draft_of(model)
    if format == "torchscript":
        return torch_archives.convert_torchscript(Foreign())  # type: ignore[arg-type]
    return torch_archives.convert_pt2(Foreign())  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["onnx", "torchscript", "pt2"])
def test_an_artifact_without_named_stages_is_refused_in_one_line(
    format: str, onnx_artifact, loaded, eager, tmp_path: Path, samples
) -> None:
    path = tmp_path / "foreign"
    with capture_library_output(discard):
        draft = nameless(format, onnx_artifact.result.path)
        write(draft, path, describe(loaded, ExportOptions(format=format), draft))
    with pytest.raises(ArtifactError, match="whose stages have names") as failure:
        examine(path, eager, samples)
    assert "without --stages" in str(failure.value)
    assert "\n" not in str(failure.value)
