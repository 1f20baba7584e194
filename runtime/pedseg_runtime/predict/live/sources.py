"""What a live source is: the address of a stream, or a camera of this machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ...errors import InputError
from ...text import quote

SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
# What FFmpeg may open for an address: a playlist must not make it read files of this machine.
_PROTOCOLS = ("crypto", "data", "httpproxy", "rtmpe", "rtmpt", "srtp", "tls")
_DEVICE = re.compile(r"/dev/(video\d+|v4l/.+)")


class LiveSource(NamedTuple):
    """Where frames come from, for as long as it pleases.

    Attributes:
        name: for messages and results: the address without user, password and query.
        stem: for the names of files.
        address: for FFmpeg.
        format: FFmpeg's name for a kind of device; None for an address.
        options: for FFmpeg.
    """

    name: str
    stem: str
    address: str
    format: str | None
    options: dict[str, str]

    @property
    def is_download(self) -> bool:
        """Whether its protocol serves files as well, which are read in other ways."""
        return self.address.lower().startswith(("http://", "https://"))


def find_live_source(text: str) -> LiveSource | None:
    """The live source that an argument of a command line names; None if it names something else.

    Args:
        text: `scheme://...` of one of `SCHEMES`, a device such as /dev/video0, or the number of a
            camera where no file has that name.

    Raises:
        InputError: an address without a host, or a camera's number on a system that has none.
    """
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() in SCHEMES:
        return _address(text)
    if _DEVICE.fullmatch(text):
        return _camera(text, "v4l2", text)
    if not text.isascii() or not text.isdigit() or Path(text).exists():
        return None
    if sys.platform.startswith("linux"):
        return _camera(f"/dev/video{text}", "v4l2", f"/dev/video{text}")
    if sys.platform == "darwin":
        return _camera(f"camera {text}", "avfoundation", f"{text}:none")
    raise InputError(
        f"{text}: expected the address of a stream, found the number of a camera, which takes "
        "Linux or macOS; serve the camera as a stream"
    )


def _address(text: str) -> LiveSource:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InputError(
            f"{quote(text.rpartition('@')[2])}: expected scheme://host/..., found no host or a "
            "port that is none; check the address"
        )
    place = f"[{host}]" if ":" in host else host
    place += f":{port}" if port else ""
    name = quote(f"{parts.scheme}://{place}{parts.path}")
    stem = re.sub(r"[^\w.]+", "-", f"{host}{parts.path}").strip("-.")
    options = {"protocol_whitelist": ",".join(sorted({*SCHEMES, *_PROTOCOLS}))}
    if parts.scheme.startswith("rtsp"):
        options["rtsp_flags"] = "prefer_tcp"  # UDP loses packets
    return LiveSource(name, stem, text, None, options)


def _camera(name: str, kind: str, address: str) -> LiveSource:
    stem = re.sub(r"\W+", "-", name.removeprefix("/dev/")).strip("-")
    return LiveSource(name, stem, address, kind, {})
