"""ONNX artifacts split into stages: one small model per stage, by the names of intermediates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from pedseg_runtime.artifact.manifest import INPUT_NAME, Manifest
from pedseg_runtime.backends.base import one_line
from pedseg_runtime.backends.sessions import CPU, CUDA, LOG_FATAL, cuda_options
from pedseg_runtime.errors import ArtifactError, DeviceError

from ..graph.intermediates import LABELS
from .eager_trace import Arrays
from .stage_io import (
    StageFailure,
    StageOutputs,
    missing_stages,
    stage_outputs,
)


class SplitOnnx:
    """The stages of an ONNX artifact, each in an onnxruntime session of its own."""

    def __init__(self, path: Path, manifest: Manifest, device: torch.device, levels: int) -> None:
        """Split the artifact at `path`.

        Raises:
            ArtifactError: its stages have no names, or one does not load.
            DeviceError: onnxruntime does not run it on `device`.
        """
        names = stage_outputs(levels, manifest.mask_format)
        model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(path)))
        self._stages = [
            (group, _open_session(path, stage, device, manifest.precision))
            for group, stage in zip(names, split_model(path, model, names), strict=True)
        ]

    def run(self, images: NDArray[np.uint8], eager: Arrays) -> StageOutputs:
        """See `SplitArtifact.run`."""
        feeds = {INPUT_NAME: images, **eager}
        rows = np.zeros(
            (1, len(eager[LABELS])), np.int64
        )  # only their number is read, see `split_model`
        found: dict[str, NDArray[Any] | StageFailure] = {}
        for group, session in self._stages:
            inputs = {value.name: feeds.get(value.name, rows) for value in session.get_inputs()}
            try:
                found.update(zip(group, session.run(None, inputs), strict=True))
            except Exception as error:  # onnxruntime's errors share no narrower base
                found.update(dict.fromkeys(group, StageFailure(one_line(error))))
        return found


def split_model(path: Path, model: ir.Model, names: Sequence[tuple[str, ...]]) -> list[ir.Model]:
    """One model per group of `names`, from the images and all earlier groups to this group.

    The exporter may read the number of detections from the NonZero that selects them, before their
    group: for later groups the outputs of these NonZero are inputs too.

    Raises:
        ArtifactError: a name is missing.
    """
    graph = model.graph
    values = ir.convenience.create_value_mapping(graph)
    missing = [name for group in names for name in group if name not in values]
    if missing:
        raise missing_stages(path, f"no value called {missing[0]}")
    for group in names:
        for name in group:
            values[name] = _through_float32(graph, values[name])
    earlier = [values[INPUT_NAME]]
    found = []
    for group in names:
        outputs = [values[name] for name in group]
        stage = ir.convenience.extract(graph, earlier, outputs)
        for value in [value for value in stage.inputs if not value.uses()]:
            stage.inputs.remove(value)
        found.append(
            ir.Model(stage, ir_version=model.ir_version, functions=[*model.functions.values()])
        )
        earlier += outputs
        if LABELS in group:
            earlier += [
                values[str(node.outputs[0].name)] for node in stage if node.op_type == "NonZero"
            ]
    return found


def _through_float32(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """`value`; of a lower precision, a float32 copy with its name, inserted before its readers.

    numpy, which has no bfloat16, can then hold inputs and outputs, and eager's values are rounded
    on entry.
    """
    node = value.producer()
    if node is None or value.dtype not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return value
    readers = list(value.uses())
    widened = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
    narrowed = ir.node("Cast", [widened.outputs[0]], {"to": value.dtype})
    graph.insert_after(node, [widened, narrowed])
    for reader, position in readers:
        reader.replace_input_with(position, narrowed.outputs[0])
    copy = widened.outputs[0]
    copy.name, value.name = value.name, f"{value.name}.lower"
    copy.type, copy.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
    return copy


def _open_session(path: Path, stage: ir.Model, device: torch.device, precision: str) -> Any:
    """A session for one stage of an artifact of `precision` on `device`."""
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    providers: list[Any] = [CPU]
    if device.type == "cuda":
        ort.preload_dlls()
        providers.insert(
            0, (CUDA, {"device_id": str(device.index or 0), **cuda_options(precision)})
        )
    try:
        session = ort.InferenceSession(
            ir.to_proto(stage).SerializeToString(), options, providers=providers
        )
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise ArtifactError(
            f"{path}: expected stages that onnxruntime {ort.__version__} can run on {device}, "
            f"found {one_line(error)}; verify without --stages, or on another --device"
        ) from error
    if device.type == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceError(
            f"{device}: expected onnxruntime to run the stages on CUDA, found "
            f"{session.get_providers()[0]}; check the GPU with pedseg-predict --device {device}"
        )
    return session
