"""Reading an artifact without the library that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import ArtifactError
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
    if path.suffix == ".safetensors" and path.is_file():
        raise ArtifactError(
            f"{path}: expected an artifact, found a checkpoint; export it with pedseg-export"
        )
    try:
        digest = verify_checksum(path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: expected an artifact, found none ({error.strerror}); check the path"
        ) from error
    metadata = read_metadata(path)
    return Artifact(path, digest, metadata.manifest, metadata.self_test)
