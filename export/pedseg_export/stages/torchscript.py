"""TorchScript artifacts split into stages: their submodules, called one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.transform import resize_boxes

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.backends.base import one_line
from pedseg_train.eager import float32_only

from ..graph.sizes import box_limits
from ..graph.taps import (
    BOXES,
    IMAGE_INDEX,
    LABELS,
    PIXELS,
    PROPOSAL_BOXES,
    PROPOSAL_SCORES,
    ROI_MASKS,
)
from .borders import (
    EXPECTED_BOXES,
    StageFailure,
    StageOutputs,
    missing_stages,
    stage_outputs,
    to_numpy,
)
from .passage import FINAL_BOXES, Arrays

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
        with float32_only(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
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
