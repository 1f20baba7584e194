"""The intermediate values of eager torchvision, by the names of the inference graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.backends.float32 import float32_only

from ..graph.intermediates import (
    BOXES,
    FEATURES,
    IMAGE_INDEX,
    LABELS,
    PIXELS,
    PROPOSAL_BOXES,
    PROPOSAL_SCORES,
    ROI_MASKS,
    SCORES,
)

FINAL_BOXES, MASKS = "boxes", "masks"  # the artifact's last outputs, in pixels of the image
NO_PROPOSAL = -1.0  # the score of an empty entry

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class EagerTrace:
    """The intermediate values of one image in eager torchvision.

    Attributes:
        values: by name, in the graph's layout for a batch of one:
            `stage.pixels` float32 [1, 3, h', w'], the network's input;
            `stage.features.0`, ... float32 [1, C, h, w], finest first;
            `stage.proposals.boxes` float32 [1, K, 4] and `.scores` [1, K], padded with -1;
            `stage.boxes` float32 [D, 4] in pixels of the resized image, `labels` int64 [D],
            `scores` float32 [D], `image_index` int64 [D], `roi_masks` float32 [D, 28, 28];
            `boxes` float32 [D, 4] in pixels of the image.
        resized: height and width of the resized image, without its padding.
        soft_masks: float32 [D, H, W], pasted, before the threshold.
        level_cutoffs: per pyramid level, the lowest score that enters NMS; only of levels with
            more anchors than their cap.
    """

    values: Arrays
    resized: tuple[int, int]
    soft_masks: NDArray[np.float32]
    level_cutoffs: tuple[float, ...]


class EagerTracer:
    """Runs torchvision's own `MaskRCNN.forward` on one image and records intermediate values."""

    def __init__(self, model: MaskRCNN, device: torch.device) -> None:
        self.model = model
        self.device = device

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> EagerTrace:
        """Trace an image uint8 [H, W, 3] RGB."""
        tensor = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1).float() / 255
        with float32_only(torch), _record_outputs(self.model) as recorded:
            (final,) = self.model([tensor])
        images, _ = recorded["transform"]
        found = recorded["roi_heads"]
        (boxes,), (scores,) = recorded["filter_proposals"]
        missing = self.model.rpn.post_nms_top_n() - len(boxes)
        values = {
            PIXELS: images.tensors,
            PROPOSAL_BOXES: torch.nn.functional.pad(boxes, [0, 0, 0, missing])[None],
            PROPOSAL_SCORES: torch.nn.functional.pad(scores, [0, missing], value=NO_PROPOSAL)[None],
            BOXES: found["boxes"],
            LABELS: found["labels"],
            SCORES: found["scores"],
            IMAGE_INDEX: torch.zeros_like(found["labels"]),
            ROI_MASKS: found["masks"][:, 0],
            FINAL_BOXES: final["boxes"],
        }
        for level, feature in enumerate(recorded["backbone"].values()):
            values[f"{FEATURES}.{level}"] = feature
        return EagerTrace(
            values={name: value.cpu().numpy() for name, value in values.items()},
            resized=images.image_sizes[0],
            soft_masks=final["masks"][:, 0].cpu().numpy(),
            level_cutoffs=recorded["level_cutoffs"],
        )


def repeat_for_batch(values: Arrays, count: int) -> dict[str, NDArray[Any]]:
    """The values of a batch of `count` times the same image, from the values of one."""
    batch = {name: np.concatenate([value] * count) for name, value in values.items()}
    batch[IMAGE_INDEX] = np.repeat(np.arange(count), len(values[IMAGE_INDEX]))
    return batch


@contextlib.contextmanager
def _record_outputs(model: MaskRCNN) -> Iterator[dict[str, Any]]:
    """Record the outputs of torchvision's modules, by the name of the module.

    `rpn` returns its boxes without their scores; its `filter_proposals` returns both.
    """
    recorded: dict[str, Any] = {}
    filter_proposals = model.rpn.filter_proposals

    def record_detections(_module: Any, _inputs: Any, result: Any) -> None:
        # A copy: postprocessing writes into the same dict.
        recorded["roi_heads"] = dict(result[0][0])

    def record_proposals(proposals: Any, logits: Any, sizes: Any, counts: list[int]) -> Any:
        recorded["level_cutoffs"] = _level_cutoffs(
            logits.flatten(), counts, model.rpn.pre_nms_top_n()
        )
        recorded["filter_proposals"] = filter_proposals(proposals, logits, sizes, counts)
        return recorded["filter_proposals"]

    def record(name: str) -> Any:
        return lambda _module, _inputs, result: recorded.update({name: result})

    hooks = [
        model.transform.register_forward_hook(record("transform")),
        model.backbone.register_forward_hook(record("backbone")),
        model.roi_heads.register_forward_hook(record_detections),
    ]
    model.rpn.filter_proposals = record_proposals
    try:
        yield recorded
    finally:
        del model.rpn.filter_proposals  # restores the method of the class
        for hook in hooks:
            hook.remove()


def _level_cutoffs(logits: torch.Tensor, counts: list[int], cap: int) -> tuple[float, ...]:
    """The lowest score that enters NMS, for each level with more than `cap` anchors."""
    levels = [level for level in torch.split(logits, counts) if len(level) > cap]
    return tuple(float(level.topk(cap).values[-1].sigmoid()) for level in levels)
