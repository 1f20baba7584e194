"""Checkpoints: weights as safetensors with a JSON header that describes the network.

Reading a checkpoint runs no code. The state for resuming a training is a separate file, see
`tensor_files`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torchvision.models.detection import MaskRCNN

from pedseg_runtime._version import __version__
from pedseg_runtime.errors import CheckpointError, InputError
from pedseg_runtime.files import sha256_of

from .architectures import (
    ANCHOR_SIZES,
    ARCHITECTURES,
    Norm,
    anchor_sizes_of,
    assemble,
    norm_of,
)
from .tensor_files import atomic_write

SCHEMA_VERSION = 1
HEADER_KEY = "pedseg"
SUFFIX = ".safetensors"
IMPORT_HINT = "weights of another program become a checkpoint by pedseg-import"
_LONGEST_HEADER = 100_000_000  # safetensors' own limit, in bytes


@dataclass(frozen=True, kw_only=True)
class CheckpointHeader:
    """The description of a checkpoint.

    Attributes:
        architecture: registry name, e.g. `maskrcnn_resnet50_fpn`.
        norm, norm_eps: normalisation of the backbone, see `architectures.Norm`.
        class_names: one name per label, background first.
        min_size, max_size: torchvision's resize rule, in pixels.
        score_threshold, nms_threshold, detections_per_image: of the box head.
        anchor_sizes: anchor side in resized pixels per pyramid level.
        mask_width: hidden channels of the mask predictor; None is the architecture's own.
        imported: where weights of another program came from and how they were checked, empty
            for what pedseg trained.
        recipe: the training settings (`Recipe.to_dict()`), empty if unknown.
        dataset_digest: folder name -> sha256 of the training data, empty if unknown.
        split: of the training data, e.g. seed and image counts.
        epoch: number of finished epochs.
        metrics: accuracy on the test images after that epoch.
        versions: library name -> version at training.
        created: ISO 8601 time of writing, UTC.
        schema_version: of this header.
    """

    architecture: str
    norm: str
    class_names: tuple[str, ...]
    min_size: int
    max_size: int
    norm_eps: float = 1e-5
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    anchor_sizes: tuple[int, ...] = ANCHOR_SIZES
    mask_width: int | None = None
    imported: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    dataset_digest: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(
        cls, model: MaskRCNN, *, architecture: str, class_names: tuple[str, ...], **facts: Any
    ) -> CheckpointHeader:
        """Describe `model`, with further fields as `facts`."""
        norm = norm_of(model)
        return cls(
            architecture=architecture,
            class_names=class_names,
            norm=norm.kind,
            norm_eps=norm.eps,
            min_size=model.transform.min_size[0],
            max_size=model.transform.max_size,
            score_threshold=model.roi_heads.score_thresh,
            nms_threshold=model.roi_heads.nms_thresh,
            detections_per_image=model.roi_heads.detections_per_img,
            anchor_sizes=anchor_sizes_of(model),
            mask_width=model.roi_heads.mask_predictor.conv5_mask.out_channels,
            versions={
                "pedseg": __version__,  # of a checkout too, which has no package metadata
                **{name: metadata.version(name) for name in ("torch", "torchvision")},
            },
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        )

    def to_json(self) -> str:
        """The header as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, source: str = "checkpoint") -> CheckpointHeader:
        """Parse the result of `to_json`; `source` names the file in errors.

        Raises:
            CheckpointError: the text is not a header, or of a newer schema than this pedseg reads.
        """
        try:
            values = json.loads(text)
            version = int(values["schema_version"])
            if version > SCHEMA_VERSION:
                raise CheckpointError(
                    f"{source}: expected checkpoint schema <= {SCHEMA_VERSION}, found {version}; "
                    "upgrade pedseg"
                )
            names = {item.name for item in dataclasses.fields(cls)}
            known = {key: value for key, value in values.items() if key in names}
            known["class_names"] = tuple(known["class_names"])
            known["anchor_sizes"] = tuple(known["anchor_sizes"])
            return cls(**known)
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"{source}: expected a pedseg checkpoint header, found other text "
                f"({error!r}); use a file that pedseg-train wrote; {IMPORT_HINT}"
            ) from error


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint in memory.

    Attributes:
        model: in eval mode on the CPU, float32.
        header: the description in the file.
        sha256: digest of the file's bytes, 64 hex digits.
    """

    model: MaskRCNN
    header: CheckpointHeader
    sha256: str


def save_checkpoint(path: Path, model: MaskRCNN, header: CheckpointHeader) -> None:
    """Write the model's weights and `header` to `path`, atomically.

    Raises:
        CheckpointError: the file could not be written; a previous one is untouched.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    with atomic_write(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={HEADER_KEY: header.to_json()})


def read_header(path: Path) -> CheckpointHeader:
    """The header of a checkpoint, without its weights.

    Raises:
        CheckpointError: the file is missing, no checkpoint of pedseg, damaged or of a newer schema.
    """
    return _read(Path(path), weights=False)[0]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by name; raises as `read_header` does."""
    return _read(Path(path), weights=True)[1]


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Load the model that `save_checkpoint` wrote.

    Raises:
        CheckpointError: the file is missing, no checkpoint of pedseg, damaged, of a newer schema
            or of an unknown architecture.
    """
    path = Path(path)
    header, tensors = _read(path, weights=True)
    try:
        model = assemble_from(header)
    except InputError as error:
        raise CheckpointError(f"{path}: {error}; upgrade pedseg") from error
    _load_weights(model, tensors, path)
    return LoadedCheckpoint(model.eval(), header, sha256_of(path))


def with_settings(loaded: LoadedCheckpoint, **settings: float | None) -> LoadedCheckpoint:
    """The checkpoint with other image sizes or thresholds.

    Args:
        loaded: is not modified; a changed result has weights of its own.
        settings: `min_size`, `max_size`, `score_threshold`, `nms_threshold`,
            `detections_per_image`, as in `CheckpointHeader`; None keeps the checkpoint's.

    Raises:
        InputError: invalid sizes or thresholds.
    """
    changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    if not changes:
        return loaded
    header = dataclasses.replace(loaded.header, **changes)
    for name in ("score_threshold", "nms_threshold"):
        if not 0 <= getattr(header, name) < 1:
            raise InputError(
                f"{name}: expected at least 0 and less than 1, found {getattr(header, name)}"
            )
    if header.detections_per_image < 1:
        raise InputError(
            f"detections_per_image: expected at least 1, found {header.detections_per_image}"
        )
    model = assemble_from(header)
    model.load_state_dict(loaded.model.state_dict())
    return dataclasses.replace(loaded, model=model.eval(), header=header)


def assemble_from(header: CheckpointHeader, **training: int) -> MaskRCNN:
    """Build the untrained network that `header` describes, in train mode on the CPU.

    Args:
        header: of a checkpoint.
        training: `box_batch` and `proposals` of `assemble`, to train it further.

    Raises:
        InputError: an unknown architecture or invalid setting.
    """
    if header.architecture not in ARCHITECTURES:
        raise InputError(
            f"expected an architecture of {', '.join(ARCHITECTURES)}, found {header.architecture!r}"
        )
    return assemble(
        ARCHITECTURES[header.architecture],
        num_classes=len(header.class_names),
        norm=Norm(header.norm, header.norm_eps),
        min_size=header.min_size,
        max_size=header.max_size,
        score_threshold=header.score_threshold,
        nms_threshold=header.nms_threshold,
        detections_per_image=header.detections_per_image,
        anchor_sizes=header.anchor_sizes,
        mask_width=header.mask_width,
        **training,
    )


def is_checkpoint(path: Path) -> bool:
    """Whether a file's content is safetensors: a header's length in 8 bytes, then its JSON."""
    with path.open("rb") as stream:
        start = stream.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and 0 < length < _LONGEST_HEADER


def is_foreign(path: Path) -> bool:
    """Whether a file is safetensors that another program wrote, without the header of pedseg."""
    try:
        with safe_open(path, framework="pt") as stream:
            return HEADER_KEY not in (stream.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _read(path: Path, *, weights: bool) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected a checkpoint that pedseg-train or pedseg-import wrote"
        )
    try:
        with safe_open(path, framework="pt") as stream:
            text = (stream.metadata() or {}).get(HEADER_KEY)
            names = stream.keys() if weights and text is not None else ()
            tensors = {name: stream.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a safetensors file, found one that is damaged or of another kind "
            f"({error}); copy it again or use a file that pedseg-train wrote; {IMPORT_HINT}"
        ) from error
    if text is None:
        raise CheckpointError(
            f"{path}: expected a pedseg header in the metadata, found a safetensors file of "
            f"another program; use a file that pedseg-train wrote; {IMPORT_HINT}"
        )
    return CheckpointHeader.from_json(text, source=str(path)), tensors


def _load_weights(model: MaskRCNN, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load every tensor; raise CheckpointError if some do not fit."""
    own = model.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: expected the {len(own)} tensors that its header describes; {len(wrong)} are "
            f"missing, extra or of another shape, first {wrong[0]}; the file was altered, train or "
            "copy it again"
        )
    model.load_state_dict(tensors)
