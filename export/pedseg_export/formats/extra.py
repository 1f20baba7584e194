"""The extra files in torch's archives."""

from __future__ import annotations

from pedseg_runtime.artifact.manifest import MANIFEST_FILE, SELF_TEST_FILE, Manifest


def extra_files(manifest: Manifest, self_test: str | None) -> dict[str, bytes]:
    """File name in the archive -> content: the manifest and perhaps the self-test samples."""
    files = {MANIFEST_FILE: manifest.to_json().encode()}
    if self_test is not None:
        files[SELF_TEST_FILE] = self_test.encode()
    return files
