"""The sizes and thresholds that eager and all artifacts of one benchmark have to share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.artifact.reading import read_artifact
from pedseg_runtime.errors import ArtifactError, InputError
from pedseg_train.checkpoint import CheckpointHeader

SETTINGS = ("min_size", "max_size", "score_threshold", "nms_threshold", "detections_per_image")


def read_manifests(
    artifacts: Sequence[Path], checkpoint_sha256: str | None
) -> dict[Path, Manifest]:
    """What every artifact says of itself.

    Raises:
        ArtifactError: one cannot be used, or is of another checkpoint than `checkpoint_sha256`.
    """
    manifests = {path: read_artifact(path).manifest for path in artifacts}
    for path, manifest in manifests.items():
        found = manifest.checkpoint_sha256
        if checkpoint_sha256 not in (None, found):
            raise ArtifactError(
                f"{path}: expected an artifact of the checkpoint {checkpoint_sha256[:12]}, found "
                f"one of {found[:12]}; export it again, or compare them anyway with "
                "--allow-mismatch"
            )
    return manifests


def configuration(
    header: CheckpointHeader, manifests: Mapping[Path, Manifest]
) -> tuple[dict[str, float], dict[str, float]]:
    """The settings of this benchmark: the artifacts' own where they were exported with others.

    Args:
        header: of the checkpoint.
        manifests: of the artifacts.

    Returns:
        All of `SETTINGS`, and those of them that differ from the checkpoint's.

    Raises:
        InputError: two artifacts differ in a setting, so that they do not do the same work.
    """
    settings: dict[str, float] = {}
    for name in SETTINGS:
        values = {path: getattr(manifest, name) for path, manifest in manifests.items()}
        if len(set(values.values())) > 1:
            found = ", ".join(f"{path.name} {value}" for path, value in values.items())
            raise InputError(
                f"{name}: expected the same in all artifacts of one benchmark, found {found}; "
                "benchmark them apart, or export them with the same settings"
            )
        settings[name] = next(iter(values.values()), getattr(header, name))
    changed = {name: value for name, value in settings.items() if value != getattr(header, name)}
    return settings, changed
