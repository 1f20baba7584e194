"""Capture what libraries print during a conversion: drop known noise, report the rest once each.

Captured are Python warnings, logging, and writes to standard output and standard error that come
from one of `LIBRARIES`. Everything else, pedseg's own output included, passes through unchanged.
Compiled code that writes past Python's streams is not captured.
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
MAX_LENGTH = 160  # characters of a message


@dataclass(frozen=True)
class KnownNoise:
    """A harmless message.

    Attributes:
        pattern: regular expression, searched in messages of every library.
        reason: why the message is dropped.
    """

    pattern: str
    reason: str


KNOWN_NOISE = (
    KnownNoise(r"`torch\.jit\.\w+` is deprecated", "TorchScript is what was asked for"),
    KnownNoise(
        r"`torch\.jit\.\w+` is not supported in Python",
        "the artifact is compared with eager before it is kept",
    ),
    KnownNoise(r"`isinstance\(treespec, LeafSpec\)` is deprecated", "torch warns of its own code"),
    KnownNoise(r"^\[torch\.onnx\] ", "progress, which pedseg shows itself"),
    KnownNoise(
        r"^Attribute type is ambiguous because it is an empty sequence.* Defaulted to INTS",
        "every empty list in the graph is a shape, hence of integers",
    ),
    KnownNoise(
        r"^Please consider (to run )?pre-processing before quantization",
        "constants are folded and shapes inferred before",
    ),
    KnownNoise(
        r"^(Collecting tensor data|Finding optimal threshold|Percentile|Number of (tensors|"
        r"histogram bins|quantized bins)) ",
        "progress of the calibration",
    ),
)


@dataclass(frozen=True)
class LibraryMessage:
    """A message of a library.

    Attributes:
        library: its source.
        text: one line of at most `MAX_LENGTH` characters.
        count: number of occurrences; texts that differ only in numbers are counted together.
        drop_reason: why it is not reported, None if it is.
    """

    library: str
    text: str
    count: int
    drop_reason: str | None

    def __str__(self) -> str:
        return f"{self.library}: {self.text}" + (f" ({self.count} times)" if self.count > 1 else "")


class CapturedOutput:
    """The messages of libraries, in the order of their first occurrence."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], str] = {}

    def add(self, library: str, text: str) -> None:
        """Count a message; texts that differ only in numbers are the same message."""
        line = " ".join(re.sub(r"\x1b\[[\d;]*m", "", text.rpartition("\r")[2]).split())
        if line:
            key = library, re.sub(r"\d[\w.]*", "#", line)
            self._first.setdefault(key, line)
            self._counts[key] = self._counts.get(key, 0) + 1

    def messages(self) -> list[LibraryMessage]:
        """Each message once, known noise included."""
        return [
            LibraryMessage(key[0], _shorten(line), self._counts[key], _drop_reason(line))
            for key, line in self._first.items()
        ]


def discard(_line: str) -> None:
    """A `notify` callback that does nothing."""


@contextlib.contextmanager
def capture_library_output(notify: Callable[[str], object]) -> Iterator[CapturedOutput]:
    """Capture the output of libraries in the block; then report each unknown message once.

    Nothing is reported if the block raises. The capture affects the whole process, as Python's
    warnings and streams do.

    Args:
        notify: called with `library: message`, one line each.

    Yields:
        The messages, known noise included; complete after the block.
    """
    captured = CapturedOutput()
    with _warnings(captured), _logging(captured), _streams(captured):
        yield captured
    for message in captured.messages():
        if message.drop_reason is None:
            notify(str(message))


@contextlib.contextmanager
def _warnings(captured: CapturedOutput) -> Iterator[None]:
    def capture(message: Warning | str, *_: object) -> None:
        captured.add(_caller() or "python", str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = capture  # type: ignore[assignment]  # put back by catch_warnings
        yield


@contextlib.contextmanager
def _logging(captured: CapturedOutput) -> Iterator[None]:
    """Capture warnings and errors of libraries, and keep them from all installed handlers."""

    class CaptureHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            library = _library(record.pathname)
            if library:
                captured.add(library, record.getMessage())

    capture_handler = CaptureHandler(logging.WARNING)
    all_loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    loggers = [logger for logger in all_loggers if isinstance(logger, logging.Logger)]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    last_loggers = [logger for logger in loggers if logger is logging.root or not logger.propagate]
    for handler in handlers:
        handler.addFilter(_is_not_captured)
    for logger in last_loggers:
        logger.addHandler(capture_handler)
    try:
        yield
    finally:
        for logger in last_loggers:
            logger.removeHandler(capture_handler)
        for handler in handlers:
            handler.removeFilter(_is_not_captured)


def _is_not_captured(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING or _library(record.pathname) is None


@contextlib.contextmanager
def _streams(captured: CapturedOutput) -> Iterator[None]:
    streams = [_CaptureStream(stream, captured) for stream in (sys.stdout, sys.stderr)]
    out, err = (cast(TextIO, stream) for stream in streams)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
    for stream in streams:
        stream.flush_unfinished()


class _CaptureStream:
    """A stream that captures the writes of libraries and passes all others on to `stream`."""

    def __init__(self, stream: TextIO, captured: CapturedOutput) -> None:
        self._stream = stream
        self._captured = captured
        self._unfinished: dict[str, str] = {}

    def write(self, text: str) -> int:
        library = _caller(through_pedseg=False)
        if library is None:
            return self._stream.write(text)
        self._unfinished[library] = self._unfinished.get(library, "") + text
        if text.endswith("\n"):  # print writes its arguments one by one
            self._captured.add(library, self._unfinished.pop(library))
        return len(text)

    def flush_unfinished(self) -> None:
        """Capture what does not end with a newline, such as a progress bar."""
        for library, text in self._unfinished.items():
            self._captured.add(library, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _caller(*, through_pedseg: bool = True) -> str | None:
    """The library whose code is nearest on the call stack, None if there is none.

    Args:
        through_pedseg: search past pedseg's own frames: a warning of compiled code has no frame of
            its own. For writes the search ends at pedseg, which then is the writer, and at
            logging, whose handlers write only levels that are not captured.
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


def _drop_reason(line: str) -> str | None:
    return next((known.reason for known in KNOWN_NOISE if re.search(known.pattern, line)), None)


def _shorten(line: str) -> str:
    return line if len(line) <= MAX_LENGTH else f"{line[:MAX_LENGTH]}..."
