"""When an exporter fails: which module, which line, and why, instead of two hundred lines.

Three things know the place. While torch.export traces, the calls of the graph's own modules are on
the stack. While torch.onnx translates, the stack has the node, which remembers its module and
its line. While torch.jit.script compiles, the stack has the module and the message has the line.
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
LONGEST = 160  # characters of a library's own words, or of a line of code
TORCH = str(Path(torch.__file__).parent)


class Place(NamedTuple):
    """Where a conversion failed; what is not known is empty."""

    module: str = ""
    kind: str = ""
    file: str = ""
    line: int = 0
    code: str = ""


@dataclass(frozen=True)
class Explanation:
    """How to say in plain words what a library says in its own.

    Attributes:
        pattern: finds it in the library's message.
        found: what was found; may use the pattern's groups.
        advice: what to do.
    """

    pattern: str
    found: str
    advice: str


EXPLANATIONS = (
    Explanation(
        r"data-dependent expression (?P<what>.+?)(?: \(unhinted|\.?$)",
        "a decision on a value that only a run knows ({what})",
        "express it with tensor operations, e.g. torch.where",
    ),
    Explanation(
        r"You marked (?P<axis>.+?) as dynamic but your code specialized it to be a constant "
        r"\((?P<value>\d+)\)",
        "{axis}, which must stay free, fixed to {value}",
        "look for code that compares that size, or turns it into a Python number",
    ),
    Explanation(
        r"No ONNX function found for <OpOverload\(op='(?P<what>[^']+)'",
        "the operator {what}, which torch.onnx cannot translate",
        "use other operators, or add it to pedseg_export.formats.translations",
    ),
)


def explain_failure(error: BaseException, graph: nn.Module, format: str) -> ExportError:
    """An exception of torch.export, torch.onnx or torch.jit.script in one line.

    Args:
        error: what was raised while `graph` was converted, with its traceback.
        graph: the module that was to be converted; modules are named as it names them.
        format: the format it was to be converted to.

    Returns:
        The error to raise `from error`. It names the module (`boxes.head`), the file, line and code
        where it failed, as far as the libraries know them, and what to do.
    """
    place = _traced(error, graph) or _translated(error) or _scripted(error, graph) or Place()
    found, advice = _explain(_root(error))
    module = place.module or "the graph"
    kind = f" ({place.kind})" if place.kind else ""
    at = f" at {Path(place.file).name}:{place.line}" if place.file else ""
    code = f", `{_short(place.code)}`" if place.code else ""
    return ExportError(
        f"{format}: expected {module}{kind} to convert, found {found}{at}{code}; {advice}"
    )


def _traced(error: BaseException, graph: nn.Module) -> Place | None:
    """From the calls of the graph's own modules; the line is the last one outside of torch."""
    names = {id(module): name for name, module in graph.named_modules()}
    place: Place | None = None
    for frame, line in _frames(error):
        module = frame.f_locals.get("self")
        if id(module) in names:
            place = (place or Place())._replace(
                module=names[id(module)], kind=type(module).__name__
            )
        file = frame.f_code.co_filename
        if place and not _is_torchs(file) and linecache.getline(file, line):
            place = place._replace(file=file, line=line, code=linecache.getline(file, line))
    return place if place and place.file else None


def _translated(error: BaseException) -> Place | None:
    """From the graph node that was being translated, which knows its module and its line."""
    node: fx.Node | None = None
    for frame, _ in _frames(error):
        nodes = [value for value in frame.f_locals.values() if isinstance(value, fx.Node)]
        node = nodes[0] if nodes else node
    if node is None:
        return None
    place = _line_in(str(node.meta.get("stack_trace") or "")) or Place()
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if modules:
        path, kind = modules[-1]
        place = place._replace(module=path, kind=str(kind).rpartition(".")[2])
    return place


def _scripted(error: BaseException, graph: nn.Module) -> Place | None:
    """From the module that was being compiled, and the listing in the message."""
    names = {id(module): name for name, module in graph.named_modules()}
    place = Place()
    for frame, _ in _frames(error):
        module = frame.f_locals.get("nn_module")
        if id(module) in names:
            place = place._replace(module=names[id(module)], kind=type(module).__name__)
    listed = re.search(r'File "([^"]+)", line (\d+)\n(?:.*\n)*?(.*)\n\s*~+ <--- HERE', str(error))
    if listed:
        file, line, code = listed.groups()
        place = place._replace(file=file, line=int(line), code=code)
    return place if place.module or place.file else None


def _line_in(trace: str) -> Place | None:
    """The last line of a printed stack that is not torch's own."""
    found = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.*)', trace)
    own = [entry for entry in found if not _is_torchs(entry[0])]
    if not own:
        return None
    file, line, code = own[-1]
    return Place(file=file, line=int(line), code=code)


def _explain(error: BaseException) -> tuple[str, str]:
    """What was found and what to do, by the exception that the others came from."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    for explanation in EXPLANATIONS:
        match = re.search(explanation.pattern, text, re.MULTILINE)
        if match:
            return explanation.found.format(**match.groupdict()), explanation.advice
    return f"{type(error).__name__}: {_short(first_line(text).rstrip(':. '))}", ADVICE


def _root(error: BaseException) -> BaseException:
    """The exception that the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _frames(error: BaseException | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of an exception and of those it was raised from, outermost first, with lines."""
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            yield traceback.tb_frame, traceback.tb_lineno
            traceback = traceback.tb_next
        error = error.__cause__


def _is_torchs(file: str) -> bool:
    return file.startswith(TORCH) or file.startswith("<")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
