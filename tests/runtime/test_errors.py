"""Errors of libraries in one line."""

from __future__ import annotations

import pytest

from pedseg_runtime.errors import first_line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("disk full", "disk full"),
        ("\n  disk full\nat 0x7f in write", "disk full"),
        ("", "no reason given"),
        (" \n ", "no reason given"),
    ],
)
def test_the_first_line_with_words_is_taken(message: str, line: str) -> None:
    assert first_line(RuntimeError(message)) == first_line(message) == line
