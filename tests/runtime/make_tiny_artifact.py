"""Write tests/runtime/golden/tiny.onnx: an artifact that keeps pedseg's contract without a network.

    python tests/runtime/make_tiny_artifact.py

It detects per image up to three "persons": the red, the green and the blue pixels. The box is the
bounding box of the pixels above the score threshold, the score is the channel's maximum / 255,
the soft mask is a disc. So a test can draw the detections it wants, and a black image has none.
Needs the `onnx` package; the tests of the runtime do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pedseg_runtime.manifest import MANIFEST_KEY, Manifest
from pedseg_runtime.seal import seal

TARGET = Path(__file__).parent / "golden" / "tiny.onnx"
OPSET = 18
MANIFEST = Manifest(
    architecture="tiny_blobs",
    class_names=("background", "person"),
    checkpoint_sha256="0" * 64,
    format="onnx",
    opset=OPSET,
    exporter="tests/runtime/make_tiny_artifact.py",
    created="2026-11-22T00:00:00+00:00",
)
SHAPES = {
    "images": (TensorProto.UINT8, ["N", "H", "W", 3]),
    "boxes": (TensorProto.FLOAT, ["D", 4]),
    "labels": (TensorProto.INT64, ["D"]),
    "scores": (TensorProto.FLOAT, ["D"]),
    "roi_masks": (TensorProto.FLOAT, ["D", 28, 28]),
    "image_index": (TensorProto.INT64, ["D"]),
}


def disc() -> NDArray[np.float32]:
    """A soft disc, float32 [1, 28, 28]."""
    y, x = np.mgrid[:28, :28] - 13.5
    return (1 / (1 + np.exp(np.hypot(y, x) - 11)))[None].astype(np.float32)


def constants() -> list[onnx.TensorProto]:
    """The graph's constant tensors."""
    values = {
        "k255": np.float32(255),
        "threshold": np.float32(MANIFEST.score_threshold),
        "one": np.int64([1]),
        "three": np.int64([3]),
        "axis2": np.int64([2]),
        "axis3": np.int64([3]),
        "both": np.int64([2, 3]),
        "disc": disc(),
        "size28": np.int64([28, 28]),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def nodes() -> list[onnx.NodeProto]:
    """The graph, one row per node: operator, inputs, outputs, attributes."""
    rows = [
        ("Cast", "images", "floats", {"to": TensorProto.FLOAT}),
        ("Transpose", "floats", "channels", {"perm": [0, 3, 1, 2]}),
        ("Div", "channels k255", "values", {}),  # [N, 3, H, W]
        ("ReduceMax", "values both", "channel_scores", {"keepdims": 0}),  # [N, 3]
        ("Greater", "values threshold", "is_on", {}),
        ("Cast", "is_on", "on", {"to": TensorProto.FLOAT}),
        ("ReduceMax", "on axis2", "columns", {"keepdims": 0}),  # [N, 3, W]
        ("ReduceMax", "on axis3", "rows", {"keepdims": 0}),  # [N, 3, H]
        ("ArgMax", "columns", "x1", {"axis": 2}),  # [N, 3, 1]
        ("ArgMax", "rows", "y1", {"axis": 2}),
        ("ArgMax", "columns", "last_x", {"axis": 2, "select_last_index": 1}),
        ("ArgMax", "rows", "last_y", {"axis": 2, "select_last_index": 1}),
        ("Add", "last_x one", "x2", {}),
        ("Add", "last_y one", "y2", {}),
        ("Concat", "x1 y1 x2 y2", "corners", {"axis": 2}),
        ("Cast", "corners", "channel_boxes", {"to": TensorProto.FLOAT}),  # [N, 3, 4]
        ("TopK", "channel_scores three", "sorted_scores order", {"axis": 1}),
        ("Greater", "sorted_scores threshold", "kept", {}),
        ("NonZero", "kept", "kept_indices", {}),  # [2, D]: image, rank
        ("Transpose", "kept_indices", "at", {"perm": [1, 0]}),
        ("GatherND", "sorted_scores at", "scores", {}),
        ("Split", "at", "image rank", {"axis": 1, "num_outputs": 2}),
        ("GatherND", "order at", "channel", {}),
        ("Unsqueeze", "channel one", "channel_column", {}),
        ("Concat", "image channel_column", "box_at", {"axis": 1}),
        ("GatherND", "channel_boxes box_at", "boxes", {}),
        ("Squeeze", "image one", "image_index", {}),
        ("Shape", "channel", "count", {}),
        ("Expand", "one count", "labels", {}),
        ("Concat", "count size28", "mask_shape", {"axis": 0}),
        ("Expand", "disc mask_shape", "roi_masks", {}),
    ]
    return [
        helper.make_node(kind, inputs.split(), outputs.split(), **attributes)
        for kind, inputs, outputs, attributes in rows
    ]


def build() -> onnx.ModelProto:
    """The whole model, checked."""
    values = {
        name: helper.make_tensor_value_info(name, kind, shape)
        for name, (kind, shape) in SHAPES.items()
    }
    graph = helper.make_graph(
        nodes(),
        "tiny_blobs",
        [values.pop("images")],
        list(values.values()),
        constants(),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, {MANIFEST_KEY: MANIFEST.to_json(), **MANIFEST.viewer_metadata()})
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(build().SerializeToString())
    seal(TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
