"""Artifacts of torch in stages.

The stages of a TorchScript artifact are modules, which can be called one by one. A pt2 artifact is
split into one small graph per stage, at the names of the values between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torchvision.models.detection.transform import resize_boxes

from pedseg_runtime.artifact.manifest import INPUT_NAME, Manifest, output_specs
from pedseg_runtime.backends.base import one_line
from pedseg_runtime.backends.float32 import float32_only

from ..graph.intermediates import (
    BOXES,
    IMAGE_INDEX,
    LABELS,
    PIXELS,
    PROPOSAL_BOXES,
    PROPOSAL_SCORES,
    ROI_MASKS,
)
from ..graph.sizes import box_limits
from .eager_trace import FINAL_BOXES, Arrays
from .stage_io import (
    EXPECTED_BOXES,
    StageFailure,
    StageOutputs,
    missing_stages,
    stage_outputs,
    to_numpy,
)

MODULES = ("preprocessing", "trunk", "proposals", "boxes", "masks")


class SplitTorchScript:
    """A TorchScript artifact whose stages are called as in `InferenceGraph.forward`."""

    def __init__(
        self,
        path: Path,
        module: torch.jit.ScriptModule,
        manifest: Manifest,
        device: torch.device,
        levels: int,
    ) -> None:
        """Use the module of the artifact at `path`, on `device`.

        Raises:
            ArtifactError: a stage has no module.
        """
        self._device = device
        self._module: Any = module
        self._groups = stage_outputs(levels, manifest.mask_format)
        wanted = (*MODULES, "paste") if manifest.mask_format == "full" else MODULES
        missing = [name for name in wanted if not hasattr(self._module, name)]
        if missing:
            raise missing_stages(path, f"no module called {missing[0]}")
        self._dtype = next(self._module.trunk.parameters()).dtype

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8], eager: Arrays) -> StageOutputs:
        """See `SplitArtifact.run`."""
        given = {name: torch.from_numpy(value).to(self._device) for name, value in eager.items()}
        pixels = torch.from_numpy(images).to(self._device)
        found: dict[str, Any] = {}
        with float32_only(torch), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            for names, stage in zip(self._groups, self._stages(pixels, given), strict=True):
                found.update(_attempt(names, stage))
            if not isinstance(found[FINAL_BOXES], StageFailure):
                final, expected = found[FINAL_BOXES]
                found[FINAL_BOXES], found[EXPECTED_BOXES] = final, expected
        return {name: to_numpy(value) for name, value in found.items()}

    def _stages(
        self, images: Tensor, given: dict[str, Tensor]
    ) -> Sequence[Callable[[], Sequence[Any]]]:
        """One function per group of outputs; the last returns its boxes with the expected ones."""
        module = self._module
        height, width = images.shape[1:3]
        padded = list(given[PIXELS].shape[2:])
        features = [given[name].to(self._dtype) for name in self._groups[1]]
        chosen = [given[name] for name in (BOXES, LABELS, IMAGE_INDEX)]

        def limits() -> Tensor:
            _, resized = module.preprocessing(images)
            return box_limits(resized[0], resized[1], images.device)

        def last() -> Sequence[Any]:
            boxes = module(images)[0], self._expected(images)
            if len(self._groups[-1]) == 1:
                return (boxes,)
            masks = module.paste(given[ROI_MASKS], given[FINAL_BOXES], height, width)
            return boxes, masks

        return (
            lambda: [module.preprocessing(images)[0]],
            lambda: module.trunk(given[PIXELS].to(self._dtype)),
            lambda: module.proposals(features, padded, limits()),
            lambda: module.boxes(features, given[PROPOSAL_BOXES], given[PROPOSAL_SCORES], limits()),
            lambda: [module.masks(features, *chosen)],
            last,
        )

    def _expected(self, images: Tensor) -> Tensor:
        """The artifact's boxes, scaled to the image by torchvision.

        The step from the resized image back to the image is no module and cannot be called alone.
        """
        module = self._module
        pixels, resized = module.preprocessing(images)
        features = module.trunk(pixels.to(self._dtype))
        limits = box_limits(resized[0], resized[1], images.device)
        proposals, scores = module.proposals(features, list(pixels.shape[2:]), limits)
        boxes, *_ = module.boxes(features, proposals, scores, limits)
        expected: Tensor = resize_boxes(boxes, resized, list(images.shape[1:3]))
        return expected


def _attempt(names: Sequence[str], stage: Callable[[], Sequence[Any]]) -> dict[str, Any]:
    """The values of a stage by name, or the same failure for every name."""
    try:
        return dict(zip(names, stage(), strict=True))
    except RuntimeError as error:
        return dict.fromkeys(names, StageFailure(one_line(error)))


class Pt2Stage(NamedTuple):
    """One stage: names and dtypes of its inputs, and its graph."""

    inputs: dict[str, torch.dtype]
    module: fx.GraphModule


class SplitPt2:
    """The stages of an exported program, each a module of its own."""

    def __init__(
        self,
        path: Path,
        module: fx.GraphModule,
        manifest: Manifest,
        device: torch.device,
        levels: int,
    ) -> None:
        """Split the program of the artifact at `path`, which is on `device`.

        Raises:
            ArtifactError: its stages have no names.
        """
        self._device = device
        names = stage_outputs(levels, manifest.mask_format)
        nodes = named_nodes(path, module, names, manifest.mask_format)
        self._stages: list[tuple[tuple[str, ...], Pt2Stage]] = []
        inputs = {nodes[INPUT_NAME]: INPUT_NAME}
        for group in names:
            outputs = [nodes[name] for name in group]
            needed = nodes_between(inputs, outputs)
            self._stages.append((group, extract_stage(module, inputs, outputs, needed)))
            inputs |= {nodes[name]: name for name in group}
            if LABELS in group:
                # The number of detections may be read from the nonzero that selects them, before
                # their group.
                selections = (
                    node for node in needed if node.target is torch.ops.aten.nonzero.default
                )
                inputs |= {node: node.name for node in selections}

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8], eager: Arrays) -> StageOutputs:
        """See `SplitArtifact.run`."""
        feeds = {
            name: torch.from_numpy(value).to(self._device)
            for name, value in {INPUT_NAME: images, **eager}.items()
        }
        rows = torch.zeros((len(eager[LABELS]), 1), dtype=torch.int64, device=self._device)
        found: dict[str, NDArray[Any] | StageFailure] = {}
        for group, stage in self._stages:
            try:
                with float32_only(torch):
                    outputs = stage.module(
                        *(
                            feeds.get(name, rows).to(dtype)  # only the number of rows is read
                            for name, dtype in stage.inputs.items()
                        )
                    )
                found.update(zip(group, map(to_numpy, outputs), strict=True))
            except Exception as error:  # operators raise any exception
                found.update(dict.fromkeys(group, StageFailure(one_line(error))))
        return found


def named_nodes(
    path: Path, module: fx.GraphModule, names: Sequence[tuple[str, ...]], mask_format: str
) -> dict[str, fx.Node]:
    """The nodes between the stages: input and outputs by position, the others by their names.

    Raises:
        ArtifactError: a name is missing.
    """
    nodes = {node.name: node for node in module.graph.nodes}
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    outputs = [spec["name"] for spec in output_specs(mask_format)]
    results: Any = output.args[0]
    found: dict[str, fx.Node] = dict(zip(outputs, results, strict=True))
    found[INPUT_NAME] = next(node for node in module.graph.nodes if node.op == "placeholder")
    for name in (name for group in names for name in group if name not in found):
        node = name.replace(".", "_")  # node names are Python identifiers
        if node not in nodes:
            raise missing_stages(path, f"no node called {node}")
        found[name] = nodes[node]
    return found


def nodes_between(inputs: Mapping[fx.Node, str], outputs: Sequence[fx.Node]) -> set[fx.Node]:
    """The nodes on the paths from `inputs` to `outputs`, both included."""
    needed: set[fx.Node] = set()
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [] if node in inputs else node.all_input_nodes
    return needed


def extract_stage(
    module: fx.GraphModule,
    inputs: Mapping[fx.Node, str],
    outputs: Sequence[fx.Node],
    needed: Collection[fx.Node],
) -> Pt2Stage:
    """A stage of the nodes `needed` to compute `outputs` from `inputs`."""
    read = [node for node in inputs if node in needed]
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in read}
    for node in module.graph.nodes:
        if node in needed and node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    dtypes = {inputs[node]: node.meta["val"].dtype for node in read}
    return Pt2Stage(dtypes, fx.GraphModule(module, graph))
