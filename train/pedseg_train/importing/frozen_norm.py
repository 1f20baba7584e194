"""The epsilon of frozen batch norm: which one a network was made with, and how much it matters.

torchvision's COCO weights of `maskrcnn_resnet50_fpn` are older than the epsilon of
`FrozenBatchNorm2d`, so that its builder sets 0.0 for them, and for everything that is trained
further from them. All others have 1e-5. No tensor says which. It is taken from what proves it, else
both are computed on these very weights, and where they detect differently the user is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights
from torchvision.ops import FrozenBatchNorm2d

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.parity import FP32, ParityReport, compare

from ..eager import EagerSegmenter
from .files import StateDict
from .reading import canonical

DEFAULT_EPS = 1e-5  # of torch's and torchvision's norms
# These weights were trained before FrozenBatchNorm2d had an epsilon (pytorch/vision#2933).
WITHOUT_EPS = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
NOTICEABLE = 1e-3  # relative change of a norm's factor
FEATURES = 1e-3  # of the pyramid, relative: where nothing is detected, this much matters
# Layers that begin at random unless the whole detector was loaded.
_DETECTOR_LAYERS = ("backbone.fpn.", "rpn.head.conv.", "roi_heads.box_head.")
_NEAR = 0.5  # of the norm of a weight; independent weights are 1 or more apart


@dataclass(frozen=True, slots=True)
class Effect:
    """What an epsilon of 0 instead of 1e-5 changes about a network.

    Attributes:
        channels: of all frozen norms.
        noticeable: channels whose factor changes by more than `NOTICEABLE`.
        largest: change of the factor that changes most, relative.
        features: change of the pyramid's features, relative to their size.
        report: detections with 1e-5 held against those with 0.
    """

    channels: int
    noticeable: int
    largest: float
    features: float
    report: ParityReport

    @property
    def matters(self) -> bool:
        """Whether the two detect differently, beyond what parity allows."""
        if self.report.counts.reference or self.report.counts.candidate:
            return not self.report.passed
        return not self.features <= FEATURES

    def summary(self) -> str:
        """One line of figures."""
        counts = self.report.counts
        fields = ", ".join(f"{f.name} up to {f.max:.2g}" for f in self.report.fields)
        if counts.matched:
            found = f"{counts.matched} detections of both differ in {fields}"
        else:
            found = "no detection of both to compare"
        alone = counts.reference + counts.candidate - 2 * counts.matched
        return (
            f"eps 0 or 1e-5: {self.noticeable} of {self.channels} channels of the frozen norms "
            f"change by more than {NOTICEABLE:.1%} (at most {self.largest:.2g} times), the "
            f"pyramid's features by {self.features:.2g}; on {counts.images} images {found}, "
            f"{alone} are found with one eps only"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        counts = self.report.counts
        return {
            "channels": self.channels,
            "noticeable_channels": self.noticeable,
            "largest_change": _finite(self.largest),
            "features": _finite(self.features),
            "images": counts.images,
            "matched": counts.matched,
            "with_one_eps_only": counts.reference + counts.candidate - 2 * counts.matched,
            **{field.name: field.max for field in self.report.fields},
            "matters": self.matters,
        }


def proven_eps(path: Path, tensors: StateDict) -> tuple[float, str] | None:
    """The epsilon and why, where file, tensors or torchvision's own weights prove it.

    Args:
        path: the file of weights.
        tensors: its tensors by torchvision's names of today.
    """
    if sha256_of(path).startswith(_digest()):
        return 0.0, "the file is torchvision's COCO weights, which want 0"
    for name, tensor in tensors.items():
        if (
            name.startswith("backbone.body.")
            and name.endswith("running_var")
            and (tensor == 0).any()
        ):
            return DEFAULT_EPS, f"{name} has a variance of 0, which an eps of 0 would divide by"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(WITHOUT_EPS.url).name
    if cached.is_file():
        reference = canonical(torch.load(cached, map_location="cpu", weights_only=True))
        distance = distance_from(tensors, reference)
        if distance is not None and distance < _NEAR:
            return 0.0, (
                f"trained further from torchvision's COCO weights, which want 0: pyramid, RPN and "
                f"box head are {distance:.1%} from those in torch's cache"
            )
    return None


def distance_from(tensors: StateDict, reference: StateDict) -> float | None:
    """How far the layers of a detector are from another's: median of relative distances.

    Near 0 where the one was trained further from the other, 1 or more for independent trainings;
    None where the two are not the same network.
    """
    distances = []
    for name, other in reference.items():
        if name.startswith(_DETECTOR_LAYERS) and name.endswith("weight") and other.ndim > 1:
            if name not in tensors or tensors[name].shape != other.shape:
                return None
            distances.append(float((tensors[name] - other).norm() / other.norm()))
    return float(np.median(distances)) if distances else None


def effect_of_eps(
    model: MaskRCNN, names: tuple[str, ...], images: Sequence[NDArray[np.uint8]]
) -> Effect:
    """Run a network with eps 0 and with 1e-5.

    Args:
        model: with frozen norms in its backbone; is as it was afterwards, in eval mode.
        names: one per label, background first.
        images: uint8 [H, W, 3] RGB.
    """
    norms = [m for m in model.backbone.body.modules() if isinstance(m, FrozenBatchNorm2d)]
    variances = torch.cat([norm.running_var.flatten().double() for norm in norms])
    change = (1 + DEFAULT_EPS / variances).sqrt() - 1
    segment = EagerSegmenter(model, class_names=names, paste=False)
    found, features = [], []
    for eps in (0.0, DEFAULT_EPS):
        with _eps(norms, eps), _pyramid(model) as pyramid:
            found.append([segment(image) for image in images])
        features.append(pyramid)
    with_zero, with_default = features
    return Effect(
        channels=len(change),
        noticeable=int((change > NOTICEABLE).sum()),
        largest=float(change.max()) + 1,
        features=max(
            float((b - a).norm() / a.norm().clamp(min=1e-12))
            for a, b in zip(with_zero, with_default, strict=True)
        ),
        report=compare(
            *found,
            tolerances=FP32,
            score_threshold=model.roi_heads.score_thresh,
            nms_threshold=model.roi_heads.nms_thresh,
            detections_per_image=model.roi_heads.detections_per_img,
        ),
    )


def ask_for_eps(source: str, effect: Effect) -> InputError:
    """The question that only the user can answer, with what depends on it."""
    counts = effect.report.counts
    return InputError(
        f"{source}: expected --norm-eps, since the eps of its frozen norms is in no tensor and "
        f"matters here ({effect.noticeable} channels change noticeably, "
        f"{counts.reference + counts.candidate - 2 * counts.matched} of "
        f"{counts.reference + counts.candidate} detections have no partner with the other eps); "
        'use --norm-eps 0 if the network began with maskrcnn_resnet50_fpn(weights="DEFAULT" or '
        "pretrained=True), else --norm-eps 1e-5; --verify-against SCRIPT.py:FUNCTION reads it from "
        "your own model and proves it"
    )


def _digest() -> str:
    """The names of torchvision's files end with the first digits of the file's own digest."""
    return Path(WITHOUT_EPS.url).stem.rpartition("-")[2]


def _finite(value: float) -> float | None:
    """For JSON, which has neither infinity nor NaN."""
    return value if np.isfinite(value) else None


@contextmanager
def _eps(norms: Sequence[FrozenBatchNorm2d], eps: float) -> Iterator[None]:
    before = [norm.eps for norm in norms]
    for norm in norms:
        norm.eps = eps
    try:
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.eps = old


@contextmanager
def _pyramid(model: MaskRCNN) -> Iterator[list[torch.Tensor]]:
    """Collect a sixteenth of the pyramid's features, per level of every image that is seen."""
    levels: list[torch.Tensor] = []
    hook = model.backbone.register_forward_hook(
        lambda _module, _inputs, found: levels.extend(
            level[..., ::4, ::4].double() for level in found.values()
        )
    )
    try:
        yield levels
    finally:
        hook.remove()
