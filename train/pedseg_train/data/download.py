"""Fetch the official Penn-Fudan archive: resumable, verified, installed atomically."""

from __future__ import annotations

import http.client
import re
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path, PurePosixPath

from pedseg_runtime.errors import DatasetError, DownloadError

from .digests import is_official
from .pennfudan_layout import Progress, check_root

URL = "https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip"
TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16
_MAX_UNPACKED = 1 << 30  # bytes after unpacking; the official archive has about 50 million
_MANUAL_HINT = (
    "or fetch the archive by hand and give it with --archive FILE (unpacked by hand, the folder "
    "PennFudanPed works as it is)"
)


def download(
    root: str | Path,
    *,
    url: str = URL,
    archive: Path | None = None,
    trusted: Callable[[Path], bool] = is_official,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Path:
    """Fetch, check and unpack the dataset, so that `root` holds PNGImages and PedMasks.

    A partial download stays in `ROOT.zip.part` beside `root`, and a later call resumes it. An
    archive with other content is removed, and `root` is left untouched.

    Args:
        root: the folder to make; new or empty.
        url: of the archive.
        archive: a local archive to use instead; not modified.
        trusted: whether an unpacked dataset is the expected one.
        timeout: seconds without a byte before giving up.
        progress: called after every chunk with the bytes received and the total.

    Returns:
        `root`.

    Raises:
        DownloadError: not reachable, interrupted, not an archive, or other content.
        DatasetError: `root` holds something already.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(
            f"{root}: expected an empty or new folder, found something there; "
            f"`pedseg-data check {root}` tells what, another name avoids it"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    if archive is not None:
        _install(archive, root, trusted)
        return root
    part = root.with_name(f"{root.name}.zip.part")
    fetch(url, part, timeout=timeout, progress=progress)
    try:
        _install(part, root, trusted)
    except DownloadError:
        part.unlink()  # complete but wrong: resuming it would fail again
        raise
    part.unlink()
    return root


def fetch(
    url: str, part: Path, *, timeout: float = TIMEOUT, progress: Progress | None = None
) -> None:
    """Download `url` into the file `part`, resuming from its content.

    Raises:
        DownloadError: not reachable, refused, or interrupted; `part` is kept.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: expected an http or https address")
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "pedseg"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            _receive(response, part, offset, progress)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and offset:
                if _total(error.headers) != offset:  # the part is of another file: start over
                    part.unlink()
                    fetch(url, part, timeout=timeout, progress=progress)
                return
        raise DownloadError(
            f"{url}: the server answered {error.code} {error.reason}; try later, {_MANUAL_HINT}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{url}: could not be fetched ({reason}); try again, which resumes where this ended, "
            f"{_MANUAL_HINT}"
        ) from error


def _receive(
    response: http.client.HTTPResponse, part: Path, offset: int, progress: Progress | None
) -> None:
    """Append the response to `part`, or start over if the server sends the whole file."""
    resumed = response.status == 206
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        raise http.client.HTTPException("the server sent another part than it was asked for")
    done = offset if resumed else 0
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else 0
    with part.open("ab" if resumed else "wb") as stream:
        while chunk := response.read(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, max(total, done))
    if done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _total(headers: Message) -> int | None:
    """The size of the file on the server, from its response to an invalid range."""
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _install(archive: Path, root: Path, trusted: Callable[[Path], bool]) -> None:
    """Unpack beside `root`, verify, and rename."""
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        content = Path(temporary) / "content"
        unpack(archive, content)
        found = _dataset_in(content, archive)
        if not trusted(found):
            raise DownloadError(
                f"{archive}: expected the official images and masks, found other content "
                "(their digests differ); fetch the archive anew, or accept it with --any-content"
            )
        if root.exists():
            root.rmdir()
        found.rename(root)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive into `folder`, never outside of it.

    Raises:
        DownloadError: no archive, a damaged one, or one with unsafe members.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            for member in bundle.infolist():
                _check_member(archive, member)
            if sum(member.file_size for member in bundle.infolist()) > _MAX_UNPACKED:
                raise DownloadError(
                    f"{archive}: expected at most {_MAX_UNPACKED} bytes, found more"
                )
            bundle.extractall(folder)
    except FileNotFoundError:
        raise DownloadError(f"{archive}: expected a zip archive, found nothing") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DownloadError(
            f"{archive}: expected a zip archive, found a damaged or foreign file ({error}); fetch "
            "it anew"
        ) from error


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in member.filename or link:
        raise DownloadError(
            f"{archive}: expected files inside the archive's folder, found {member.filename!r}; "
            "this archive is not to be trusted"
        )


def _dataset_in(folder: Path, archive: Path) -> Path:
    """The dataset in an unpacked archive: the folder itself or the one folder in it."""
    for candidate in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        try:
            check_root(candidate)
        except DatasetError:
            continue
        return candidate
    raise DownloadError(
        f"{archive}: expected a folder with PNGImages and PedMasks, found none; is it another "
        "archive?"
    )
