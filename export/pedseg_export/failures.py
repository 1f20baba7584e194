"""Explain an exporter's failure in one line: module, source line, reason and advice.

The location comes from one of three sources. In torch.export the graph's own modules are on the
call stack. In torch.onnx the stack holds the node being translated, which records its module and
line. In torch.jit.script the stack holds the module, and the message the line.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from torch import fx, nn

from pedseg_runtime.errors import ExportError, first_line

ADVICE = "use the versions of constraints.txt, or report this with the checkpoint's header"
MAX_LENGTH = 160  # characters of a library's message, or of a line of code
TORCH_FOLDER = str(Path(torch.__file__).parent)


class FailureLocation(NamedTuple):
    """Where a conversion failed; unknown fields are empty."""

    module: str = ""
    kind: str = ""
    file: str = ""
    line: int = 0
    code: str = ""


@dataclass(frozen=True)
class Explanation:
    """A plain explanation of a library's message.

    Attributes:
        pattern: regular expression, searched in the message.
        found: the cause; may use the pattern's groups.
        advice: how to fix it.
    """

    pattern: str
    found: str
    advice: str


EXPLANATIONS = (
    Explanation(
        r"data-dependent expression (?P<what>.+?)(?: \(unhinted|\.?$)",
        "a branch on a value that is unknown before the run ({what})",
        "express it with tensor operations, e.g. torch.where",
    ),
    Explanation(
        r"You marked (?P<axis>.+?) as dynamic but your code specialized it to be a constant "
        r"\((?P<value>\d+)\)",
        "{axis}, which must stay free, fixed to {value}",
        "look for code that compares that size, or converts it to a Python number",
    ),
    Explanation(
        r"No ONNX function found for <OpOverload\(op='(?P<what>[^']+)'",
        "the operator {what}, which torch.onnx cannot translate",
        "use other operators, or add it to pedseg_export.formats.onnx_rewrites",
    ),
)


def explain_failure(error: BaseException, graph: nn.Module, format: str) -> ExportError:
    """An exception of torch.export, torch.onnx or torch.jit.script in one line.

    Args:
        error: the exception raised by the conversion of `graph`, with its traceback.
        graph: the converted module; the message uses its names of submodules.
        format: the target format.

    Returns:
        The error to raise `from error`. It names the module (`boxes.head`), the file, line and code
        where it failed, as far as they are known, and advice.
    """
    location = (
        _from_tracing(error, graph)
        or _from_translation(error)
        or _from_scripting(error, graph)
        or FailureLocation()
    )
    found, advice = _explain(_root_cause(error))
    module = location.module or "the graph"
    kind = f" ({location.kind})" if location.kind else ""
    at = f" at {Path(location.file).name}:{location.line}" if location.file else ""
    code = f", `{_shorten(location.code)}`" if location.code else ""
    return ExportError(
        f"{format}: expected {module}{kind} to convert, found {found}{at}{code}; {advice}"
    )


def _from_tracing(error: BaseException, graph: nn.Module) -> FailureLocation | None:
    """From the calls of the graph's own modules; the line is the last one outside torch."""
    names = {id(module): name for name, module in graph.named_modules()}
    location: FailureLocation | None = None
    for frame, line in _frames(error):
        module = frame.f_locals.get("self")
        if id(module) in names:
            location = (location or FailureLocation())._replace(
                module=names[id(module)], kind=type(module).__name__
            )
        file = frame.f_code.co_filename
        if location and not _is_torch_code(file) and linecache.getline(file, line):
            location = location._replace(file=file, line=line, code=linecache.getline(file, line))
    return location if location and location.file else None


def _from_translation(error: BaseException) -> FailureLocation | None:
    """From the graph node being translated, which records its module and its line."""
    node: fx.Node | None = None
    for frame, _ in _frames(error):
        nodes = [value for value in frame.f_locals.values() if isinstance(value, fx.Node)]
        node = nodes[0] if nodes else node
    if node is None:
        return None
    location = _last_own_line(str(node.meta.get("stack_trace") or "")) or FailureLocation()
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if modules:
        path, kind = modules[-1]
        location = location._replace(module=path, kind=str(kind).rpartition(".")[2])
    return location


def _from_scripting(error: BaseException, graph: nn.Module) -> FailureLocation | None:
    """From the module being compiled, and the listing in the message."""
    names = {id(module): name for name, module in graph.named_modules()}
    location = FailureLocation()
    for frame, _ in _frames(error):
        module = frame.f_locals.get("nn_module")
        if id(module) in names:
            location = location._replace(module=names[id(module)], kind=type(module).__name__)
    listed = re.search(r'File "([^"]+)", line (\d+)\n(?:.*\n)*?(.*)\n\s*~+ <--- HERE', str(error))
    if listed:
        file, line, code = listed.groups()
        location = location._replace(file=file, line=int(line), code=code)
    return location if location.module or location.file else None


def _last_own_line(trace: str) -> FailureLocation | None:
    """The last line outside torch of a printed stack."""
    found = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.*)', trace)
    own = [entry for entry in found if not _is_torch_code(entry[0])]
    if not own:
        return None
    file, line, code = own[-1]
    return FailureLocation(file=file, line=int(line), code=code)


def _explain(error: BaseException) -> tuple[str, str]:
    """Cause and advice, from the message of the root exception."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    for explanation in EXPLANATIONS:
        match = re.search(explanation.pattern, text, re.MULTILINE)
        if match:
            return explanation.found.format(**match.groupdict()), explanation.advice
    return f"{type(error).__name__}: {_shorten(first_line(text).rstrip(':. '))}", ADVICE


def _root_cause(error: BaseException) -> BaseException:
    """The exception that the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _frames(error: BaseException | None) -> Iterator[tuple[FrameType, int]]:
    """Frames and line numbers of an exception and its causes, outermost first."""
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            yield traceback.tb_frame, traceback.tb_lineno
            traceback = traceback.tb_next
        error = error.__cause__


def _is_torch_code(file: str) -> bool:
    return file.startswith(TORCH_FOLDER) or file.startswith("<")


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_LENGTH else f"{line[:MAX_LENGTH]}..."
