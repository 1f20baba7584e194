"""A benchmark for people: in a terminal, as Markdown, and as one page of HTML with plots.

A contender whose answers are wrong has no time in any of them: a wrong answer has no speed.

wording         what is said in words and figures, whatever it is written on
tables          the tables about contenders, as rows of words
section_tables  those of every further question
terminal        tables that fit; markdown: a document; page: HTML
plots           of the page; surface_plots: latency by detections and by image size
comparison      of two benchmarks
profile         of one model, node by node
"""

from __future__ import annotations

from ..results import BenchmarkResult
from .markdown import markdown
from .terminal import details, sections, table

__all__ = ["details", "html", "markdown", "sections", "table"]


def html(result: BenchmarkResult) -> str:
    """The whole page of one benchmark."""
    from .page import benchmark_html  # only who wants a page waits for matplotlib

    return benchmark_html(result)
