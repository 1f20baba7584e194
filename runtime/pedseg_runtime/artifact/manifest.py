"""The manifest: the facts about an artifact, stored inside the file.

ONNX keeps it in `metadata_props` under `MANIFEST_KEY`, the archives of torch (TorchScript, pt2) in
the extra file `MANIFEST_FILE`. The samples of the self-test (`self_test.py`) stand beside it, under
`SELF_TEST_KEY` and in `SELF_TEST_FILE`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ArtifactError

SCHEMA_VERSION = 1
MANIFEST_KEY = "pedseg_manifest"
MANIFEST_FILE = "pedseg_manifest.json"
SELF_TEST_KEY = "pedseg_golden"
SELF_TEST_FILE = "pedseg_golden.json"

INPUT_SPEC: Mapping[str, Any] = {
    "name": "images",
    "dtype": "uint8",
    "shape": ["N", "H", "W", 3],
    "order": "RGB",
    "range": [0, 255],
}
MASK_SPECS: Mapping[str, Mapping[str, Any]] = {
    "roi": {"name": "roi_masks", "dtype": "float32", "shape": ["D", 28, 28]},
    "full": {"name": "masks", "dtype": "uint8", "shape": ["D", "H", "W"]},
}
INPUT_NAME = "images"


def output_specs(mask_format: str = "roi") -> tuple[Mapping[str, Any], ...]:
    """The outputs of an artifact with masks of `mask_format`, in order: a key of `MASK_SPECS`."""
    return (
        {"name": "boxes", "dtype": "float32", "shape": ["D", 4], "format": "xyxy_abs_original"},
        {"name": "labels", "dtype": "int64", "shape": ["D"]},
        {"name": "scores", "dtype": "float32", "shape": ["D"]},
        MASK_SPECS[mask_format],
        {"name": "image_index", "dtype": "int64", "shape": ["D"]},
    )


OUTPUT_SPECS = output_specs()
OUTPUT_NAMES: tuple[str, ...] = tuple(spec["name"] for spec in OUTPUT_SPECS)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Facts about an artifact, as its exporter wrote them.

    Attributes:
        architecture: registry name, e.g. `maskrcnn_resnet50_fpn`.
        class_names: one name per label, background first.
        checkpoint_sha256: digest of the checkpoint file that was exported.
        format: `onnx`, `torchscript` or `pt2`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        precision_notes: what stays in float32 in a lower precision, and why.
        mask_format: `roi`: soft masks [D, 28, 28] in the frame of the box; `full`: masks [D, H, W]
            of the image, thresholded at 0.5.
        static_shape: (N, H, W) that the graph is fixed to, or None where all three are free.
        target: the runtime that the graph was made for, e.g. `onnxruntime-gpu==1.31.1`.
        device_target: the device that its operators were chosen for, `cpu` or `cuda`; either runs.
        operators: ONNX operator -> how often the graph has it; empty for other formats.
        min_size, max_size: torchvision's resize rule, in pixels.
        score_threshold, nms_threshold, detections_per_image: as built into the graph.
        opset: ONNX opset, None for other formats.
        exporter: which exporter made the graph, e.g. `torch.onnx dynamo`.
        versions: library name -> version at export.
        metrics: what the checkpoint recorded about its accuracy.
        parity: the verdict the artifact shipped with (`ParityReport.to_dict()`), or None.
        accuracy: what a lower precision cost in AP on the user's images, or None.
        dataset_digest: folder -> sha256 of the training data, empty if the checkpoint knew none.
        split: of the training data: images of each part, and which part chose the epoch.
        license: of the weights, as an SPDX identifier or a model hub's; empty if not stated.
        created: ISO 8601 time of the export, UTC.
        input, outputs: names, dtypes and shapes of the contract.
    """

    architecture: str
    class_names: tuple[str, ...]
    checkpoint_sha256: str
    format: str
    precision: str = "fp32"
    precision_notes: tuple[str, ...] = ()
    mask_format: str = "roi"
    static_shape: tuple[int, int, int] | None = None
    target: str = ""
    device_target: str = "cpu"
    operators: Mapping[str, int] = field(default_factory=dict)
    min_size: int = 800
    max_size: int = 1333
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    opset: int | None = None
    exporter: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    dataset_digest: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    created: str = ""
    input: Mapping[str, Any] = field(default_factory=lambda: dict(INPUT_SPEC))
    outputs: tuple[Mapping[str, Any], ...] = OUTPUT_SPECS
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The manifest as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, source: str = "artifact") -> Manifest:
        """Parse what `to_json` wrote; `source` names the file in errors.

        Raises:
            ArtifactError: the text is not a manifest, or of a newer schema than this pedseg reads.
        """
        try:
            values = json.loads(text)
            version = values["schema_version"]
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(
                f"{source}: expected a pedseg manifest, found text that is none ({error}); "
                "export the checkpoint again with pedseg-export"
            ) from error
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ArtifactError(
                f"{source}: expected manifest schema <= {SCHEMA_VERSION}, found {version}; "
                "upgrade pedseg, or export again with this version"
            )
        names = {f.name for f in dataclasses.fields(cls)}
        try:
            known = {key: value for key, value in values.items() if key in names}
            known["class_names"] = tuple(known["class_names"])
            known["outputs"] = tuple(known["outputs"])
            known["precision_notes"] = tuple(known.get("precision_notes", ()))
            if known.get("static_shape") is not None:
                known["static_shape"] = tuple(known["static_shape"])
            return cls(**known)
        except (TypeError, KeyError) as error:
            raise ArtifactError(
                f"{source}: expected a complete manifest, found an incomplete one ({error}); "
                "export the checkpoint again with pedseg-export"
            ) from error

    def viewer_metadata(self) -> dict[str, str]:
        """The keys by which common viewers describe a segmentation model (Ultralytics' names)."""
        return {
            "task": "segment",
            "names": str(dict(enumerate(self.class_names))),
            "stride": "32",
            "imgsz": str([self.min_size, self.max_size]),
            "batch": str(self.static_shape[0]) if self.static_shape else "-1",
            "description": f"pedseg {self.architecture}",
            "date": self.created,
            "channels": "3",
        }
