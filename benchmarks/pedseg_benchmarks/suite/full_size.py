"""A full-size network without training or downloads: random weights that behave.

    python -m pedseg_benchmarks.suite.full_size full.safetensors --streets streets

torchvision's `maskrcnn_resnet50_fpn` does the same work whatever its weights are, except for what
it finds. Random weights alone would let activations grow from block to block, and every proposal
score nearly the same. Here the batch norm takes its statistics from generated streets and the last
layers learn their people (`probes`), so that it finds people on these streets, with few other
detections; the score threshold is set so that three to five are left on the first street. It is no
detector for photographs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import PIL.Image
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import masks_to_boxes

from pedseg_runtime.console import Command, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing
from pedseg_train.architectures import ARCHITECTURES, BATCH_NORM, assemble
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.components import initialise_heads
from pedseg_train.eager import EagerSegmenter
from pedseg_train.synthetic.street import draw_street

from ..contenders import Image
from .layout import calibration_streets, measured_street
from .probes import Example, fit_detector

ARCHITECTURE = "maskrcnn_resnet50_fpn"
CLASSES = ("background", "person")
FEWEST, MOST = 3, 5  # detections on the first street
STREETS = 8  # that it learns
CALIBRATION = 20  # streets of the same kind for int8, the other learnt ones first
BRANCH = 0.2  # of a residual branch's normalised output
FEWEST_COARSE = 4096  # weights of a layer that `coarsen` rounds
MASK_SPREAD = 0.005  # soft masks near one half, where pasting has work to do


def full_size(
    height: int,
    width: int,
    *,
    seed: int = 1,
    architecture: str = ARCHITECTURE,
    min_size: int = 800,
    max_size: int = 1333,
    mantissa_bits: int | None = None,
) -> tuple[MaskRCNN, Image]:
    """The network in eval mode on the CPU, and the street it finds three to five things on.

    Args:
        height: of the streets, in pixels.
        width: of the streets, in pixels.
        seed: of the weights and of the streets.
        architecture: a name of `ARCHITECTURES`.
        min_size: resize rule, the shorter side's target in pixels.
        max_size: resize rule, the longer side's limit in pixels.
        mantissa_bits: of the weights, see `coarsen`; None keeps all.
    """
    torch.manual_seed(seed)
    streets = [street_with_people(seed, number, height, width) for number in range(STREETS)]
    model = assemble(
        ARCHITECTURES[architecture],
        num_classes=len(CLASSES),
        norm=BATCH_NORM,
        min_size=min_size,
        max_size=max_size,
        score_threshold=0.0,
        nms_threshold=0.5,
        detections_per_image=100,
    )
    initialise_heads(model)
    nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=MASK_SPREAD)
    calm(model)
    learn_statistics(model, [image for image, _ in streets])
    fit_detector(model, [_example(image, ids) for image, ids in streets])
    if mantissa_bits is not None:
        coarsen(model, mantissa_bits)
    scores = EagerSegmenter(model, class_names=CLASSES)(streets[0][0]).scores
    model.roi_heads.score_thresh = threshold_for(scores)
    return model, streets[0][0]


def street_with_people(seed: int, number: int, height: int, width: int) -> tuple[Image, Image]:
    """A street with three to five people, uint8 [H, W, 3], and their ids, uint8 [H, W]."""
    scenes = (
        draw_street(np.random.default_rng([seed, number, attempt]), width=width, height=height)
        for attempt in itertools.count()
    )
    return next(scene for scene in scenes if FEWEST <= int(scene[1].max()) <= MOST)


def _example(image: Image, ids: Image) -> Example:
    boxes = masks_to_boxes(torch.from_numpy(ids == np.arange(1, ids.max() + 1)[:, None, None]))
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    return Example(pixels, boxes)


def calm(model: MaskRCNN) -> None:
    """Let every residual branch add little to its stream, as zero-initialised ones do at first.

    Rounding errors then hardly grow on their way through the network: seven times less than with
    branches of full strength, in float32 as in bfloat16.
    """
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, BRANCH)
        elif isinstance(module, BasicBlock):
            nn.init.constant_(module.bn2.weight, BRANCH)


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


@torch.no_grad()
def coarsen(model: MaskRCNN, mantissa_bits: int) -> None:
    """Round the weights of large layers to so many bits after the leading one.

    The network computes in float32 as before, but its file packs to a third. With 4 bits a weight
    is off by 3 % at most, which the fit of the last layers was made to bear (`probes.BLUR`).
    """
    steps = 2 ** (mantissa_bits + 1)
    for weight in model.parameters():
        if weight.numel() >= FEWEST_COARSE:
            fraction, exponent = torch.frexp(weight)
            weight.copy_(torch.ldexp(torch.round(fraction * steps) / steps, exponent))


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
@click.option("--streets", type=click.Path(path_type=Path), required=True, help="Their folder.")
@click.option("--height", default=397, show_default=True)
@click.option("--width", default=492, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--mantissa-bits", type=click.IntRange(1, 23), help="Round weights, to pack small.")
def main(
    checkpoint: Path,
    streets: Path,
    height: int,
    width: int,
    seed: int,
    mantissa_bits: int | None,
) -> None:
    """Write CHECKPOINT, a full-size network without training, and streets for it."""
    model, measured = full_size(height, width, seed=seed, mantissa_bits=mantissa_bits)
    images = {measured_street(streets): measured}
    for number in range(1, 1 + CALIBRATION):
        street, _ = street_with_people(seed, number, height, width)
        images[calibration_streets(streets) / f"street{number:02}.png"] = street
    for path, image in images.items():
        with replacing(path) as temporary:
            PIL.Image.fromarray(image).save(temporary)
    header = CheckpointHeader.of(model, architecture=ARCHITECTURE, class_names=CLASSES)
    save_checkpoint(checkpoint, model, header)
    output.print(f"wrote {checkpoint} and {streets}", markup=False)


if __name__ == "__main__":
    main()
