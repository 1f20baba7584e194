"""Artifacts of every format, made by the real export and opened by the runtime."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import pedseg_export.export as export_module
from pedseg_export.export import export_artifact
from pedseg_export.graph.roi_align import PyramidPooling
from pedseg_export.options import ExportOptions
from pedseg_export.verification import Sample, generated_samples, verify
from pedseg_runtime.artifact.manifest import MANIFEST_FILE, MANIFEST_KEY, OUTPUT_NAMES
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import CheckpointError, ExportError, ParityError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.parity import compare
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.eager import EagerSegmenter

pytestmark = pytest.mark.slow


def stretched(height: int, width: int) -> np.ndarray:
    """A street of any size; Pillow's resampling keeps its structure."""
    street = Image.fromarray(generated_samples()[0].image)
    return np.asarray(street.resize((width, height)))


def test_the_shipped_verdict_is_in_the_file(artifact) -> None:
    parity = artifact.segmenter.manifest.parity
    assert parity is not None
    assert parity["passed"] is True
    assert parity["counts"]["images"] == len(generated_samples())
    assert parity["counts"]["matched"] > 10


def test_the_manifest_describes_the_checkpoint(artifact, checkpoint: Path) -> None:
    manifest = artifact.segmenter.manifest
    assert manifest.architecture == "maskrcnn_resnet10_fpn_lite"
    assert manifest.class_names == ("background", "person")
    assert manifest.checkpoint_sha256 == sha256_of(checkpoint)
    assert (manifest.min_size, manifest.max_size) == (64, 96)
    assert set(manifest.versions) >= {"pedseg", "torch", "torchvision", "onnx"}
    assert manifest == artifact.result.manifest


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (16, 320), (301, 17), (375, 500), (97, 231)], ids=str
)
def test_any_size_answers_as_eager(
    artifact, eager: EagerSegmenter, height: int, width: int
) -> None:
    sample = Sample(f"{height}x{width}", stretched(height, width))
    # A street in company: a tiny image alone may show nothing to compare.
    report = verify(artifact.segmenter, eager, [sample, generated_samples()[0]])
    assert report, report.summary()


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_answers_as_eager(onnx_artifact, eager: EagerSegmenter) -> None:
    """Also at sizes whose resized size is another in float32, the best that OpenVINO has."""
    samples = [Sample(f"{h}x{w}", stretched(h, w)) for h, w in [(60, 147), (94, 188), (95, 82)]]
    with Segmenter.load(onnx_artifact.result.path, device="openvino") as segmenter:
        report = verify(segmenter, eager, [*samples, *generated_samples()[:2]])
    assert report, report.summary()


def test_a_batch_of_eight_with_empty_streets_equals_single_images(
    artifact, black: np.ndarray
) -> None:
    street = stretched(*black.shape[:2])
    images = [street, black, street[:, ::-1], black, black, street[::-1], street, black]
    images = [np.ascontiguousarray(image) for image in images]
    together = artifact.segmenter.predict(images, batch_size=8)
    alone = [artifact.segmenter(image) for image in images]
    assert [len(one) for one in together] == [len(one) for one in alone]
    empty = [len(one) == 0 for one, image in zip(alone, images, strict=True) if not image.any()]
    assert empty == [True] * 4
    threshold = artifact.segmenter.manifest.score_threshold
    report = compare(alone, together, score_threshold=threshold)
    assert report, report.summary()


def test_nothing_found_in_the_whole_batch_gives_empty_arrays(artifact, black: np.ndarray) -> None:
    for detections in artifact.segmenter.predict([black, black, black], batch_size=3):
        assert detections.boxes.shape == (0, 4)
        assert detections.roi_masks.shape == (0, 28, 28)


def test_the_same_call_gives_the_same_answer(artifact) -> None:
    image = generated_samples()[0].image
    first, second = artifact.segmenter(image), artifact.segmenter(image)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.roi_masks, second.roi_masks)


def test_the_graph_has_no_control_flow_and_few_nodes(onnx_artifact) -> None:
    model = onnx.load(onnx_artifact.result.path)
    operators = Counter(node.op_type for node in model.graph.node)
    assert not {"If", "Loop", "Scan", "SequenceInsert", "SplitToSequence"} & set(operators)
    assert operators["NonMaxSuppression"] == 2
    assert operators["RoiAlign"] == 8
    assert operators.total() < 430
    assert operators == onnx_artifact.segmenter.manifest.operators
    intermediates = [
        name for node in model.graph.node for name in node.output if name.startswith("stage.")
    ]
    assert len(intermediates) == 9, "the stages keep their names through every simplification"


def test_the_contract_is_written_into_the_graph(onnx_artifact) -> None:
    graph = onnx.load(onnx_artifact.result.path).graph
    (images,) = graph.input
    dims = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert images.name == "images"
    assert dims == ["batch", "height", "width", 3]
    assert tuple(output.name for output in graph.output) == OUTPUT_NAMES
    first = {output.type.tensor_type.shape.dim[0].dim_param for output in graph.output}
    assert first == {"detections"}


def test_common_viewers_find_their_keys(onnx_artifact) -> None:
    model = onnx.load(onnx_artifact.result.path)
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties["task"] == "segment"
    assert "person" in properties["names"]
    assert json.loads(properties[MANIFEST_KEY])["architecture"] == "maskrcnn_resnet10_fpn_lite"


def test_the_onnx_file_says_nothing_of_the_machine_that_made_it(onnx_artifact) -> None:
    """The exporter notes a stack trace with file names on every node."""
    here = str(Path(export_module.__file__).parent).encode()
    assert here not in onnx_artifact.result.path.read_bytes()


def test_the_torchscript_manifest_can_be_read_without_torch(
    torchscript_artifact,
) -> None:
    with zipfile.ZipFile(torchscript_artifact.result.path) as archive:
        (entry,) = [name for name in archive.namelist() if name.endswith(MANIFEST_FILE)]
        assert json.loads(archive.read(entry))["format"] == "torchscript"


class HalfAPixelOff(EagerSegmenter):
    """The sort of disagreement that parity exists for."""

    def __call__(self, image: np.ndarray) -> Detections:
        found = super().__call__(image)
        return dataclasses.replace(found, boxes=found.boxes + np.float32(0.5))


def test_an_artifact_that_disagrees_is_not_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "EagerSegmenter", HalfAPixelOff)
    output = tmp_path / "model.torchscript"
    output.write_bytes(b"the artifact of yesterday")
    with pytest.raises(ParityError, match="boxes") as failure:
        export_artifact(checkpoint, output=output, options=ExportOptions(format="torchscript"))
    assert not failure.value.report
    assert output.read_bytes() == b"the artifact of yesterday"
    assert list(tmp_path.iterdir()) == [output], "no temporary file is left"


def test_an_exporter_that_fails_is_reported_in_one_line(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: PyramidPooling, *_arguments: object) -> object:
        raise RuntimeError("\n\nCould not guard on u0\nsecond line\nthird line")

    monkeypatch.setattr(PyramidPooling, "forward", fail)
    options = ExportOptions(format="pt2")
    with pytest.raises(ExportError) as failure:
        export_artifact(checkpoint, output=tmp_path / "model.pt2", options=options)
    assert "Could not guard on u0" in str(failure.value)
    assert "boxes.pool" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_no_checkpoint(tmp_path: Path) -> None:
    foreign = tmp_path / "weights.safetensors"
    foreign.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="pedseg-train"):
        export_artifact(foreign, output=tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == [foreign]


@pytest.mark.parametrize(
    "format",
    [
        pytest.param("onnx", marks=pytest.mark.gpu),
        pytest.param("torchscript", marks=pytest.mark.gpu("torch")),
        pytest.param("pt2", marks=pytest.mark.gpu("torch")),
    ],
)
def test_cuda_answers_as_eager_on_the_cpu(
    format: str, eager: EagerSegmenter, request: pytest.FixtureRequest
) -> None:
    exported = request.getfixturevalue(f"{format}_artifact")
    with Segmenter.load(exported.result.path, device="cuda") as segmenter:
        report = verify(segmenter, eager, generated_samples())
    assert report, report.summary()
