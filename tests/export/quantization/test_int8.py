"""Quantised artifacts: which layers are int8, that they run, and that a crash is reported."""

from __future__ import annotations

import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from pedseg_export.quantization import smoke_test
from pedseg_export.quantization.activation_ranges import (
    BINS,
    LOG_ERROR,
    METHODS,
    SAMPLE_SIZE,
    ActivationHistogram,
    choose_ranges,
    collect_histograms,
    extract_subgraph,
    make_batch,
    open_session,
)
from pedseg_export.quantization.int8 import QuantizationResult, quantize
from pedseg_export.quantization.regions import GraphIndex, find_regions
from pedseg_export.verification import generated_samples
from pedseg_runtime.artifact.checksum import CHECKSUM_KEY, append_checksum
from pedseg_runtime.errors import ExportError, InputError
from pedseg_runtime.parity.matching import box_iou
from pedseg_runtime.segmenter import Segmenter

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Int8:
    """A quantised artifact, its graph, and the artifact opened by the runtime."""

    result: QuantizationResult
    path: Path
    model: onnx.ModelProto
    segmenter: Segmenter


@pytest.fixture(scope="module")
def source(onnx_artifact) -> Path:
    return onnx_artifact.result.path


@pytest.fixture(scope="module")
def streets():
    return [sample.image for sample in generated_samples()]


@pytest.fixture(scope="module")
def quantised(source, streets, tmp_path_factory) -> Int8:
    folder = tmp_path_factory.mktemp("int8")
    result = quantize(source, folder / "small.onnx", images=streets)
    sealed = folder / "sealed.onnx"
    shutil.copy(folder / "small.onnx", sealed)
    append_checksum(sealed)
    segmenter = Segmenter.load(sealed, device="cpu", self_test=False)  # the samples are float's
    return Int8(result, folder / "small.onnx", onnx.load(folder / "small.onnx"), segmenter)


def weights(index: GraphIndex, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The producer of a layer's weights: a DequantizeLinear, or None for a float tensor."""
    return index.producer.get(node.input[1])


def layers_of(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Convolutions and matrix products with int8 weights, and with float weights."""
    index = GraphIndex(model.graph)
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return (
        [node for node in layers if weights(index, node)],
        [node for node in layers if not weights(index, node)],
    )


def test_the_trunk_and_the_heads_are_int8_but_for_their_ends(quantised):
    """24 in trunk, pyramid and RPN, two in the box head, two in the mask head."""
    integer, float_ = layers_of(quantised.model)
    index = GraphIndex(quantised.model.graph)
    float_names = {node.name for node in float_}
    ends = [
        node
        for node in float_
        if not (index.downstream(node.output, past_roi_align=False) & float_names)
    ]

    assert len(integer) == quantised.result.layers == 28
    # Anchors at five levels, class and box, mask logits; and before them the stem.
    assert len(ends) == 8
    assert len(float_) == 9


def test_weights_are_scaled_per_channel_and_activations_are_unsigned(quantised):
    constants = {tensor.name: tensor for tensor in quantised.model.graph.initializer}
    index = GraphIndex(quantised.model.graph)
    integer, _ = layers_of(quantised.model)
    for node in integer:
        values, scales, zeros = (constants[name] for name in weights(index, node).input)
        channels = values.dims[0]
        assert values.data_type == TensorProto.INT8
        assert list(scales.dims) == [channels] == list(zeros.dims)
        assert not numpy_helper.to_array(zeros).any()
        pixels = index.producer[node.input[0]]
        assert pixels.op_type == "DequantizeLinear"
        assert constants[pixels.input[2]].data_type == TensorProto.UINT8


def test_every_layer_has_weights_of_its_own(quantised):
    """Shared ones do not load with the option that CPUs without VNNI need."""
    integer, _ = layers_of(quantised.model)

    assert len({node.input[1] for node in integer}) == len(integer)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERROR
    options.add_session_config_entry("session.x64quantprecision", "1")
    onnxruntime.InferenceSession(str(quantised.path), options, providers=["CPUExecutionProvider"])


def test_the_contract_and_the_metadata_stay_and_the_checksum_goes(source, quantised):
    before, after = onnx.load(source), quantised.model
    metadata = {entry.key: entry.value for entry in before.metadata_props}

    assert metadata.pop(CHECKSUM_KEY)
    assert {entry.key: entry.value for entry in after.metadata_props} == metadata
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert after.opset_import == before.opset_import
    assert quantised.path.stat().st_size < source.stat().st_size / 2
    onnx.checker.check_model(after, full_check=True)


def features_of(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    """The pyramid: what RoIAlign reads."""
    names = [node.input[0] for node in model.graph.node if node.op_type == "RoiAlign"]
    names = list(dict.fromkeys(names))
    session = open_session(extract_subgraph(model, names))
    return session.run(names, {"images": image[None]})


def test_features_and_detections_stay_close_to_those_in_float(
    quantised, source, onnx_artifact, streets
):
    """The network is random and its boxes are wild, so some change places; most must not."""
    float_model = onnx.load(source)
    for expected, found in zip(
        features_of(float_model, streets[0]), features_of(quantised.model, streets[0]), strict=True
    ):
        assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)

    partners = total = 0
    for street in streets:
        expected, found = onnx_artifact.segmenter(street), quantised.segmenter(street)
        overlap = box_iou(expected.boxes, found.boxes)
        partners += int((overlap.max(axis=1, initial=0.0) > 0.7).sum())
        total += len(expected.boxes)
    assert total > 20
    assert partners / total > 0.6


def test_the_stem_is_pooled_before_its_activation(quantised):
    index = GraphIndex(quantised.model.graph)
    windows = [
        node
        for node in index.nodes
        if node.op_type == "MaxPool" and helper.get_node_attr_value(node, "kernel_shape") == [3, 3]
    ]
    assert len(windows) == 1
    assert index.producer[windows[0].input[0]].op_type == "Conv"
    assert [node.op_type for node in index.consumers[windows[0].output[0]]] == ["Relu"]


def test_batches_answer_as_single_images_do(quantised, streets, black):
    images = [streets[0], np.zeros_like(streets[0]), streets[2]]

    together = quantised.segmenter.predict(images, batch_size=3)

    for image, detections in zip(images, together, strict=True):
        alone = quantised.segmenter(image)
        np.testing.assert_allclose(detections.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(detections.scores, alone.scores, atol=1e-5)
    quantised.segmenter(black)


def test_heads_that_saw_too_few_boxes_stay_in_float(source, black, tmp_path):
    """Without people on the calibration images the mask head never ran."""
    result = quantize(source, tmp_path / "small.onnx", images=[black, black])

    assert result.layers == 26
    assert any("fewer than 32 boxes" in note for note in result.notes)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_graph_that_runs(method, source, streets, tmp_path):
    lines: list[str] = []

    quantize(
        source, tmp_path / "small.onnx", images=streets[:3], method=method, notify=lines.append
    )

    assert any(line.startswith("calibrating: run 3 of 3") for line in lines)
    assert not any("bins" in line or "pre-processing" in line for line in lines)


def test_what_cannot_be_calibrated_is_refused(source, streets, tmp_path):
    with pytest.raises(InputError, match=r"method: expected one of .*, found 'guess'"):
        quantize(source, tmp_path / "small.onnx", images=streets, method="guess")
    with pytest.raises(InputError, match="found none"):
        quantize(source, tmp_path / "small.onnx", images=[])
    assert not list(tmp_path.iterdir())


def test_a_graph_of_fixed_size_takes_images_of_that_size(streets):
    pair = make_batch(streets, 1, [2, 240, 320, 3])

    assert pair.shape == (2, 240, 320, 3)
    np.testing.assert_array_equal(make_batch(streets[:2], 1, [2, 240, 320, 3])[1], pair[0])
    with pytest.raises(InputError, match=r"images of 240x320.*found 375x500"):
        make_batch(streets, 3, [1, 240, 320, 3])


def test_a_graph_without_roi_align_is_refused():
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]

    with pytest.raises(ExportError, match="Mask R-CNN"):
        find_regions(helper.make_graph([node], "none", value[:1], value[1:]))


def add_run(activation: ActivationHistogram, values: np.ndarray) -> None:
    """Add all values of a run."""
    activation.add(
        values, lowest=float(values.min()), highest=float(values.max()), rows=len(values)
    )


@given(
    st.lists(
        arrays.arrays(
            np.float32,
            st.integers(1, 40),
            elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_histogram_loses_no_value_and_keeps_its_size(chunks):
    activation = ActivationHistogram()
    for chunk in chunks:
        add_run(activation, chunk)
    values = np.concatenate(chunks)
    counts, edges = activation.histogram(BINS)

    assert (activation.lowest, activation.highest) == (values.min(), values.max())
    assert counts.sum() == len(values) == activation.rows
    assert activation.counts.shape == (BINS,)
    assert activation.bound >= np.abs(values).max()
    # A value on an edge may fall on either side of it.
    width = float(edges[1] - edges[0])
    for edge, below in zip(edges[1::256], counts.cumsum()[::256], strict=True):
        assert (values < edge - 1.01 * width).sum() <= below <= (values < edge + 1.01 * width).sum()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ExportError, match="finite"):
        add_run(ActivationHistogram(), np.array([1.0, np.nan], np.float32))


def test_percentiles_leave_out_what_is_rare():
    activation = ActivationHistogram()
    add_run(activation, np.random.default_rng(0).random(200_000, np.float32))
    add_run(activation, np.array([50.0], np.float32))

    low, high = choose_ranges({"value": activation}, "percentile")["value"]
    assert 0.0 <= low < 0.1
    assert 0.9 < high < 1.1
    assert choose_ranges({"value": activation}, "minmax")["value"] == (activation.lowest, 50.0)
    low, high = choose_ranges({"value": activation}, "entropy")["value"]
    assert 0.0 <= low < high <= 50.0


def brightness_graph() -> onnx.ModelProto:
    """A graph with a value for every pixel and channel: its brightness, negative below 100."""
    nodes = [
        helper.make_node("Cast", ["images"], ["raw"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["raw", "middle"], ["value"], name="sub"),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(100), "middle")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("side", [10, 700])
def test_a_run_shows_a_sample_and_the_true_extremes(side):
    rng = np.random.default_rng(0)
    images = [rng.integers(low, low + 50, (side, side, 3), np.uint8) for low in (60, 120)]
    images[0][0, 0, 1], images[1][0, 1, 1] = 0, 255  # in no sample of many

    activation = collect_histograms(brightness_graph(), ["value"], images, lambda line: None)[
        "value"
    ]

    assert (activation.lowest, activation.highest) == (-100.0, 155.0)
    assert activation.rows == 2
    everything = 2 * (side * side * 3 + 1)  # a zero is added, for a value may be empty
    assert min(everything, 2 * SAMPLE_SIZE) <= activation.counts.sum() <= everything
    counts, edges = activation.histogram(BINS)
    below = counts[edges[1:] <= 0].sum() / counts.sum()
    assert below == pytest.approx(np.mean(np.stack(images).astype(float) < 100), abs=0.03)


SEGFAULT = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"


def test_a_graph_that_crashes_is_not_put_in_place(source, streets, monkeypatch, tmp_path):
    target = tmp_path / "small.onnx"
    target.write_bytes(b"what stood here")
    monkeypatch.setattr(smoke_test, "_command", lambda path: [sys.executable, "-c", SEGFAULT])

    with pytest.raises(ExportError, match="SIGSEGV"):
        quantize(source, target, images=streets[:1])
    assert target.read_bytes() == b"what stood here"
    assert list(tmp_path.iterdir()) == [target]


def test_a_graph_without_selections_has_no_detections(quantised):
    """Whatever a random network makes of black images, the second run has no detections."""
    model = onnx.ModelProto()
    model.CopyFrom(quantised.model)

    assert smoke_test._suppress_detections(model)
    assert not any(len(output) for outputs in smoke_test._run(model) for output in outputs)
