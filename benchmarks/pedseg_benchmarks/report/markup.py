"""HTML and SVG from words: whatever is not markup already is escaped."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is markup and stays as it is."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: object) -> Markup:
    """An element with its children; None among them is nothing.

    Args:
        name: of the element.
        children: `Markup`, or words, which are escaped.
        attributes: words or numbers. `class_` is `class`, `stroke_width` is `stroke-width`; those
            that are None are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after the other, words escaped."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(child, quote=False)
            for child in children
            if child is not None
        )
    )


def percent(fraction: float) -> str:
    """0.25 as `25%`, short."""
    return f"{100 * fraction:.4g}%"


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
