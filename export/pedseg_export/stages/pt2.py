"""pt2 artifacts in stages: the exported program, interpreted node by node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from pedseg_runtime.backends import one_line
from pedseg_runtime.manifest import Manifest, output_specs
from pedseg_train.eager import float32_only

from .borders import Failed, Found, as_numpy, groups, unknown_stages
from .passage import FINAL_BOXES, MASKS, Arrays


class CutProgram:
    """A pt2 artifact whose nodes between the stages yield eager's values."""

    def __init__(
        self,
        path: Path,
        module: fx.GraphModule,
        manifest: Manifest,
        device: torch.device,
        levels: int,
    ) -> None:
        """Take the program of the artifact at `path`, on `device`.

        Raises:
            ArtifactError: its stages have no names.
        """
        self._device = device
        self._module = module
        self._outputs = [spec["name"] for spec in output_specs(manifest.mask_format)]
        # Names of nodes are Python's: no dots.
        self._taps = {
            name.replace(".", "_"): name
            for group in groups(levels, manifest.mask_format)[:-1]
            for name in group
        }
        nodes = {node.name for node in self._module.graph.nodes}
        missing = [name for name in self._taps if name not in nodes]
        if missing:
            raise unknown_stages(path, f"no node called {missing[0]}")

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8], eager: Arrays) -> Found:
        """See `CutArtifact.run`."""
        given = {
            node: torch.from_numpy(eager[name]).to(self._device)
            for node, name in self._taps.items()
        }
        interpreter = _Stages(self._module, given)
        with float32_only():
            interpreter.run(torch.from_numpy(images).to(self._device))
        found = {name: interpreter.seen[node] for node, name in self._taps.items()}
        last = dict(zip(self._outputs, interpreter.last, strict=True))
        found |= {name: last[name] for name in (FINAL_BOXES, MASKS) if name in last}
        return {name: as_numpy(value) for name, value in found.items()}


class _Stages(fx.Interpreter):
    """Runs a graph; where a stage ends, keeps its value and goes on with the one given.

    A node that fails yields a `Failed`, and so does every node that reads one. The next stage
    reads what is given and runs all the same.
    """

    def __init__(self, module: fx.GraphModule, given: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self.given = given
        self.seen: dict[str, Any] = {}
        self.last: tuple[Any, ...] = ()

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, or the given one in its place."""
        if n.op == "output":
            self.last = tuple(self.env[node] for node in n.all_input_nodes)
            return self.last
        value = self._compute(n)
        if n.name not in self.given:
            return value
        self.seen[n.name] = value
        given = self.given[n.name]
        return given.to(value.dtype) if isinstance(value, Tensor) else given

    def _compute(self, n: fx.Node) -> Any:
        for node in n.all_input_nodes:
            if isinstance(self.env[node], Failed):
                return self.env[node]
        try:
            return super().run_node(n)
        except Exception as error:  # operators fail in any way they can
            return Failed(one_line(error))
