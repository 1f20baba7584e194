"""Libraries talk a lot while they convert: known noise is dropped, the rest is one line each.

They talk in three ways, and all three are heard here: Python warnings, logging, and plain writes to
standard output and standard error. What pedseg itself and other programs print goes through as it
is. Writes of compiled code, past Python's streams, are not heard.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

LIBRARIES = ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
LONGEST = 160  # characters of a remark


@dataclass(frozen=True)
class Known:
    """A remark that harms nobody, and why.

    Attributes:
        pattern: found in the remark, whoever it is attributed to.
        why: the reason not to tell it.
    """

    pattern: str
    why: str


KNOWN = (
    Known(r"`torch\.jit\.\w+` is deprecated", "TorchScript is what was asked for"),
    Known(
        r"`torch\.jit\.\w+` is not supported in Python",
        "the artifact is compared with eager before it is kept",
    ),
    Known(r"`isinstance\(treespec, LeafSpec\)` is deprecated", "torch says it to itself"),
    Known(r"^\[torch\.onnx\] ", "progress, which pedseg shows itself"),
    Known(
        r"^Attribute type is ambiguous because it is an empty sequence.* Defaulted to INTS",
        "an empty list in the graph is a shape: of integers indeed",
    ),
    Known(
        r"^Please consider (to run )?pre-processing before quantization",
        "the graph comes folded and with its shapes",
    ),
    Known(
        r"^(Collecting tensor data|Finding optimal threshold|Percentile|Number of (tensors|"
        r"histogram bins|quantized bins)) ",
        "progress of the calibration",
    ),
)


@dataclass(frozen=True)
class Remark:
    """What a library said.

    Attributes:
        library: whose words they are.
        text: in one line, at most `LONGEST` characters.
        count: how often it was said, with other numbers perhaps.
        why: why it is not told, None if it is.
    """

    library: str
    text: str
    count: int
    why: str | None

    def __str__(self) -> str:
        return f"{self.library}: {self.text}" + (f" ({self.count} times)" if self.count > 1 else "")


class Overheard:
    """Everything that libraries said, in the order of its first time."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], str] = {}

    def add(self, library: str, text: str) -> None:
        """Note a text; one that differs in its numbers only is the same remark again."""
        line = " ".join(re.sub(r"\x1b\[[\d;]*m", "", text.rpartition("\r")[2]).split())
        if line:
            key = library, re.sub(r"\d[\w.]*", "#", line)
            self._first.setdefault(key, line)
            self._counts[key] = self._counts.get(key, 0) + 1

    def remarks(self) -> list[Remark]:
        """What was said, each once, known noise included."""
        return [
            Remark(key[0], _short(line), self._counts[key], _why_harmless(line))
            for key, line in self._first.items()
        ]


def silent(_line: str) -> None:
    """The listener that does not listen."""


@contextlib.contextmanager
def told_briefly(notify: Callable[[str], object]) -> Iterator[Overheard]:
    """Hear what libraries say inside the block; afterwards tell each unknown remark once.

    Nothing is told if the block raises: the error has the word then. It holds for the whole
    process, as Python's warnings and streams do.

    Args:
        notify: is told `library: what it said` in one line.

    Yields:
        What was heard, known noise included; complete after the block.
    """
    overheard = Overheard()
    with _warnings(overheard), _logging(overheard), _streams(overheard):
        yield overheard
    for remark in overheard.remarks():
        if remark.why is None:
            notify(str(remark))


@contextlib.contextmanager
def _warnings(overheard: Overheard) -> Iterator[None]:
    def hear(message: Warning | str, *_: object) -> None:
        overheard.add(_caller() or "python", str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = hear  # type: ignore[assignment]  # put back by catch_warnings
        yield


@contextlib.contextmanager
def _logging(overheard: Overheard) -> Iterator[None]:
    """Take the libraries' warnings and errors away from every handler there is."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            library = _library(record.pathname)
            if library:
                overheard.add(library, record.getMessage())

    listener = Listener(logging.WARNING)
    every = [logging.root, *logging.root.manager.loggerDict.values()]
    loggers = [logger for logger in every if isinstance(logger, logging.Logger)]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    ends = [logger for logger in loggers if logger is logging.root or not logger.propagate]
    for handler in handlers:
        handler.addFilter(_is_not_heard)
    for logger in ends:
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger in ends:
            logger.removeHandler(listener)
        for handler in handlers:
            handler.removeFilter(_is_not_heard)


def _is_not_heard(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING or _library(record.pathname) is None


@contextlib.contextmanager
def _streams(overheard: Overheard) -> Iterator[None]:
    streams = [_Stream(stream, overheard) for stream in (sys.stdout, sys.stderr)]
    out, err = (cast(TextIO, stream) for stream in streams)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
    for stream in streams:
        stream.end()


class _Stream:
    """A stream that keeps what libraries write to it; all else goes to the stream behind it."""

    def __init__(self, behind: TextIO, overheard: Overheard) -> None:
        self._behind = behind
        self._overheard = overheard
        self._begun: dict[str, str] = {}

    def write(self, text: str) -> int:
        library = _caller(through_pedseg=False)
        if library is None:
            return self._behind.write(text)
        self._begun[library] = self._begun.get(library, "") + text
        if text.endswith("\n"):  # print writes its arguments one by one
            self._overheard.add(library, self._begun.pop(library))
        return len(text)

    def end(self) -> None:
        """Note what was begun without a line's end, such as a progress bar."""
        for library, text in self._begun.items():
            self._overheard.add(library, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def _caller(*, through_pedseg: bool = True) -> str | None:
    """The nearest library among the callers: the one that speaks.

    Args:
        through_pedseg: look beyond pedseg's own code, since a warning of compiled code has no
            frame of its own. What is written where pedseg is nearer is pedseg's; and what a logging
            handler writes is of a lower level than is heard, so somebody asked for it.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not through_pedseg and (module == "logging" or module.startswith("pedseg_")):
            return None
        library = _library(frame.f_code.co_filename)
        if library:
            return library
        frame = frame.f_back
    return None


@functools.cache
def _library(file: str) -> str | None:
    """The library that a source file belongs to, if it is one of `LIBRARIES`."""
    for name in LIBRARIES:
        source = getattr(sys.modules.get(name), "__file__", None)
        if source and Path(source).parent in Path(file).parents:
            return name
    return None


def _why_harmless(line: str) -> str | None:
    return next((known.why for known in KNOWN if re.search(known.pattern, line)), None)


def _short(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
