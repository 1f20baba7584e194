"""pt2 artifacts split into stages: one small graph per stage, by the names of intermediates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from pedseg_runtime.artifact.manifest import INPUT_NAME, Manifest, output_specs
from pedseg_runtime.backends.base import one_line
from pedseg_train.eager import float32_only

from ..graph.taps import LABELS
from .borders import StageFailure, StageOutputs, missing_stages, stage_outputs, to_numpy
from .passage import Arrays


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
                with float32_only():
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
