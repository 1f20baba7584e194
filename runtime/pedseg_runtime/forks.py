"""What a forked process may do with what it inherited: nothing.

A fork copies the memory of a process and none of its threads but one. The pools of onnxruntime and
torch then wait for threads that do not exist: a run hangs, and so does taking the model apart,
which would happen at the end of the process at the latest.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, Protocol


class Inheritable(Protocol):
    """What must know that it woke up in a forked process."""

    def _forked(self) -> None:
        """Called in the child, before any other code of it runs."""


_inheritable: weakref.WeakSet[Any] = weakref.WeakSet()


def watch(inheritable: Inheritable) -> None:
    """Call `_forked` of this object in every child that this process forks."""
    _inheritable.add(inheritable)


def never_free(thing: object) -> None:
    """Keep `thing` in memory until the process is gone, also when the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _after_fork() -> None:
    for inheritable in list(_inheritable):
        inheritable._forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_after_fork)
