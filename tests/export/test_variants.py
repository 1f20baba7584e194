"""Artifacts that are not the default: fixed shapes, full masks, lower precisions, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from pedseg_export.export import export_artifact
from pedseg_export.options import ExportOptions
from pedseg_export.verification import Sample, generated_samples, generated_street, verify
from pedseg_runtime.errors import InputError, ParityError
from pedseg_runtime.parity import TOLERANCES
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import LoadedCheckpoint, with_settings
from pedseg_train.eager import EagerSegmenter

pytestmark = pytest.mark.slow


def opened(checkpoint: Path, path: Path, self_test: bool = False, **options: object) -> Segmenter:
    options["self_test"] = self_test
    result = export_artifact(checkpoint, output=path, options=ExportOptions(**options))
    return Segmenter.load(result.path, device="cpu")


def test_a_fixed_shape_leaves_no_shape_arithmetic(static_artifact) -> None:
    segmenter = static_artifact.segmenter
    operators = segmenter.manifest.operators
    (images,) = onnx.load(static_artifact.result.path).graph.input
    assert [dim.dim_value for dim in images.type.tensor_type.shape.dim] == [2, 96, 128, 3]
    assert operators["Shape"] <= 2, "only the numbers of proposals and detections are not known"
    assert operators["Floor"] == 1, "of the proposals' places"
    assert not {"ReduceMax", "Range"} & set(operators)
    with pytest.raises(InputError, match="96x128"):
        segmenter(np.zeros((96, 130, 3), np.uint8))


def test_a_fixed_batch_that_is_not_full_answers_all_the_same(
    checkpoint: Path, eager: EagerSegmenter, tmp_path: Path
) -> None:
    segmenter = opened(checkpoint, tmp_path / "x.pt2", format="pt2", static_shape=(2, 96, 128))
    samples = generated_samples((2, 96, 128))
    assert len(samples) % 2 == 1
    assert verify(segmenter, eager, samples)


def test_the_graph_for_cuda_answers_as_eager_in_any_batch(
    cuda_artifact, eager: EagerSegmenter
) -> None:
    """On the CPU: sizes that alternate, batches of up to 8, images without people among them."""
    segmenter = cuda_artifact.segmenter
    operators = segmenter.manifest.operators
    assert segmenter.manifest.device_target == "cuda"
    assert {"HardSigmoid", "Trilu"} <= set(operators)
    assert operators["NonZero"] == 7, "4 levels, the detections, and rows of two NMS"
    other_sizes = [
        Sample("another size", generated_street(i, *size, people=True))
        for i, size in enumerate([(97, 231), (301, 64)])
    ]
    report = verify(segmenter, eager, [*other_sizes, *generated_samples()])
    assert report, report.summary()
    images = [generated_street(i, 120, 160, people=True) for i in range(8)]
    images[2] = np.zeros_like(images[0])
    alone = [segmenter(image) for image in images]
    assert len(alone[2]) == 0
    for count in (1, 3, 8):
        found = segmenter.predict(images[:count], batch_size=count)
        for mine, single in zip(found, alone[:count], strict=True):
            np.testing.assert_allclose(mine.boxes, single.boxes, atol=0.01)
            np.testing.assert_allclose(mine.scores, single.scores, atol=1e-4)
            np.testing.assert_allclose(mine.roi_masks, single.roi_masks, atol=1e-3)


def test_full_masks_are_torchvisions(full_masks, eager: EagerSegmenter, trap: Sample) -> None:
    """Bit for bit, on the boxes and soft masks that the artifact itself found."""
    image = trap.image
    found = full_masks.segmenter(image)
    assert len(found) > 0
    expected = eager(image)
    pasted = paste_masks_in_image(
        torch.from_numpy(expected.roi_masks)[:, None],
        torch.from_numpy(expected.boxes),
        image.shape[:2],
    )
    assert found.full_masks.dtype == np.uint8
    assert found.masks().shape == (len(found), *image.shape[:2])
    # Soft values a rounding apart may fall on either side of a half.
    assert (found.masks() != (pasted[:, 0].numpy() >= 0.5)).mean() < 1e-4


def coordinates_of(model: ir.Model) -> set[str]:
    """The types in which boxes reach RoIAlign and NMS; all convolutions are seen to be half."""
    weights = {
        str(node.inputs[1].const_value.dtype) for node in model.graph if node.op_type == "Conv"
    }
    assert weights == {"FLOAT16"}
    inferred = ir.passes.common.ShapeInferencePass()(model).model
    return {
        str(node.inputs[position].dtype)
        for node in inferred.graph
        for operator, position in (("RoiAlign", 1), ("NonMaxSuppression", 0))
        if node.op_type == operator
    }


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_lower_precision_tells_what_it_keeps_in_float32(
    precision: str,
    checkpoint: Path,
    eager: EagerSegmenter,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    try:
        if precision == "fp16":
            segmenter = request.getfixturevalue("fp16_artifact").segmenter
        else:
            path = tmp_path / "low.torchscript"
            segmenter = opened(checkpoint, path, format="torchscript", precision=precision)
    except ParityError as error:  # of random weights more may flip than of trained ones
        pytest.fail(error.report.summary())
    assert segmenter.manifest.precision == precision
    assert any("box decoding" in note for note in segmenter.manifest.precision_notes)
    report = verify(
        segmenter, eager, generated_samples(), tolerances=TOLERANCES[segmenter.manifest.precision]
    )
    assert report.counts.matched > 0.8 * report.counts.reference
    scores = next(field for field in report.fields if field.name == "scores")
    assert scores.max > 1e-6, "were the networks lowered at all?"
    if precision == "fp16":
        path = request.getfixturevalue("fp16_artifact").result.path
        assert coordinates_of(ir.load(path)) == {"FLOAT"}


def test_overridden_settings_are_recorded_and_followed(
    checkpoint: Path, loaded: LoadedCheckpoint, tmp_path: Path
) -> None:
    settings = {"min_size": 80, "max_size": 120, "nms_threshold": 0.3, "detections_per_image": 3}
    segmenter = opened(checkpoint, tmp_path / "x.torchscript", format="torchscript", **settings)
    for name, value in settings.items():
        assert getattr(segmenter.manifest, name) == value
    assert segmenter.manifest.score_threshold == loaded.header.score_threshold
    changed = with_settings(loaded, **settings)
    eager = EagerSegmenter(changed.model, class_names=changed.header.class_names)
    report = verify(segmenter, eager, generated_samples())
    assert report, report.summary()
    assert max(len(segmenter(sample.image)) for sample in generated_samples()) == 3
    assert loaded.model.roi_heads.detections_per_img == 8, "the checkpoint stays as it was"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"score_threshold": 1.0}, "less than 1"),
        ({"nms_threshold": -0.1}, "at least 0"),
        ({"detections_per_image": 0}, "at least 1"),
        ({"min_size": 200}, "min_size <= max_size"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(
    settings: dict, words: str, loaded: LoadedCheckpoint
) -> None:
    with pytest.raises(InputError, match=words):
        with_settings(loaded, **settings)


def test_the_artifact_tests_itself(onnx_artifact, checkpoint: Path, tmp_path: Path) -> None:
    assert onnx_artifact.segmenter.self_test.startswith("passed on")
    path = tmp_path / "x.torchscript"
    assert "not in" in opened(checkpoint, path, format="torchscript").self_test


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 320), (400, 20)], ids=str)
def test_streets_can_be_drawn_at_every_fixed_size(height: int, width: int) -> None:
    image = generated_street(0, height, width, people=True)
    assert image.shape == (height, width, 3)
    assert image.std() > 5
