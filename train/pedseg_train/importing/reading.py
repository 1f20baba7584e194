"""One network's tensors out of a foreign file, by torchvision's names of today.

Trainers wrap a network in modules of their own, whose names stand before those of its tensors, and
save several networks in a file. What is a network is told by the name of its box predictor.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pedseg_runtime.errors import CheckpointError, InputError

from .files import TOP_LEVEL, StateDict, read_state_dicts

MARKER = "roi_heads.box_predictor.cls_score.weight"  # every two-stage detector of torchvision's
# Wrappers of torch's own; no module of torchvision's detectors has such a name.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# torchvision < 0.13 had these names.
_RENAMED = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)
_OLD_MASK_LAYER = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$")


@dataclass(frozen=True, slots=True)
class ForeignWeights:
    """One network's tensors out of a file.

    Attributes:
        path: the file.
        entry: where in the file they were, e.g. `model`, `state_dict/model`, `the top level`.
        tensors: float32 on the CPU by torchvision's names of today; `num_batches_tracked` int64.
        notes: what was changed or left out, a line each.
    """

    path: Path
    entry: str
    tensors: StateDict
    notes: tuple[str, ...] = ()


def read_weights(path: Path, entry: str | None = None) -> ForeignWeights:
    """The weights of one network in a `.pth`, `.pt`, `.ckpt` or safetensors file.

    Args:
        path: told by its content, not by its name.
        entry: which network, where the file holds several; see `ForeignWeights.entry`.

    Raises:
        CheckpointError: no such file, a file of another kind, a whole pickled model, no tensors.
        InputError: `entry` is not in the file, or is needed.
    """
    path = Path(path)
    networks = dict(_networks(read_state_dicts(path)))
    if entry is not None:
        if entry not in networks:
            raise InputError(
                f"{path}: expected --entry to be one of {', '.join(networks)}, found {entry!r}"
            )
        chosen = entry
    else:
        chosen = _only(path, networks)
    tensors, left_out = networks[chosen]
    notes = []
    if left_out:
        notes.append(f"left out {_first(left_out)}: not part of the network {chosen}")
    tensors, changed = _float32(path, tensors)
    return ForeignWeights(path, chosen, canonical(tensors), (*notes, *changed))


def canonical(tensors: Mapping[str, torch.Tensor]) -> StateDict:
    """Tensors by the names that torchvision has had since 0.13; others keep theirs."""
    return {_current_name(name): tensor for name, tensor in tensors.items()}


def _networks(
    state_dicts: Mapping[str, StateDict],
) -> Iterator[tuple[str, tuple[StateDict, list[str]]]]:
    """The detectors among state dicts by their place, each with the names that are not its own.

    Without any detector, the largest state dict as it is: its tensors tell what it is instead.
    """
    found = False
    for place, named in state_dicts.items():
        state = {unwrapped(name): tensor for name, tensor in named.items()}
        if len(state) < len(named):  # the same network with and without a wrapper: leave both
            state = named
        prefixes = [
            name.removesuffix(MARKER) for name in state if f".{name}".endswith(f".{MARKER}")
        ]
        for prefix in prefixes:
            found = True
            own = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            others = [n for n in state if not n.startswith(prefix)]
            if not prefix:  # what else there is at the top is the business of the recognition
                own.pop("n_averaged", None)  # of torch's AveragedModel
            parts = ([] if place == TOP_LEVEL else [place]) + ([prefix[:-1]] if prefix else [])
            yield "/".join(parts) or TOP_LEVEL, (own, others)
    if not found:
        place, named = max(state_dicts.items(), key=lambda item: len(item[1]))
        yield place, ({unwrapped(name): tensor for name, tensor in named.items()}, [])


def _only(path: Path, networks: Mapping[str, tuple[StateDict, list[str]]]) -> str:
    """The place of the only network, or of the first if all are the same."""
    first, *others = networks
    tensors = networks[first][0]
    for other in others:
        state = networks[other][0]
        if tensors.keys() != state.keys() or not all(
            torch.equal(tensors[name], state[name]) for name in tensors
        ):
            raise InputError(
                f"{path}: expected one network, found {len(networks)} that differ: "
                f"{', '.join(networks)}; choose one by --entry {shlex.quote(other)}"
            )
    return first


def _float32(path: Path, tensors: StateDict) -> tuple[StateDict, list[str]]:
    """The same tensors in float32, and a note of what was converted."""
    converted: dict[torch.dtype, int] = {}
    result = {}
    for name, tensor in tensors.items():
        if tensor.is_quantized or tensor.layout != torch.strided or tensor.is_complex():
            raise CheckpointError(
                f"{path}: expected floating-point tensors, found {name} of {tensor.dtype}; "
                "save the network before it was quantised"
            )
        if tensor.is_floating_point():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{path}: expected finite weights, found NaN or infinity in {name}; "
                    "the training diverged, use an earlier checkpoint"
                )
            if tensor.dtype != torch.float32:
                converted[tensor.dtype] = converted.get(tensor.dtype, 0) + 1
            tensor = tensor.float()
        result[name] = tensor
    return result, [
        f"{count} tensors of {dtype} became float32" for dtype, count in converted.items()
    ]


def unwrapped(name: str) -> str:
    """A tensor's name without the parts that torch's wrappers of modules add."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _current_name(name: str) -> str:
    layer = _OLD_MASK_LAYER.match(name)
    if layer:
        return f"roi_heads.mask_head.{int(layer[1]) - 1}.0.{layer[2]}"
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def _first(names: list[str]) -> str:
    """`3 tensors (first a, b, c)`."""
    shown = ", ".join(names[:3])
    return f"{len(names)} tensor{'s' * (len(names) != 1)} (first {shown})"
