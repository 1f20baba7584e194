"""Output of libraries during a conversion: captured, then reported once or dropped as noise."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from pedseg_export.library_output import MAX_LENGTH, LibraryMessage, capture_library_output

FOLDERS = {module.__name__: Path(module.__file__).parent for module in (torch, onnxruntime)}


def run_as(library: str, code: str, **names: object) -> None:
    """Run `code` as if it stood in a file of `library`."""
    file = FOLDERS[library] / "deep" / "inside.py"
    exec(compile(code, str(file), "exec"), {"__name__": f"{library}.deep.inside", **names})


def capture(block: Callable[[], object]) -> tuple[list[str], list[LibraryMessage]]:
    """The lines that are reported of the output of `block`, and all captured messages."""
    reported: list[str] = []
    with capture_library_output(reported.append) as captured:
        block()
    return reported, captured.messages()


def test_a_warning_is_reported_once_with_its_library() -> None:
    code = "import warnings\nfor i in range(3): warnings.warn(f'shape {i}\\n  is odd')"
    reported, messages = capture(lambda: run_as("torch", code))
    assert reported == ["torch: shape 0 is odd (3 times)"]
    assert [message.count for message in messages] == [3]


def test_a_warning_that_points_at_its_caller_still_names_its_library() -> None:
    """torch warns with a stacklevel, so that the file of the warning is the caller's."""
    reported, _ = capture(
        lambda: run_as("torch", "import warnings\nwarnings.warn('odd', stacklevel=2)")
    )
    assert reported == ["torch: odd"]


def test_a_warning_of_another_library_is_reported_too() -> None:
    reported, _ = capture(lambda: warnings.warn("something else", stacklevel=1))
    assert reported == ["python: something else"]


@pytest.mark.parametrize("name", ["torch.onnx", "torch.deep.inside", ""], ids=repr)
def test_a_logged_warning_is_reported_once_whatever_its_logger(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch.onnx has a handler of its own; onnxruntime's tools log to the root."""
    code = f"import logging\nlogging.getLogger({name!r}).warning('node %d folded', 7)"
    reported, _ = capture(lambda: run_as("torch", code))
    assert reported == ["torch: node 7 folded"]
    assert capsys.readouterr().err == ""


def test_the_first_warning_to_the_root_logger_leaves_no_handler_behind() -> None:
    """logging.warning would install one for good, and every later record would be printed."""
    before = list(logging.root.handlers)
    reported, _ = capture(
        lambda: run_as("onnxruntime", "import logging\nlogging.warning('too many nodes')")
    )
    assert reported == ["onnxruntime: too many nodes"]
    assert logging.root.handlers == before


def test_prints_of_a_library_become_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys\nprint('two', 'words')\nprint('a\\n graph', file=sys.stderr)"
    reported, _ = capture(lambda: run_as("torch", code))
    assert reported == ["torch: two words", "torch: a graph"]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_progress_bar_is_its_last_state_without_colours() -> None:
    code = "import sys\nfor i in range(3): sys.stderr.write(f'\\r\\x1b[96m{i} of 2\\x1b[0m')"
    reported, _ = capture(lambda: run_as("onnxruntime", code))
    assert reported == ["onnxruntime: 2 of 2"]


def test_output_of_other_code_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    def block() -> None:
        print("mine")
        print("problem", file=sys.stderr)
        logging.getLogger("mine").warning("logged")

    reported, messages = capture(block)
    assert (reported, messages) == ([], [])
    captured = capsys.readouterr()
    assert captured.out == "mine\n"
    assert captured.err.startswith("problem\n")


def test_a_line_of_pedseg_passes_through_where_a_library_calls_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A calibration reader is called by onnxruntime and may print its progress."""
    reader: dict[str, object] = {"__name__": "pedseg_export.reader"}
    exec("def step(): print('image 1 of 9')", reader)
    reported, _ = capture(lambda: run_as("onnxruntime", "step()", step=reader["step"]))
    assert reported == []
    assert capsys.readouterr().out == "image 1 of 9\n"


def test_lower_levels_reach_the_handlers_that_asked_for_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    code = "import logging\nlogging.getLogger('torch.deep').info('detail')"
    with caplog.at_level(logging.INFO):
        reported, _ = capture(
            lambda: run_as("onnxruntime", code.replace("torch.deep", "onnx.deep"))
        )
    assert reported == []
    assert caplog.messages == ["detail"]


def test_a_spinner_keeps_turning(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich takes the streams over while it shows something; both must find their way back."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    console = Console(stderr=True, force_terminal=True, width=80)

    def block() -> None:
        status.update("halfway")
        console.print("first step")
        run_as("torch", "import sys\nprint('noise', file=sys.stderr)")

    with console.status("exporting") as status:
        reported, _ = capture(block)
        console.print("wrote it")
    assert reported == ["torch: noise"]
    assert sys.stderr is screen
    shown = screen.getvalue()
    assert [shown.count(words) for words in ("first step", "wrote it", "noise")] == [1, 1, 0]
    assert "halfway" in shown


def test_known_noise_is_dropped_for_a_named_reason() -> None:
    code = "print('[torch.onnx] Run decompositions...')\nprint('worth knowing')"
    reported, messages = capture(lambda: run_as("torch", code))
    assert reported == ["torch: worth knowing"]
    assert messages[0].text == "[torch.onnx] Run decompositions..."
    assert messages[0].drop_reason == "progress, which pedseg shows itself"


@pytest.mark.parametrize(
    "text",
    [
        "`torch.jit.script` is deprecated. Please switch to `torch.compile` or `torch.export`.",
        "`torch.jit.script` is not supported in Python 3.14+ and may break.",
        "`isinstance(treespec, LeafSpec)` is deprecated, use `isinstance(treespec, TreeSpec)`.",
        "Attribute type is ambiguous because it is an empty sequence. Please create an Attr with "
        "an explicit type. Defaulted to INTS",
        "Please consider to run pre-processing before quantization. Refer to example: ...",
        "Please consider pre-processing before quantization. See https://...",
        "Collecting tensor data and making histogram ...",
        "Finding optimal threshold for each tensor using 'entropy' algorithm ...",
        "Number of tensors : 7",
        "Number of histogram bins : 128 (The number may increase depends on the data)",
        "Number of quantized bins : 128",
        "Percentile : (0.001,99.999)",
    ],
)
def test_harmless_messages_of_exports_are_dropped(text: str) -> None:
    reported, (message,) = capture(lambda: run_as("onnxruntime", f"print({text!r})"))
    assert reported == []
    assert message.drop_reason


def test_long_messages_are_shortened() -> None:
    reported, _ = capture(lambda: run_as("torch", "print('x' * 5000)"))
    assert reported == [f"torch: {'x' * MAX_LENGTH}..."]


def test_a_failure_restores_everything_and_reports_nothing() -> None:
    def state() -> tuple[object, ...]:
        handlers = [h for logger in (logging.root, logging.getLogger("torch.onnx"))
                    for h in logger.handlers]  # fmt: skip
        return sys.stdout, sys.stderr, handlers, [list(h.filters) for h in handlers]

    before: tuple[object, ...] = state()
    reported: list[str] = []
    code = "import warnings\nwarnings.warn('odd')\nprint('dump')\nraise ValueError('no luck')"
    with pytest.raises(ValueError, match="no luck"), capture_library_output(reported.append):
        run_as("torch", code)
    assert state() == before
    assert reported == []


class Doubles(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * 2


def test_scripting_a_module_reports_nothing() -> None:
    reported, messages = capture(lambda: torch.jit.script(Doubles()))
    assert reported == []
    assert {message.drop_reason for message in messages} == {"TorchScript is what was asked for"}


@pytest.mark.slow
def test_the_progress_of_torch_onnx_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    def block() -> None:
        torch.onnx.export(Doubles().eval(), (torch.rand(2, 3),), dynamo=True, verbose=True)

    reported, messages = capture(block)
    assert reported == []
    assert "progress, which pedseg shows itself" in {message.drop_reason for message in messages}
    assert capsys.readouterr().out == ""
