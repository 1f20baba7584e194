"""A small server for the page: with the headers that give WebAssembly its threads."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .build import HEADERS

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


def page_server(folder: Path, *, port: int = 0, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """A server of `folder` that is bound and waits for `serve_forever`.

    Args:
        folder: what `write_page` wrote.
        port: 0 takes a free one; `server_port` says which.
        host: the address to listen on.
    """
    return ThreadingHTTPServer((host, port), functools.partial(_Handler, directory=str(folder)))


class _Handler(SimpleHTTPRequestHandler):
    """Files with the right types, whatever the system's own list says, and isolated."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **_TYPES}  # noqa: RUF012

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Requests for files are not news."""
