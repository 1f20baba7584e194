"""The fenced blocks of a Markdown page, and how the tests run them.

Blocks of commands (without a language) and of Python are run in their order, in one folder per
page; a comment of HTML right above one says what readers need not see:

    <!-- not run: REASON -->          the commands are parsed, so that their options exist
    <!-- run with: --epochs 1 -->     options to add to each command
    <!-- run with: DATA=streets -->   what a word in capitals stands for
    <!-- run after: x = 1 -->         Python to run first
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

RUN = ("", "python")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.M | re.S
)
_COMMENT = re.compile(r"<!-- (not run|run with|run after): ((?:(?!-->).)+?) -->\s*\Z", re.S)
_NAME = re.compile(r"[A-Z]+=.+")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        place: page and line.
        language: "" for commands.
        code: without the fence.
        kind: "not run", "run with", "run after", or "" without a comment.
        text: of the comment.
    """

    place: str
    language: str
    code: str
    kind: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page that are commands or Python."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: fence.start()])
        kind, said = comment.groups() if comment else ("", "")
        line = text.count("\n", 0, fence.start()) + 1
        if fence["language"] in RUN:
            code = textwrap.dedent(fence["code"])
            found.append(Block(f"{page.name}:{line}", fence["language"], code, kind, said))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command, without comments, with what `run with` says."""
    said = shlex.split(block.text) if block.kind == "run with" else []
    names = dict(word.split("=", 1) for word in said if _NAME.fullmatch(word))
    options = [word for word in said if not _NAME.fullmatch(word)]
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield [names.get(word, word) for word in words] + options


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block; what Python leaves in `namespace` is there for the next."""
    if block.language == "python":
        if block.kind == "run after":
            exec(block.text, namespace)
        exec(compile(block.code, block.place, "exec"), namespace)
        return
    for words in commands(block):
        result = CliRunner().invoke(script(words[0]), words[1:])
        assert result.exit_code == 0, f"{block.place}: {shlex.join(words)}\n{result.output}"


def parse(block: Block) -> None:
    """Let click read the commands of pedseg in a block that is not run."""
    for words in commands(block):
        if not words[0].startswith("pedseg-"):
            continue
        command, arguments = script(words[0]), words[1:]
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=words[0])
            _, command, arguments = command.resolve_command(context, arguments)
            assert command is not None
        try:
            command.make_context(words[0], arguments)
        except click.BadParameter as error:
            if "does not exist" not in str(error):  # a file of the reader's
                raise AssertionError(f"{block.place}: {shlex.join(words)}") from error


def script(name: str) -> click.Command:
    """A console script of pedseg."""
    found = list(entry_points(group="console_scripts", name=name))
    assert found, f"{name}: mark the block as not run, or name a command of pedseg"
    command = found[0].load()
    assert isinstance(command, click.Command)
    return command
