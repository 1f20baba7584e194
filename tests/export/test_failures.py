"""A failed conversion names the module, the line and the reason, whatever library failed."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pedseg_export.failures import explain_failure
from pedseg_export.formats.onnx_rewrites import translations
from pedseg_runtime.errors import ExportError

pytestmark = pytest.mark.slow


def brighter(pixels: Tensor) -> Tensor:
    if pixels.max() > 3:
        return pixels
    return pixels + 1


class Branches(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return brighter(pixels)


class Mismatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(7, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.linear(pixels)


class Bessel(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels + 1
        return torch.special.bessel_j0(pixels)


class FloatDivision(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return torch.div(pixels, 2.0, rounding_mode="floor")


class Sorts(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return sorted([pixels], key=lambda _: 1)[0]


class Asks(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels + float(input("how much?"))


class FixesTheBatch(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels if pixels.shape[0] == 2 else pixels + 1


class Stage(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 3, 1)
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.trunk(pixels))


class Graph(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.boxes = Stage(head)

    def forward(self, images: Tensor) -> Tensor:
        return self.boxes(images) + 1


def trace(graph: nn.Module) -> ExportedProgram:
    images = torch.rand(2, 3, 16, 20)
    dynamic = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC},)
    return torch.export.export(graph, (images,), dynamic_shapes=dynamic, strict=False)


def to_onnx(graph: nn.Module) -> object:
    table = translations()
    return torch.onnx.export(
        trace(graph), (), dynamo=True, custom_translation_table=table, verbose=False
    )


def failure(convert: Callable[[nn.Module], object], head: nn.Module) -> str:
    """The message for a graph that contains `head` as `boxes.head`."""
    graph = Graph(head).eval()
    contexts = warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO())
    with contexts[0], contexts[1]:
        try:
            convert(graph)
        except Exception as error:
            explained = explain_failure(error, graph, "onnx")
        else:
            pytest.fail("expected the conversion to fail")
    assert isinstance(explained, ExportError)
    line = str(explained)
    assert "\n" not in line
    assert "\x1b" not in line
    return line


def line_of(head: Callable[..., object] | type[nn.Module], code: str) -> int:
    """The line of this file on which `code` stands, inside of `head`."""
    lines, first = inspect.getsourcelines(head)
    return first + next(i for i, line in enumerate(lines) if line.strip() == code)


def test_a_branch_on_values_names_the_function_that_branches() -> None:
    line = line_of(brighter, "if pixels.max() > 3:")
    assert failure(trace, Branches()) == (
        "onnx: expected boxes.head (Branches) to convert, found a branch on a value that is "
        f"unknown before the run (Eq(u0, 1)) at test_failures.py:{line}, `if pixels.max() > 3:`; "
        "express it with tensor operations, e.g. torch.where"
    )


def test_a_layer_of_torch_is_named_and_the_line_is_that_of_its_caller() -> None:
    line = line_of(Mismatched, "return self.linear(pixels)")
    message = failure(trace, Mismatched())
    assert message.startswith("onnx: expected boxes.head.linear (Linear) to convert, found Runtime")
    assert "must have same reduction dim" in message
    assert f"at test_failures.py:{line}, `return self.linear(pixels)`; use the versions" in message


def test_a_size_that_the_code_fixes_is_named() -> None:
    message = failure(trace, FixesTheBatch())
    assert "expected the graph to convert" in message
    assert "L['images'].size()[0], which must stay free, fixed to 2" in message


def test_an_operator_that_onnx_lacks_names_the_module_of_its_node() -> None:
    """The translation runs long after the module's own code."""
    line = line_of(Bessel, "return torch.special.bessel_j0(pixels)")
    assert failure(to_onnx, Bessel()) == (
        "onnx: expected boxes.head (Bessel) to convert, found the operator prims.bessel_j0, which "
        f"torch.onnx cannot translate at test_failures.py:{line}, "
        "`return torch.special.bessel_j0(pixels)`; use other operators, or add it to "
        "pedseg_export.formats.onnx_rewrites"
    )


def test_a_translation_that_refuses_keeps_its_words() -> None:
    """torch wraps it in three errors that begin with advice on reporting bugs to torch."""
    message = failure(to_onnx, FloatDivision())
    assert "expected boxes.head (FloatDivision) to convert" in message
    assert "found TypeError: expected an integer division, found FLOAT" in message
    assert '`return torch.div(pixels, 2.0, rounding_mode="floor")`' in message


@pytest.mark.parametrize(
    ("head", "code", "words"),
    [
        (Sorts, "return sorted([pixels], key=lambda _: 1)[0]", "Lambda aren't supported"),
        (Asks, 'return pixels + float(input("how much?"))', "currently not supported"),
    ],
    ids=["python's syntax", "python's library"],
)
def test_python_that_cannot_be_scripted_is_shown(
    head: type[nn.Module], code: str, words: str
) -> None:
    message = failure(torch.jit.script, head())
    assert f"expected boxes.head ({head.__name__}) to convert" in message
    assert words in message
    assert f"at test_failures.py:{line_of(head, code)}, `{code}`; use the versions" in message


def test_an_error_that_knows_no_place_is_its_first_line() -> None:
    error = RuntimeError("\n\nno space left\nsecond line\nthird line")
    message = str(explain_failure(error, Graph(Branches()), "torchscript"))
    assert message.startswith(
        "torchscript: expected the graph to convert, found RuntimeError: no space left; use the "
        "versions of constraints.txt"
    )
    assert "second line" not in message


def test_an_error_without_words_is_named() -> None:
    message = str(explain_failure(MemoryError(), Graph(Branches()), "onnx"))
    assert "found MemoryError: no reason given" in message


def test_long_messages_are_cut() -> None:
    message = str(explain_failure(RuntimeError("x" * 5000), Graph(Branches()), "onnx"))
    assert len(message) < 400
