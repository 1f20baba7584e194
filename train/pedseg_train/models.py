"""Build a Mask R-CNN to be trained on given classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

from pedseg_runtime.console import suggestion
from pedseg_runtime.errors import InputError

from .architectures import (
    ANCHOR_SIZES,
    ARCHITECTURES,
    Architecture,
    Norm,
    assemble,
    freeze_stem,
)
from .components import initialise_heads
from .pretrained import find_pretrained, load_pretrained
from .recipes import Recipe

__all__ = ["ARCHITECTURES", "Architecture", "build_for", "build_model", "find_architecture"]

MASK_PREDICTOR_HIDDEN = 256


def find_architecture(name: str) -> Architecture:
    """The registered architecture of that name.

    Raises:
        InputError: there is none; the message suggests the closest.
    """
    if name not in ARCHITECTURES:
        raise InputError(
            f"architecture {name!r} is not known; {suggestion(name, [*ARCHITECTURES])}"
        )
    return ARCHITECTURES[name]


def build_model(
    name: str,
    *,
    class_names: tuple[str, ...] = ("background", "person"),
    weights: str | Path = "none",
    min_size: int = 800,
    max_size: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
    anchor_sizes: tuple[int, ...] = ANCHOR_SIZES,
    box_batch: int = 512,
    proposals: int = 2000,
    notify: Callable[[str], object] | None = None,
) -> MaskRCNN:
    """Build a Mask R-CNN in train mode on the CPU, ready to be trained on `class_names`.

    With trained weights the batch norm keeps its statistics and the stem is frozen, as in
    torchvision's builders. Trained predictors for another number of classes are replaced by new
    ones (hidden width 256), as in torchvision's fine-tuning tutorial.

    Args:
        name: a name of `ARCHITECTURES`.
        class_names: one name per label, background first.
        weights: "coco", "imagenet", "none" or a path, see `pretrained`.
        min_size: target of the shorter image side in pixels, torchvision's resize rule.
        max_size: limit of the longer image side in pixels.
        score_threshold: detections with a lower score are dropped.
        nms_threshold: IoU above which the lower-scoring box of a class is dropped.
        detections_per_image: at most so many detections are kept.
        anchor_sizes: anchor side in resized pixels per pyramid level; detection
            weights bring their own.
        box_batch: boxes per image that the box head sees in training.
        proposals: region proposals per image in training.
        notify: called with one line each on the tensors loaded and on what was assumed of them.

    Raises:
        InputError: an unknown architecture, weights that do not exist for it, or impossible sizes.
        CheckpointError: a weights file that cannot be used.
        DownloadError: weights that could not be fetched.
    """
    architecture = find_architecture(name)
    if len(class_names) < 2:
        raise InputError(f"class_names: expected background and one more, found {class_names}")
    pretrained = find_pretrained(architecture, weights)
    trained_classes = pretrained.num_classes if pretrained else None
    model = assemble(
        architecture,
        num_classes=trained_classes or len(class_names),
        norm=pretrained.norm if pretrained else Norm(architecture.scratch_norm),
        min_size=min_size,
        max_size=max_size,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        detections_per_image=detections_per_image,
        anchor_sizes=(pretrained and pretrained.anchor_sizes) or anchor_sizes,
        box_batch=box_batch,
        proposals=proposals,
        mask_width=pretrained.mask_width if pretrained else None,
    )
    if pretrained:
        loaded, total = load_pretrained(model, pretrained)
        freeze_stem(model, architecture)
        if notify and pretrained.doubt:
            notify(pretrained.doubt)
        if notify:
            notify(f"weights {pretrained.source}: {loaded} of the network's {total} tensors loaded")
    if trained_classes is None:
        initialise_heads(model)
    elif trained_classes != len(class_names):
        _replace_predictors(model, len(class_names))
    return model


def build_for(
    recipe: Recipe,
    *,
    class_names: tuple[str, ...] = ("background", "person"),
    notify: Callable[[str], object] | None = None,
) -> MaskRCNN:
    """The network that a recipe trains; further arguments and errors as for `build_model`."""
    return build_model(
        recipe.architecture,
        class_names=class_names,
        weights=recipe.weights,
        min_size=recipe.min_size,
        max_size=recipe.max_size,
        anchor_sizes=recipe.anchor_sizes,
        box_batch=recipe.box_batch,
        proposals=recipe.proposals,
        notify=notify,
    )


def _replace_predictors(model: MaskRCNN, num_classes: int) -> None:
    """Give the box and the mask head new last layers for `num_classes` labels."""
    heads = model.roi_heads
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, num_classes)
    heads.mask_predictor = MaskRCNNPredictor(
        heads.mask_predictor.conv5_mask.in_channels, MASK_PREDICTOR_HIDDEN, num_classes
    )
