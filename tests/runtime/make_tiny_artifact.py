"""Write tests/runtime/golden/*.onnx: artifacts that keep pedseg's contract without a network.

    python tests/runtime/make_tiny_artifact.py

They detect per image up to three "persons": the red, the green and the blue pixels. The box is the
bounding box of the pixels above the score threshold, the score is the channel's maximum / 255,
the soft mask is a disc. So a test can draw the detections it wants, and a black image has none.
`tiny.onnx` takes any shape; `fixed.onnx` takes 2 images of 40x60 and yields masks of the whole
image, the pixels themselves. Needs the `onnx` package; the tests of the runtime do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pedseg_runtime.artifact.checksum import append_checksum
from pedseg_runtime.artifact.manifest import INPUT_SPEC, MANIFEST_KEY, Manifest, output_specs

FOLDER = Path(__file__).parent / "golden"
OPSET = 18
TINY = Manifest(
    architecture="tiny_blobs",
    class_names=("background", "person"),
    checkpoint_sha256="0" * 64,
    format="onnx",
    opset=OPSET,
    exporter="tests/runtime/make_tiny_artifact.py",
    created="2026-11-22T00:00:00+00:00",
)
FIXED = replace(
    TINY, mask_format="full", static_shape=(2, 40, 60), outputs=tuple(output_specs("full"))
)
TYPES = {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64, "float32": TensorProto.FLOAT}


def disc() -> NDArray[np.float32]:
    """A soft disc, float32 [1, 28, 28]."""
    y, x = np.mgrid[:28, :28] - 13.5
    return (1 / (1 + np.exp(np.hypot(y, x) - 11)))[None].astype(np.float32)


def constants() -> list[onnx.TensorProto]:
    """The graph's constant tensors."""
    values = {
        "k255": np.float32(255),
        "threshold": np.float32(TINY.score_threshold),
        "one": np.int64([1]),
        "three": np.int64([3]),
        "axis2": np.int64([2]),
        "axis3": np.int64([3]),
        "both": np.int64([2, 3]),
        "disc": disc(),
        "size28": np.int64([28, 28]),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def nodes(mask_format: str) -> list[onnx.NodeProto]:
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
    ]
    if mask_format == "full":
        rows += [
            ("Cast", "is_on", "channel_masks", {"to": TensorProto.UINT8}),  # [N, 3, H, W]
            ("GatherND", "channel_masks box_at", "masks", {}),
        ]
    else:
        rows += [
            ("Concat", "count size28", "mask_shape", {"axis": 0}),
            ("Expand", "disc mask_shape", "roi_masks", {}),
        ]
    return [
        helper.make_node(kind, inputs.split(), outputs.split(), **attributes)
        for kind, inputs, outputs, attributes in rows
    ]


def value(spec: Mapping[str, Any], static_shape: tuple[int, int, int] | None) -> Any:
    """The graph's input or output that keeps `spec`, with N, H and W fixed where they are."""
    fixed = dict(zip("NHW", static_shape, strict=True)) if static_shape else {}
    shape = [fixed.get(size, size) for size in spec["shape"]]
    return helper.make_tensor_value_info(spec["name"], TYPES[spec["dtype"]], shape)


def build(manifest: Manifest) -> onnx.ModelProto:
    """The whole model, checked."""
    fixed = manifest.static_shape
    graph = helper.make_graph(
        nodes(manifest.mask_format),
        "tiny_blobs",
        [value(INPUT_SPEC, fixed)],
        [value(spec, fixed) for spec in output_specs(manifest.mask_format)],
        constants(),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.to_json(), **manifest.viewer_metadata()})
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, manifest in (("tiny", TINY), ("fixed", FIXED)):
        target = FOLDER / f"{name}.onnx"
        target.write_bytes(build(manifest).SerializeToString())
        append_checksum(target)
        print(f"{target.name}: {target.stat().st_size} bytes")
