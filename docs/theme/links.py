"""A hook of mkdocs: links that leave docs/ work in the handbook as they do in the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Turn a relative link to a file outside of docs/ into its address in the repository."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def address(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        if target.startswith("docs/"):
            return found[1]  # mkdocs checks it
        if not (ROOT / target).exists():
            raise PluginError(f"{page.file.src_uri}: no such file: {target}")
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{config.repo_url.rstrip('/')}/{kind}/main/{target}"

    return LINK.sub(address, markdown)
