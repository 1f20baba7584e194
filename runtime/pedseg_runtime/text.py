"""Wording for messages."""

QUOTE_LIMIT = 300
"""Most characters of foreign text (a name, another library's reason) in a message."""


def pluralize(count: int, noun: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def quote(text: object, limit: int = QUOTE_LIMIT) -> str:
    """Foreign text for a message of one line.

    Control characters are escaped; of a text beyond `limit` characters the middle is left out.
    """
    line = str(text)
    if len(line) > limit:
        line = f"{line[: limit // 2]} ... {line[-(limit // 2) :]}"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in line
    )
