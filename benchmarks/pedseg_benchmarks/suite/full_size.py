"""A full-size network without training or downloads: random weights that behave.

    python -m pedseg_benchmarks.suite.full_size full.safetensors --picture street.png

torchvision's `maskrcnn_resnet50_fpn` does the same work whatever its weights are, except for what
it finds. Random weights alone would let activations grow from block to block, and every proposal
score nearly the same. Here the batch norm takes its statistics from generated streets, as training
would give it, the predictors start small, and the score threshold is set so that three to five
detections are left on the first street. What the boxes contain is meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import PIL.Image
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from pedseg_export.verification import Image, generated_street
from pedseg_runtime.console import Command, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing
from pedseg_train.architectures import ARCHITECTURES, BATCH_NORM, assemble
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.eager import EagerSegmenter
from pedseg_train.heads import initialise_heads

ARCHITECTURE = "maskrcnn_resnet50_fpn"
CLASSES = ("background", "person")
FEWEST, MOST = 3, 5  # detections on the first street
STREETS = 4
# Differences of float32 between two libraries grow through a random network; predictors of this
# size keep them a tenth of what parity allows.
SPREAD = {"rpn": 0.01, "box": 0.001, "mask": 0.005}


def full_size(height: int, width: int, *, seed: int = 1) -> tuple[MaskRCNN, Image]:
    """The network in eval mode on the CPU, and the street it finds three to five things on.

    Args:
        height, width: of the streets, in pixels.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    streets = [generated_street(number, height, width, people=True) for number in range(STREETS)]
    model = assemble(
        ARCHITECTURES[ARCHITECTURE],
        num_classes=len(CLASSES),
        norm=BATCH_NORM,
        min_size=800,
        max_size=1333,
        score_threshold=0.0,
        nms_threshold=0.5,
        detections_per_image=100,
    )
    initialise_heads(model)
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=SPREAD["rpn"])
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=SPREAD["box"])
    nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=SPREAD["mask"])
    learn_statistics(model, streets)
    model.eval()
    scores = EagerSegmenter(model, class_names=CLASSES)(streets[0]).scores
    model.roi_heads.score_thresh = threshold_for(scores)
    return model, streets[0]


def learn_statistics(model: MaskRCNN, images: Sequence[Image]) -> None:
    """Let the backbone's batch norm take mean and variance from images of one size."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average over all batches
    pixels = torch.stack([torch.from_numpy(image.copy()) for image in images])
    mean = torch.tensor(model.transform.image_mean).view(1, 3, 1, 1)
    std = torch.tensor(model.transform.image_std).view(1, 3, 1, 1)
    model.train()
    with torch.no_grad():
        model.backbone((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)


def threshold_for(scores: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    """Between two scores, descending, where the gap is widest, so that 3 to 5 are above it."""
    if len(scores) <= MOST:
        raise InputError(
            f"full size: expected more than {MOST} detections without a threshold, found "
            f"{len(scores)}; use another --seed"
        )
    gaps = scores[FEWEST - 1 : MOST] - scores[FEWEST : MOST + 1]
    place = FEWEST - 1 + int(np.argmax(gaps))
    return float((scores[place] + scores[place + 1]) / 2)


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--picture", type=click.Path(path_type=Path), required=True, help="The street.")
@click.option("--height", default=397, show_default=True)
@click.option("--width", default=492, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(checkpoint: Path, picture: Path, height: int, width: int, seed: int) -> None:
    """Write CHECKPOINT, a full-size network with random weights, and a street for it."""
    model, street = full_size(height, width, seed=seed)
    with replacing(picture) as temporary:
        PIL.Image.fromarray(street).save(temporary)
    header = CheckpointHeader.of(model, architecture=ARCHITECTURE, class_names=CLASSES)
    save_checkpoint(checkpoint, model, header)
    output.print(f"wrote {checkpoint} and {picture}", markup=False)


if __name__ == "__main__":
    main()
