"""Starting weights: finding them and loading them into a network.

"coco"      torchvision's detection weights, where it has some for the architecture
"imagenet"  torchvision's classification weights for the backbone
"none"      random weights
a path      a pedseg checkpoint, a torchvision detection state dict, or a backbone's state dict;
            the eps of frozen norms is 1e-5 unless something proves another, see `importing`
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.errors import CheckpointError, DownloadError, InputError

from .architectures import (
    ANCHOR_SIZES,
    ARCHITECTURES,
    BATCH_NORM,
    FROZEN,
    Architecture,
    Norm,
)
from .checkpoint import SUFFIX, is_foreign, read_header, read_tensors
from .importing.frozen_norm import WITHOUT_EPS, proven_eps
from .importing.reading import read_weights

_CLASS_BIAS = "roi_heads.box_predictor.cls_score.bias"
_MASK_LOGITS = "roi_heads.mask_predictor.mask_fcn_logits.weight"


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Starting weights and what they require of the network.

    Attributes:
        source: name or file, for messages.
        norm: the backbone's normalisation that they need.
        tensors: state dict with the names of `MaskRCNN.state_dict()` or of a backbone alone.
        anchor_sizes: the anchors that they were trained with; None for any.
        doubt: what had to be assumed about them, one line.
    """

    source: str
    norm: Norm
    tensors: Mapping[str, torch.Tensor]
    anchor_sizes: tuple[int, ...] | None = None
    doubt: str = ""

    @property
    def num_classes(self) -> int | None:
        """Number of labels of the box predictor, None where there is no box predictor."""
        bias = self.tensors.get(_CLASS_BIAS)
        return None if bias is None else len(bias)

    @property
    def mask_width(self) -> int | None:
        """Hidden channels of the mask predictor, None where there is none."""
        logits = self.tensors.get(_MASK_LOGITS)
        return None if logits is None else logits.shape[1]


def find_pretrained(architecture: Architecture, weights: str | Path) -> Pretrained | None:
    """Fetch or read the starting weights that `weights` names; None for "none".

    Raises:
        CheckpointError: a file that holds no usable weights.
        DownloadError: torchvision's weights could not be fetched.
        InputError: the architecture has no such weights, or `weights` is neither a name nor a file.
    """
    if weights == "none":
        return None
    norm = BATCH_NORM if architecture.normalised else FROZEN
    if weights in ("imagenet", "coco"):
        kind = "backbone_weights" if weights == "imagenet" else "detection_weights"
        found = getattr(architecture, kind)
        if found is None:
            available = [a.name for a in ARCHITECTURES.values() if getattr(a, kind) is not None]
            raise InputError(
                f"weights: torchvision has no {weights} weights for {architecture.name}, only for "
                f'{", ".join(available)}; use "none" or a file'
            )
        if found is WITHOUT_EPS:
            norm = Norm(norm.kind, eps=0.0)
        anchors = ANCHOR_SIZES if weights == "coco" else None
        return Pretrained(str(weights), norm, _download(found), anchors)
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f'weights: expected "coco", "imagenet", "none" or a file, found {str(weights)!r}'
        )
    if path.suffix == SUFFIX and not is_foreign(path):
        return _from_checkpoint(architecture, path)
    return _from_file(path, norm)


def load_pretrained(model: MaskRCNN, pretrained: Pretrained) -> tuple[int, int]:
    """Copy every tensor that fits into `model`.

    Returns:
        (loaded, total): number of the model's tensors loaded, and of all.

    Raises:
        CheckpointError: no tensor fits.
    """
    own = model.state_dict()
    state = _match_names(pretrained.tensors, own)
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if name not in own or own[name].shape == tensor.shape
    }
    missing, _ = model.load_state_dict(fitting, strict=False)
    names = [name for name in own if not name.endswith("num_batches_tracked")]
    loaded = len(names) - len(set(names) & set(missing))
    if loaded == 0:
        raise CheckpointError(
            f"{pretrained.source}: none of its {len(state)} tensors fits the network's "
            f"{len(names)} (first found: {next(iter(state), 'nothing')}); "
            "use weights of the same architecture"
        )
    return loaded, len(names)


def _download(weights: Any) -> Mapping[str, torch.Tensor]:
    """The weights that torchvision offers, from its cache or the network."""
    try:
        # torch.hub announces the download on standard output, which belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            state: Mapping[str, torch.Tensor] = weights.get_state_dict(
                progress=True, check_hash=True
            )
    except (OSError, RuntimeError) as error:  # URLError is an OSError, a wrong hash a RuntimeError
        raise DownloadError(
            f"{weights.url}: could not be fetched ({error}); check the network, or fetch the file "
            "elsewhere and pass its path as weights"
        ) from error
    return state


def _from_checkpoint(architecture: Architecture, path: Path) -> Pretrained:
    header = read_header(path)
    if header.architecture != architecture.name:
        raise InputError(
            f"{path}: expected a checkpoint of {architecture.name}, found one of "
            f"{header.architecture}; choose that architecture"
        )
    return Pretrained(
        str(path), Norm(header.norm, header.norm_eps), read_tensors(path), header.anchor_sizes
    )


def _from_file(path: Path, norm: Norm) -> Pretrained:
    state = read_weights(path).tensors
    if norm != FROZEN or _CLASS_BIAS not in state:
        return Pretrained(str(path), norm, state)
    proven = proven_eps(path, state)
    if proven:
        return Pretrained(str(path), Norm(FROZEN.kind, proven[0]), state)
    doubt = (
        f"{path}: the eps of its frozen norms is in no tensor, {norm.eps:g} is assumed; "
        "pedseg-import computes whether that matters and makes a checkpoint with the right one"
    )
    return Pretrained(str(path), norm, state, doubt=doubt)


def _match_names(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Rename `state` by the scheme that matches most of a detector's own names."""
    namings: tuple[Callable[[str], str], ...] = (
        lambda name: name,
        lambda name: f"backbone.body.{name}",
        lambda name: f"backbone.body.{name.removeprefix('features.')}",
    )
    renamed = [{naming(name): tensor for name, tensor in state.items()} for naming in namings]
    return max(renamed, key=lambda candidate: len(candidate.keys() & own.keys()))
