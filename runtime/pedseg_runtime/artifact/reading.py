"""Reading an artifact without the library that runs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import ArtifactError, InputError
from ..text import quote
from .checksum import verify_checksum
from .manifest import Manifest
from .metadata import read_metadata


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact whose checksum was verified, as far as it can be read without running it.

    Attributes:
        path: its file.
        digest: SHA-256 of its content, as appended at the export: 64 hex digits.
        manifest: what its exporter wrote about it.
        self_test: the samples of its self-test as text (`self_test.decode_samples` reads it), None
            if it has none.
    """

    path: Path
    digest: str
    manifest: Manifest
    self_test: str | None = None


def read_artifact(path: str | Path) -> Artifact:
    """Read and check the artifact at `path`, without the library that will run it.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, edited or of a newer schema.
    """
    path = Path(path)
    name = quote(path)
    if path.suffix == ".safetensors" and path.is_file():
        raise ArtifactError(
            f"{name}: expected an artifact, found a checkpoint; export it with pedseg-export"
        )
    try:
        digest = verify_checksum(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = quote(getattr(error, "strerror", None) or error)
        raise ArtifactError(
            f"{name}: expected an artifact, found none ({reason}); check the path"
        ) from error
    metadata = read_metadata(path)
    return Artifact(path, digest, metadata.manifest, metadata.self_test)


@contextlib.contextmanager
def artifact_file(source: str | os.PathLike[str] | IO[bytes]) -> Iterator[Path]:
    """The path of an artifact; what is left of a file object is copied to a temporary file.

    Raises:
        InputError: `source` is neither a path nor a binary file.
    """
    if isinstance(source, str | os.PathLike):
        yield Path(source)
        return
    if not hasattr(source, "read"):
        content = isinstance(source, bytes | bytearray | memoryview)
        advice = "wrap them in io.BytesIO" if content else "name the file of an artifact"
        raise InputError(
            "artifact: expected a path or a binary file, found "
            f"{'the bytes themselves' if content else type(source).__name__}; {advice}"
        )
    with tempfile.TemporaryDirectory(prefix="pedseg-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "artifact"
        with copy.open("wb") as stream:
            try:
                shutil.copyfileobj(source, stream)
            except (TypeError, ValueError) as error:  # text, a coroutine, a closed file
                raise InputError(
                    "artifact: expected an open binary file, found one that yields no bytes "
                    f"({quote(error)}); open it in mode 'rb'"
                ) from error
        yield copy
