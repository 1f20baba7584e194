"""What all commands share: errors of one line, suggestions, lists of values."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from pedseg_runtime import InputError
from pedseg_runtime.console import Choice, Command, Group, Many


@click.group(cls=Group)
def tool() -> None:
    """A tool with two commands."""


@tool.command()
@click.option("--colour", type=Choice(["red", "green"]))
@click.option("--sizes", type=Many(click.INT), default="1,2")
@click.option("--names", type=Many(click.STRING, empty=True), default="")
def draw(**values: Any) -> dict[str, Any]:
    return values


@tool.command()
def measure() -> None: ...


def failing(error: Exception) -> Command:
    def fail() -> None:
        raise error

    return Command("fail", callback=fail)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(
            InputError("expected this, found that"), "expected this, found that", id="own"
        ),
        pytest.param(FileNotFoundError(2, "No such file", "x.png"), "x.png", id="the system's"),
    ],
)
def test_errors_made_on_purpose_are_one_line(error: Exception, line: str) -> None:
    result = CliRunner().invoke(failing(error))
    assert result.exit_code == 1
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), BrokenPipeError()])
def test_a_bug_keeps_its_traceback_and_a_closed_pipe_is_clicks(error: Exception) -> None:
    with pytest.raises(type(error)):
        failing(error).main([], standalone_mode=False)


def test_a_misspelt_command_is_told_its_closest_name() -> None:
    result = CliRunner().invoke(tool, ["masure"])
    assert result.exit_code == 2
    assert (
        "no command 'masure'; did you mean 'measure'? choose from: draw, measure" in result.stderr
    )


def test_a_misspelt_choice_is_told_its_closest_name() -> None:
    result = CliRunner().invoke(tool, ["draw", "--colour", "gren"])
    assert result.exit_code == 2
    assert "did you mean 'green'?" in result.stderr
    assert "did you mean" not in CliRunner().invoke(tool, ["draw", "--colour", "xyz"]).stderr
    assert CliRunner().invoke(tool, ["draw", "--colour", "red"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sizes", "names"),
    [
        ([], (1, 2), ()),
        (["--sizes", "4, 5 ,6"], (4, 5, 6), ()),
        (["--sizes", "7", "--names", "a,b"], (7,), ("a", "b")),
    ],
)
def test_values_stand_between_commas(
    arguments: list[str], sizes: tuple[int, ...], names: tuple[str, ...]
) -> None:
    found = tool.main(["draw", *arguments], standalone_mode=False)
    assert found == {"colour": None, "sizes": sizes, "names": names}
    assert Many(click.INT).convert((8, 9), None, None) == (8, 9), "a default that is a tuple stays"


@pytest.mark.parametrize("value", ["", "1,,2", "1,", "one"])
def test_other_lists_are_refused(value: str) -> None:
    result = CliRunner().invoke(tool, ["draw", "--sizes", value])
    assert result.exit_code == 2
    assert "Invalid value for '--sizes'" in result.stderr
