"""What torch's archives carry beside the graph."""

from __future__ import annotations

from pedseg_runtime.artifact.manifest import MANIFEST_FILE, SELF_TEST_FILE, Manifest


def extra_files(manifest: Manifest, golden: str | None) -> dict[str, bytes]:
    """File name in the archive -> content: the manifest and perhaps the self-test samples."""
    files = {MANIFEST_FILE: manifest.to_json().encode()}
    if golden is not None:
        files[SELF_TEST_FILE] = golden.encode()
    return files
