"""Files of weights as other programs save them -> the state dicts in them.

No code in a file is run. Trainers save more than tensors (arguments, paths, numbers of numpy,
hyperparameters), so every class that `torch.load(weights_only=True)` does not know is replaced by
an inert stand-in; the tensors beside it can then be read.
"""

from __future__ import annotations

import shlex
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pedseg_runtime.errors import CheckpointError, InputError

from ..checkpoint import HEADER_KEY, is_checkpoint

StateDict = dict[str, torch.Tensor]

TOP_LEVEL = "the top level"
_DEPTH = 3  # of dictionaries in dictionaries
# Files of torch < 1.6 do not list their classes; these are the ones that training scripts save.
_USUAL_CLASSES = ("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath")


def read_state_dicts(path: Path) -> dict[str, StateDict]:
    """Every state dict in a file by its place, e.g. `model`; names as they stand there.

    Raises:
        CheckpointError: no such file, a file of another kind, a whole pickled model, no tensors.
        InputError: a checkpoint of pedseg.
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
        known: list[Any] = [(type("StandIn", (kind,), {}), name) for name, kind in stand_ins]
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
