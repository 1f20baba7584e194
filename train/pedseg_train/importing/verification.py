"""The user's own model: what it is set to, and whether the import detects the same.

def build():                       # SCRIPT.py:build
    model = get_model_instance_segmentation(num_classes=2)
    model.load_state_dict(torch.load("model.pth", weights_only=True))
    return model
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FrozenBatchNorm2d

from pedseg_runtime.errors import InputError, ParityError
from pedseg_runtime.parity import ParityReport, compare

from ..eager import EagerSegmenter
from .files import StateDict
from .reading import canonical, unwrapped
from .recognition import COUNTER

Image = NDArray[np.uint8]
_NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.GroupNorm)


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image to compare on, uint8 [H, W, 3] RGB, and what to call it."""

    name: str
    image: Image


# What decides detections and stands in no tensor. The first are in a checkpoint's header, by its
# keys; the others are the same for every network of pedseg's.
_KEPT: dict[str, Callable[[MaskRCNN], Any]] = {
    "min_size": lambda m: int(m.transform.min_size[-1]),  # the one that inference takes
    "max_size": lambda m: int(m.transform.max_size),
    "score_threshold": lambda m: float(m.roi_heads.score_thresh),
    "nms_threshold": lambda m: float(m.roi_heads.nms_thresh),
    "detections_per_image": lambda m: int(m.roi_heads.detections_per_img),
    "anchor_sizes": lambda m: tuple(
        sizes[0] if len(sizes) == 1 else tuple(sizes) for sizes in m.rpn.anchor_generator.sizes
    ),
    "norm_eps": lambda m: _eps_of(m.backbone.body),
}
_FIXED: dict[str, Callable[[MaskRCNN], Any]] = {
    "eps of pyramid and heads": lambda m: (_eps_of(m.backbone.fpn), _eps_of(m.roi_heads)),
    "anchor ratios": lambda m: tuple(map(tuple, m.rpn.anchor_generator.aspect_ratios)),
    "image_mean": lambda m: tuple(m.transform.image_mean),
    "image_std": lambda m: tuple(m.transform.image_std),
    "size_divisible": lambda m: m.transform.size_divisible,
    "rpn_pre_nms_top_n_test": lambda m: m.rpn._pre_nms_top_n["testing"],
    "rpn_post_nms_top_n_test": lambda m: m.rpn._post_nms_top_n["testing"],
    "rpn_nms_thresh": lambda m: m.rpn.nms_thresh,
    "rpn_score_thresh": lambda m: m.rpn.score_thresh,
    "rpn box weights": lambda m: tuple(m.rpn.box_coder.weights),
    "bbox_reg_weights": lambda m: tuple(m.roi_heads.box_coder.weights),
    "box_roi_pool": lambda m: _pool(m.roi_heads.box_roi_pool),
    "mask_roi_pool": lambda m: _pool(m.roi_heads.mask_roi_pool),
}


def load_user_model(target: str) -> MaskRCNN:
    """The Mask R-CNN that a function of a script builds; the user's code is run.

    Args:
        target: `SCRIPT.py:FUNCTION`; the function takes nothing and gives a module that is or
            contains torchvision's `MaskRCNN` with its weights loaded.

    Raises:
        InputError: no such script or function, it raised, or gave something else.
    """
    script, _, function = target.rpartition(":")
    path = Path(script)
    if not script or not function.isidentifier():
        raise InputError(f"verify-against: expected SCRIPT.py:FUNCTION, found {target!r}")
    if not path.is_file():
        raise InputError(f"verify-against: {path}: no such file; expected a Python script")
    with _importable(path.parent):
        try:
            module = _run(path)
            build = getattr(module, function, None)
            if not callable(build):
                names = [
                    n for n, v in vars(module).items() if callable(v) and not n.startswith("_")
                ]
                raise InputError(
                    f"verify-against: {path} has no function {function!r}; "
                    f"it has {', '.join(names) or 'none'}"
                )
            built = build()
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # the user's code can fail in any way
            raise InputError(
                f"verify-against: {target} failed at {_place(error, path)} "
                f"({type(error).__name__}: {_first_line(error)})"
            ) from error
    for candidate in built.modules() if isinstance(built, nn.Module) else ():
        if isinstance(candidate, MaskRCNN):
            return candidate
    raise InputError(
        f"verify-against: expected {target} to return torchvision's MaskRCNN or a module around "
        f"it, found {type(built).__name__}"
    )


def settings_of(model: MaskRCNN) -> dict[str, Any]:
    """What the header of a checkpoint keeps of a model's settings, by its keys."""
    return {name: read(model) for name, read in _KEPT.items()}


def check_settings(user: MaskRCNN, ours: MaskRCNN) -> None:
    """Refuse a difference that no tensor shows.

    Raises:
        InputError: the settings that differ, with both values.
    """
    differing = [
        f"{name} {_read(read, user)} instead of {_read(read, ours)}"
        for name, read in (_KEPT | _FIXED).items()
        if _read(read, user) != _read(read, ours)
    ]
    if differing:
        raise InputError(
            f"verify-against: your model has {'; '.join(differing)}; leave out options that "
            "contradict it; anchor ratios, colours, RPN and pooling are fixed in pedseg"
        )


def check_tensors(user: MaskRCNN, tensors: StateDict, source: str) -> None:
    """Refuse a model of the user's that holds other weights than the file.

    Raises:
        InputError: which tensors differ.
    """
    state = canonical({unwrapped(name): t for name, t in user.state_dict().items()})
    differing = [
        name
        for name in sorted(state.keys() | tensors.keys())
        if not name.endswith(COUNTER)
        and (
            name not in state
            or name not in tensors
            or not torch.equal(state[name].detach().cpu().float(), tensors[name])
        )
    ]
    if differing:
        raise InputError(
            f"verify-against: expected your model to hold the weights of {source}, found "
            f"{len(differing)} tensors that differ (first {', '.join(differing[:3])}); does the "
            "function load that file?"
        )


def verify_import(
    user: MaskRCNN, ours: MaskRCNN, class_names: tuple[str, ...], images: Sequence[NamedImage]
) -> ParityReport:
    """Hold the import's detections against those of the user's model, both eager on the CPU.

    Where neither detects anything above its threshold, both are run again without one, so that
    something is compared.

    Raises:
        ParityError: they differ.
    """
    report = _compare(user, ours, class_names, images)
    if not (report.counts.reference or report.counts.candidate):
        with _without_threshold(user), _without_threshold(ours):
            report = _compare(user, ours, class_names, images)
    if not report:
        raise ParityError(
            f"the import detects otherwise than your model and was not kept: {report.summary()}",
            report,
        )
    return report


def _compare(
    user: MaskRCNN, ours: MaskRCNN, class_names: tuple[str, ...], images: Sequence[NamedImage]
) -> ParityReport:
    sides = [EagerSegmenter(model, class_names=class_names, paste=False) for model in (user, ours)]
    expected, found = ([side(one.image) for one in images] for side in sides)
    return compare(
        expected,
        found,
        score_threshold=ours.roi_heads.score_thresh,
        nms_threshold=ours.roi_heads.nms_thresh,
        detections_per_image=ours.roi_heads.detections_per_img,
        names=[one.name for one in images],
    )


@contextlib.contextmanager
def _without_threshold(model: MaskRCNN) -> Iterator[None]:
    before = model.roi_heads.score_thresh
    model.roi_heads.score_thresh = -1.0  # a score of exactly 0 is not above 0
    try:
        yield
    finally:
        model.roi_heads.score_thresh = before


def _eps_of(part: nn.Module) -> Any:
    """The one eps of all norms in a part of the network, or every one if there are several."""
    found = sorted({module.eps for module in part.modules() if isinstance(module, _NORMS)})
    return found[0] if len(found) == 1 else tuple(found)


def _pool(pool: Any) -> tuple[Any, ...]:
    return tuple(pool.output_size), pool.sampling_ratio, pool.canonical_scale, pool.canonical_level


def _read(read: Callable[[MaskRCNN], Any], model: MaskRCNN) -> Any:
    """A setting, or a word where the user's own class has no such attribute."""
    try:
        return read(model)
    except (AttributeError, KeyError, TypeError, IndexError):
        return "unreadable"


def _run(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"verify-against: {path}: expected a Python script")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a script import its neighbours; what it prints goes to standard error."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(place)


def _place(error: BaseException, path: Path) -> str:
    """`line 12`: the last line of the user's script on the way to the error."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path
    ]
    return f"line {lines[-1]}" if lines else "its start"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
