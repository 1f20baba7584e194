"""A benchmark for people: in a terminal, as Markdown, and as one page of HTML with plots.

A contender whose answers are wrong has no time in any of them: a wrong answer has no speed.
"""

from __future__ import annotations

from .html import html
from .markdown import markdown
from .terminal import details, sections, table

__all__ = ["details", "html", "markdown", "sections", "table"]
