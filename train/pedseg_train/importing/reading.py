"""Files of weights as other programs save them -> state dicts with torchvision's names.

No code in a file is run. Trainers save more than tensors (arguments, paths, numbers of numpy,
hyperparameters), so every class that `torch.load(weights_only=True)` does not know is replaced by
an inert stand-in; the tensors beside it can then be read.
"""

from __future__ import annotations

import re
import shlex
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pedseg_runtime.errors import CheckpointError, InputError

from ..checkpoint import HEADER_KEY, is_checkpoint

StateDict = dict[str, torch.Tensor]

MARKER = "roi_heads.box_predictor.cls_score.weight"  # every two-stage detector of torchvision's
TOP_LEVEL = "the top level"
_DEPTH = 3  # of dictionaries in dictionaries
# Wrappers of torch's own; no module of torchvision's detectors has such a name.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Files of torch < 1.6 do not list their classes; these are the ones that training scripts save.
_USUAL_CLASSES = ("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath")
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


def read_state_dicts(path: Path) -> dict[str, StateDict]:
    """Every state dict in a file by its place, e.g. `model`; names as they stand there.

    Raises:
        CheckpointError: as `read_weights`.
    """
    _check_kind(path)
    if is_checkpoint(path):
        return {TOP_LEVEL: _read_safetensors(path)}
    content = _load(path)
    found = dict(_state_dicts(content))
    if found:
        return found
    place = _pickled_module(content)
    if place is not None:
        raise CheckpointError(_whole_model(path, place))
    raise CheckpointError(
        f"{path}: expected a state dict (names to tensors), found {_describe(content)}; save "
        "model.state_dict()"
    )


def _check_kind(path: Path) -> None:
    """Name the kinds of files that people have and that hold no state dict."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: expected a file of weights, found {found}; check the path")
    with path.open("rb") as stream:
        start = stream.read(200)
    text = start.lstrip().lower()
    if not start:
        found = "an empty file; copy it again"
    elif text.startswith(b"version https://git-lfs"):
        found = "a pointer of Git LFS instead of the file; run git lfs pull"
    elif text.startswith((b"<!doctype", b"<html")):
        found = "a web page; download the file itself"
    elif text.startswith(b'{"') or text.startswith(b"{\n"):
        found = (
            "JSON; where it is the index of several safetensors files, load and save them as one"
        )
    elif _is_torchscript(path):
        raise CheckpointError(
            f"{path}: expected a state dict, found a TorchScript archive; turn it into one by: "
            f"import torch; torch.save(torch.jit.load({str(path)!r}, map_location='cpu')"
            f".state_dict(), {_renamed(path)!r})"
        )
    else:
        return
    raise CheckpointError(f"{path}: expected a file of weights, found {found}")


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> StateDict:
    try:
        with safe_open(path, framework="pt") as stream:
            if HEADER_KEY in (stream.metadata() or {}):
                raise InputError(
                    f"{path}: expected weights of another program, found a pedseg checkpoint; "
                    f"use it as it is: pedseg-export {shlex.quote(str(path))}"
                )
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected safetensors, found a damaged file ({error}); copy it again"
        ) from error


class _Opaque:
    """In place of an object that is not needed; runs nothing, whatever it is given."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> _Opaque:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class _OpaqueDictionary:
    """The same for dictionaries of classes of their own, to which torch adds items."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


def _load(path: Path) -> Any:
    """What `torch.save` wrote, without running code; foreign objects as stand-ins."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no zip archive: torch < 1.6, or foreign bytes, which torch.load tells
        names = list(_USUAL_CLASSES)
    # What an object is shows only while it is built: numpy's are no dictionaries, others may be.
    guess = [(name, _Opaque if name.startswith("numpy") else _OpaqueDictionary) for name in names]
    for stand_ins in (guess, [(name, _Opaque) for name in names]):
        # A type of its own for each name, since torch takes them as a set.
        known = [(type("StandIn", (kind,), {}), name) for name, kind in stand_ins]
        try:
            with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(known):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler fails in any way it can
            refused = error
    lines = str(refused).strip().splitlines() or [""]
    # torch begins with general advice; what it stumbled over comes later.
    reason = next((line for line in lines if "WeightsUnpickler error" in line), lines[0]).strip()
    raise CheckpointError(
        f"{path}: expected a file that torch.load(weights_only=True) reads, found one that is "
        f"damaged, of another kind, or pickled objects that it refuses "
        f"({type(refused).__name__}: {reason[:120]}); where torch.load reads it where it was "
        f"written, save its state dict there: {_two_lines(path, '')}"
    ) from refused


def _state_dicts(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, StateDict]]:
    """Every dictionary that holds tensors by dotted names, outermost first."""
    if not isinstance(value, Mapping) or depth > _DEPTH:
        return
    tensors = {
        name: tensor.detach()
        for name, tensor in value.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    }
    if any("." in name for name in tensors):
        yield place or TOP_LEVEL, tensors
    for name, inner in value.items():
        yield from _state_dicts(inner, f"{place}/{name}" if place else str(name), depth + 1)


def _networks(
    state_dicts: Mapping[str, StateDict],
) -> Iterator[tuple[str, tuple[StateDict, list[str]]]]:
    """The detectors among state dicts by their place, each with the names that are not its own.

    Without any detector, the largest state dict as it is: its tensors tell what it is instead.
    """
    found = False
    for place, named in state_dicts.items():
        state = {_unwrapped(name): tensor for name, tensor in named.items()}
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
        yield place, ({_unwrapped(name): tensor for name, tensor in named.items()}, [])


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


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _current_name(name: str) -> str:
    layer = _OLD_MASK_LAYER.match(name)
    if layer:
        return f"roi_heads.mask_head.{int(layer[1]) - 1}.0.{layer[2]}"
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def _pickled_module(content: Any, place: str = "", depth: int = 0) -> str | None:
    """Where a whole `nn.Module` is among stand-ins, as an index expression; None without one."""
    if "_modules" in getattr(content, "__dict__", {}):
        return place
    if isinstance(content, Mapping) and depth < _DEPTH:
        for name, inner in content.items():
            found = _pickled_module(inner, f"{place}[{name!r}]", depth + 1)
            if found is not None:
                return found
    return None


def _whole_model(path: Path, place: str) -> str:
    return (
        f"{path}: expected a state dict, found a whole pickled model, whose loading runs code of "
        f"the file; if you trust it, turn it into one where its classes are installed: "
        f"{_two_lines(path, place)}"
    )


def _two_lines(path: Path, place: str) -> str:
    """The lines of Python that save a whole model's state dict."""
    return (
        f"import torch; model = torch.load({str(path)!r}, map_location='cpu', "
        f"weights_only=False){place}; torch.save(model.state_dict(), {_renamed(path)!r})"
    )


def _renamed(path: Path) -> str:
    return str(path.with_name(f"{path.stem}_state_dict.pth"))


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(str(name)[:40] for name in list(content)[:4])
        return f"a dictionary without one (entries: {names or 'none'})"
    return f"a {type(content).__name__}"


def _first(names: list[str]) -> str:
    """`3 tensors (first a, b, c)`."""
    shown = ", ".join(names[:3])
    return f"{len(names)} tensor{'s' * (len(names) != 1)} (first {shown})"
