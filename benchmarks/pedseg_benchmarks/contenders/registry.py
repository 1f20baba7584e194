"""The contenders that were requested, by name and not yet loaded, and the settings they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.artifact.reading import read_artifact
from pedseg_runtime.console import suggestion
from pedseg_runtime.devices import Device, parse_device
from pedseg_runtime.errors import ArtifactError, InputError
from pedseg_train.checkpoint import CheckpointHeader
from pedseg_train.eager import resolve_device

from .artifacts import Artifact
from .base import EAGER, Contender, ContenderModel, NotRunError
from .eager import Eager
from .stock import StockOnnx

VARIANTS: Mapping[str, Mapping[str, bool]] = {
    "eager-autocast": {"autocast": True},
    "eager-channels-last": {"channels_last": True},
    "eager-compile": {"compiled": True},
}
STOCK = "stock-onnx"
# The ONNX artifacts once more: by another engine, or by CUDA with the tensors in NHWC order.
ENGINES = ("openvino", "tensorrt", "nhwc")
OPTIONAL = (*VARIANTS, STOCK, *ENGINES)
SETTINGS = ("min_size", "max_size", "score_threshold", "nms_threshold", "detections_per_image")


def measured_device(name: str) -> Device:
    """The device of a benchmark, for all contenders.

    Raises:
        DeviceError: it is not there.
        InputError: it is neither "cpu" nor "cuda" nor "cuda:N".
    """
    device = parse_device(name)
    if device.kind == "auto":
        raise InputError("device: expected cpu, cuda or cuda:N, found auto; say what to measure")
    if device.kind in ENGINES:
        where = "cuda" if device.kind == "tensorrt" else "cpu"
        raise InputError(
            f"device: expected cpu, cuda or cuda:N, found {device.kind}; use --device {where} "
            f"--contenders {device.kind}, which runs the ONNX artifacts by both"
        )
    resolve_device(str(device))
    return device


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What all contenders of one benchmark share.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads for one run.
        paste: whether artifacts paste their masks into image pixels, as eager does.
        cache: folder for files that are made on the way.
        settings: sizes and thresholds that replace the checkpoint's for eager.
    """

    device: str
    threads: int
    paste: bool
    cache: Path
    settings: Mapping[str, float] = field(default_factory=dict)


def read_manifests(
    artifacts: Sequence[Path], checkpoint_sha256: str | None
) -> dict[Path, Manifest]:
    """The manifest of every artifact.

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


def shared_settings(
    header: CheckpointHeader, manifests: Mapping[Path, Manifest]
) -> tuple[dict[str, float], dict[str, float]]:
    """Sizes and thresholds of one benchmark: the artifacts', or without any the checkpoint's.

    Args:
        header: of the checkpoint.
        manifests: of the artifacts.

    Returns:
        Name -> value for all of `SETTINGS`, and for those that differ from the checkpoint's.

    Raises:
        InputError: two artifacts differ in a setting, so that their work differs.
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


def parse_contenders(text: str) -> tuple[str, ...]:
    """The names in `eager,stock-onnx`; eager is always among the contenders.

    Raises:
        InputError: a name that is none; the message suggests the closest.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (EAGER, *OPTIONAL):
            raise InputError(
                f"contenders: {name!r} is not known; {suggestion(name, [EAGER, *OPTIONAL])}"
            )
    return tuple(dict.fromkeys(name for name in names if name != EAGER))


def build_contenders(
    checkpoint: Path,
    artifacts: Sequence[Path],
    optional: Sequence[str],
    conditions: Conditions,
    *,
    onnx: Sequence[Path] = (),
) -> list[Contender]:
    """Eager first, then the other ways to run the checkpoint, then the artifacts.

    Args:
        checkpoint: of the eager model.
        artifacts: exported from it.
        optional: names of `OPTIONAL`.
        conditions: for all of them.
        onnx: those of `artifacts` that are ONNX files, for the other engines.
    """
    eager = partial(Eager, checkpoint, device=conditions.device, settings=dict(conditions.settings))
    found = [Contender(EAGER, eager)]
    found += [
        Contender(name, partial(eager, **VARIANTS[name]), optional=True)
        for name in optional
        if name in VARIANTS
    ]
    if STOCK in optional:
        found.append(Contender(STOCK, _stock(checkpoint, conditions), optional=True))
    for name, path in zip(artifact_names(artifacts), artifacts, strict=True):
        run = partial(Artifact, path, threads=conditions.threads, paste=conditions.paste)
        found.append(Contender(name, partial(run, device=conditions.device)))
        if path in onnx:
            found += _engines(name, path, optional, conditions)
    if not onnx:
        reason = "it runs ONNX artifacts, and none was given"
        found += [
            Contender(name, partial(_refuse, reason), optional=True)
            for name in ENGINES
            if name in optional
        ]
    return found


def _stock(checkpoint: Path, conditions: Conditions) -> Callable[[], ContenderModel]:
    return partial(
        StockOnnx,
        checkpoint,
        device=conditions.device,
        settings=dict(conditions.settings),
        threads=conditions.threads,
        cache=conditions.cache,
    )


def _engines(
    name: str, path: Path, optional: Sequence[str], conditions: Conditions
) -> Iterator[Contender]:
    """The requested other engines on one ONNX artifact."""
    threads, paste = conditions.threads, conditions.paste
    on_gpu = conditions.device.startswith("cuda")
    index = conditions.device.partition(":")[2] or "0"
    loaders: dict[str, Callable[[], ContenderModel]] = {
        "openvino": partial(Artifact, path, device="openvino", threads=threads, paste=paste),
        "tensorrt": partial(
            Artifact, path, device=f"tensorrt:{index}", threads=threads, paste=paste
        ),
        "nhwc": partial(
            Artifact,
            path,
            device=conditions.device,
            threads=threads,
            paste=paste,
            cuda_options={"prefer_nhwc": "1"},
        ),
    }
    if on_gpu:
        loaders["openvino"] = partial(_refuse, "it runs on the CPU here; use --device cpu")
    else:
        for engine in ("tensorrt", "nhwc"):
            loaders[engine] = partial(_refuse, "it needs an NVIDIA GPU; use --device cuda")
    for engine in ENGINES:
        if engine in optional:
            yield Contender(f"{name} ({engine})", loaders[engine], optional=True)


def _refuse(reason: str) -> ContenderModel:
    raise NotRunError(reason)


def artifact_names(paths: Sequence[Path]) -> list[str]:
    """A distinct name per artifact: the file name, with its folder where two share one."""
    names = [path.name for path in paths]
    return [
        f"{path.parent.name}/{path.name}" if names.count(path.name) > 1 else path.name
        for path in paths
    ]
