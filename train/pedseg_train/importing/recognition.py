"""A state dict's tensors -> the network of the registry that they belong to, all of them.

A network is recognised if names and shapes agree without exception. Anything else is refused with
the differences to the nearest one, since a network that is almost right detects almost nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from pedseg_runtime.console import suggestion
from pedseg_runtime.errors import CheckpointError, InputError

from ..architectures import ARCHITECTURES, NORM_KINDS, Architecture, Norm, assemble
from .diagnosis import explain
from .files import StateDict
from .reading import MARKER

MASK_LOGITS = "roi_heads.mask_predictor.mask_fcn_logits"
BOX_DELTAS = "roi_heads.box_predictor.bbox_pred"
COUNTER = "num_batches_tracked"  # of training, without a part in inference
_BODY = "backbone.body."

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Network:
    """What the tensors say of the network that they belong to.

    Attributes:
        architecture: registry name.
        num_classes: number of labels, background included.
        norm: kind of the backbone's normalisation, see `architectures.NORM_KINDS`.
        mask_width: hidden channels of the mask predictor.
        assumed: what the network also depends on and no tensor shows, a clause each.
    """

    architecture: str
    num_classes: int
    norm: str
    mask_width: int
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Difference:
    """How a state dict differs from what an architecture expects."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.reshaped)


def recognise(
    tensors: StateDict,
    source: str,
    *,
    architecture: str | None = None,
    norm: str | None = None,
) -> tuple[Network, StateDict, tuple[str, ...]]:
    """Find the network that has exactly these tensors.

    Args:
        tensors: by torchvision's names of today.
        source: the file, for errors.
        architecture: expect this one instead of any.
        norm: kind of the backbone's normalisation, where the tensors would say another.

    Returns:
        The network, its tensors without those that can never matter, and notes of what was left
        out.

    Raises:
        CheckpointError: not a network that pedseg knows; the message says what it seems to be.
        InputError: `architecture` or `norm` is unknown.
    """
    if architecture is not None and architecture not in ARCHITECTURES:
        raise InputError(
            f"architecture {architecture!r} is not known; "
            f"{suggestion(architecture, [*ARCHITECTURES])}"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if MARKER not in shapes or f"{MASK_LOGITS}.weight" not in shapes:
        raise CheckpointError(
            f"{source}: expected torchvision's Mask R-CNN, found {explain(shapes)}"
        )
    tensors, notes = _without_unused_masks(tensors, source)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    network = Network(
        architecture="",
        num_classes=shapes[MARKER][0],
        norm=norm or _norm_kind(shapes, source),
        mask_width=shapes[f"{MASK_LOGITS}.weight"][1],
    )
    candidates = [architecture] if architecture else [*ARCHITECTURES]
    differences = {
        name: _difference(shapes, _expected(ARCHITECTURES[name], network)) for name in candidates
    }
    nearest = min(candidates, key=lambda name: len(differences[name]))
    if len(differences[nearest]):
        raise CheckpointError(
            _refusal(source, shapes, nearest, differences[nearest], asked=architecture is not None)
        )
    network = dataclasses.replace(
        network, architecture=nearest, assumed=_assumed(nearest, network.norm)
    )
    return network, tensors, tuple(notes)


def _without_unused_masks(tensors: StateDict, source: str) -> tuple[StateDict, list[str]]:
    """Check that box and mask predictor agree; masks of labels that no box can get are dropped."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    labels, masks = shapes[MARKER][0], shapes[f"{MASK_LOGITS}.weight"][0]
    boxes = shapes.get(f"{BOX_DELTAS}.weight", (0,))[0]
    if labels < 2 or boxes != 4 * labels:
        raise CheckpointError(
            f"{source}: expected a box predictor with background, one class or more, and four box "
            f"deltas for each, found {labels} labels and {boxes} deltas; class-agnostic boxes and "
            "predictors of other kinds are not torchvision's Mask R-CNN"
        )
    if masks == labels:
        return tensors, []
    if masks < labels:
        raise CheckpointError(
            f"{source}: expected a mask for each of the box predictor's {labels} labels, found "
            f"{masks}; a box of label {masks} or more would have no mask: was the box predictor "
            "replaced for your classes?"
        )
    kept = dict(tensors)
    for part in ("weight", "bias"):
        if f"{MASK_LOGITS}.{part}" in kept:
            kept[f"{MASK_LOGITS}.{part}"] = tensors[f"{MASK_LOGITS}.{part}"][:labels].clone()
    note = (
        f"left out the masks of {masks - labels} labels: the mask predictor has {masks}, the box "
        f"predictor only {labels}, so that no box can have them"
    )
    return kept, [note]


def _norm_kind(shapes: Shapes, source: str) -> str:
    """The kind of norm that a backbone's names show; `NORM_KINDS` says what there is."""
    body = {name.rpartition(".")[2] for name in shapes if name.startswith(_BODY)}
    frozen, trained, group = NORM_KINDS
    if "running_var" not in body and any(
        name.endswith("bn1.weight") and name.startswith(_BODY) for name in shapes
    ):
        # Group norm has no statistics, and neither has batch norm whose buffers were not saved.
        raise CheckpointError(
            f"{source}: expected the running statistics of the backbone's norms, found none; save "
            f"model.state_dict() instead of parameters alone, or say --norm {group} if it has "
            "group norm"
        )
    if COUNTER in body:
        return trained
    return frozen


def _expected(architecture: Architecture, network: Network) -> Shapes:
    with torch.device("meta"):
        model = assemble(
            architecture,
            num_classes=network.num_classes,
            norm=Norm(network.norm),
            mask_width=network.mask_width,
        )
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _difference(found: Shapes, expected: Shapes) -> _Difference:
    def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if not name.endswith(COUNTER))

    return _Difference(
        missing=sorted_names(name for name in expected if name not in found),
        extra=sorted_names(name for name in found if name not in expected),
        reshaped=sorted_names(
            name for name in expected if name in found and found[name] != expected[name]
        ),
    )


def _refusal(
    source: str, shapes: Shapes, nearest: str, difference: _Difference, *, asked: bool
) -> str:
    """Expected, found and what to do, with the first names of every kind of difference."""
    parts = [
        f"{len(names)} {kind} (first {', '.join(names[:3])})"
        for kind, names in (
            ("missing", difference.missing),
            ("unknown", difference.extra),
            ("of another shape", difference.reshaped),
        )
        if names
    ]
    expected = nearest if asked else f"one of {', '.join(ARCHITECTURES)}"
    against = "against it" if asked else f"against the nearest, {nearest},"
    return (
        f"{source}: expected the tensors of {expected}, found {explain(shapes)}; {against} "
        f"{', '.join(parts)}"
    )


def _assumed(architecture: str, norm: str) -> tuple[str, ...]:
    """What two networks with the same tensors can still differ in, beside the resize rule."""
    ratios = ", ".join(f"{ratio:g}" for ratio in ARCHITECTURES[architecture].anchor_ratios)
    assumed = [f"anchor ratios {ratios}", "ImageNet's mean and deviation of colours"]
    if norm == "group_norm":
        assumed.append("32 groups per group norm, or the largest number that divides both")
    if "mobilenet" in architecture:
        stages = ", ".join(name for name, _ in ARCHITECTURES[architecture].stages)
        assumed.append(f"pyramid over the layers {stages} of the backbone")
    return tuple(assumed)
