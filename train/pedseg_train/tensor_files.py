"""Tensor files: written atomically, read without running code in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pedseg_runtime.errors import CheckpointError, first_line
from pedseg_runtime.files import replacing


def save_resume_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training (tensors, numbers, strings, lists, dicts), atomically.

    Raises:
        CheckpointError: the file could not be written; a previous one is untouched.
    """
    # Through Python's file, since torch's own errors lack the reason.
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        torch.save(dict(state), stream)


def load_resume_state(path: Path) -> dict[str, Any]:
    """Read what `save_resume_state` wrote; no code in the file is run.

    Raises:
        CheckpointError: the file is missing or no such state.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; a run can be resumed only after it has saved its state, start "
            "it again in a new folder"
        )
    state = load_tensors_only(path)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: expected a resume state, found {type(state).__name__}")
    return state


def load_tensors_only(path: Path) -> Any:
    """Read what `torch.save` wrote, tensors and plain values only; no code is run.

    Raises:
        CheckpointError: torch refuses the file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler fail in any way it can
        raise CheckpointError(
            f"{path}: expected a file that torch.load(weights_only=True) reads, found one that it "
            f"refuses ({type(error).__name__}); save tensors only, such as model.state_dict()"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """As `replacing`, with a CheckpointError for a full disk or a read-only folder.

    Raises:
        CheckpointError: the file could not be written; a previous one is untouched.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    # A full disk is an OSError in Python, a RuntimeError in torch, and safetensors has its own.
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: could not be written ({_reason(error)}); what was saved there before is "
            "intact: free space or change permissions, then continue with --resume"
        ) from error


def _reason(error: Exception) -> str:
    """The operating system's reason, also where torch raised a follow-up error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return first_line(error)
