"""What eager torchvision passes from stage to stage, under the names that the graph gives it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from pedseg_train.eager import float32_only

from ..graph.taps import (
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
NO_PROPOSAL = -1.0  # the score of an empty place

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """One image on its way through eager torchvision.

    Attributes:
        values: by name, as the graph lays them out for a batch of one:
            `stage.pixels` float32 [1, 3, h', w'], the network's input;
            `stage.features.0`, ... float32 [1, C, h, w], finest first;
            `stage.proposals.boxes` float32 [1, K, 4] and `.scores` [1, K], filled up with -1;
            `stage.boxes` float32 [D, 4] in pixels of the resized image, `labels` int64 [D],
            `scores` float32 [D], `image_index` int64 [D], `roi_masks` float32 [D, 28, 28];
            `boxes` float32 [D, 4] in pixels of the image.
        resized: height and width of the resized image, without its padding.
        soft_masks: float32 [D, H, W], pasted and not yet thresholded.
        level_cuts: per pyramid level, the lowest score that went to NMS; only of levels with
            more anchors than may.
    """

    values: Arrays
    resized: tuple[int, int]
    soft_masks: NDArray[np.float32]
    level_cuts: tuple[float, ...]


class EagerPassages:
    """Runs torchvision's own `MaskRCNN.forward` on one image at a time and keeps what passes."""

    def __init__(self, model: MaskRCNN, device: torch.device) -> None:
        self.model = model
        self.device = device

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Passage:
        """Run uint8 [H, W, 3] RGB."""
        tensor = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1).float() / 255
        with float32_only(), _watched(self.model) as seen:
            (final,) = self.model([tensor])
        images, _ = seen["transform"]
        found = seen["roi_heads"]
        (boxes,), (scores,) = seen["filter_proposals"]
        places = self.model.rpn.post_nms_top_n() - len(boxes)
        values = {
            PIXELS: images.tensors,
            PROPOSAL_BOXES: torch.nn.functional.pad(boxes, [0, 0, 0, places])[None],
            PROPOSAL_SCORES: torch.nn.functional.pad(scores, [0, places], value=NO_PROPOSAL)[None],
            BOXES: found["boxes"],
            LABELS: found["labels"],
            SCORES: found["scores"],
            IMAGE_INDEX: torch.zeros_like(found["labels"]),
            ROI_MASKS: found["masks"][:, 0],
            FINAL_BOXES: final["boxes"],
        }
        for level, feature in enumerate(seen["backbone"].values()):
            values[f"{FEATURES}.{level}"] = feature
        return Passage(
            values={name: value.cpu().numpy() for name, value in values.items()},
            resized=images.image_sizes[0],
            soft_masks=final["masks"][:, 0].cpu().numpy(),
            level_cuts=seen["level_cuts"],
        )


def of_batch(values: Arrays, count: int) -> dict[str, NDArray[Any]]:
    """What a batch of `count` times the same image passes on, from the values of one."""
    batch = {name: np.concatenate([value] * count) for name, value in values.items()}
    batch[IMAGE_INDEX] = np.repeat(np.arange(count), len(values[IMAGE_INDEX]))
    return batch


@contextlib.contextmanager
def _watched(model: MaskRCNN) -> Iterator[dict[str, Any]]:
    """Keep what torchvision's modules return, by the name of the module.

    `rpn` returns its boxes without their scores; its `filter_proposals` returns both.
    """
    seen: dict[str, Any] = {}
    choose = model.rpn.filter_proposals

    def keep_detections(_module: Any, _inputs: Any, result: Any) -> None:
        # A copy: postprocessing writes into the same dict.
        seen["roi_heads"] = dict(result[0][0])

    def keep_proposals(proposals: Any, logits: Any, sizes: Any, counts: list[int]) -> Any:
        seen["level_cuts"] = _level_cuts(logits.flatten(), counts, model.rpn.pre_nms_top_n())
        seen["filter_proposals"] = choose(proposals, logits, sizes, counts)
        return seen["filter_proposals"]

    def keep(name: str) -> Any:
        return lambda _module, _inputs, result: seen.update({name: result})

    hooks = [
        model.transform.register_forward_hook(keep("transform")),
        model.backbone.register_forward_hook(keep("backbone")),
        model.roi_heads.register_forward_hook(keep_detections),
    ]
    model.rpn.filter_proposals = keep_proposals
    try:
        yield seen
    finally:
        del model.rpn.filter_proposals  # the method of the class shows again
        for hook in hooks:
            hook.remove()


def _level_cuts(logits: torch.Tensor, counts: list[int], most: int) -> tuple[float, ...]:
    """The lowest score of those that go to NMS, for each level that has more than `most`."""
    levels = [level for level in torch.split(logits, counts) if len(level) > most]
    return tuple(float(level.topk(most).values[-1].sigmoid()) for level in levels)
