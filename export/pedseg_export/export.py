"""From a checkpoint to an artifact that was seen to agree with it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pedseg_runtime.errors import ExportError, ParityError
from pedseg_runtime.files import replacing
from pedseg_runtime.manifest import Manifest
from pedseg_runtime.parity import ParityReport
from pedseg_runtime.seal import seal
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import LoadedCheckpoint, load_checkpoint
from pedseg_train.eager import EagerSegmenter

from .formats import FORMATS, Draft
from .graph import InferenceGraph
from .quiet import silent, told_briefly
from .verification import Sample, generated_samples, verify

LIBRARIES = ("pedseg", "torch", "torchvision", "onnx", "onnxscript", "numpy")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        path: the artifact.
        manifest: what it says of itself.
        report: the comparison with eager that it passed.
        facts: of the converted graph, e.g. its node count.
        seconds: how long each step took.
    """

    path: Path
    manifest: Manifest
    report: ParityReport
    facts: Mapping[str, int]
    seconds: dict[str, float]


def export_artifact(
    checkpoint: Path,
    *,
    output: Path,
    format: str = "onnx",
    samples: Sequence[Sample] = (),
    device: str = "cpu",
    notify: Callable[[str], object] = silent,
) -> ExportResult:
    """Convert a checkpoint and put the artifact in place once it agrees with eager.

    Args:
        checkpoint: a file that pedseg-train wrote.
        output: where the artifact goes; what stands there is replaced only on success.
        format: `onnx` or `torchscript`.
        samples: images to compare on, besides the generated ones.
        device: where both sides run for the comparison.
        notify: is told in one line what happens.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ExportError: the graph could not be converted.
        ParityError: the artifact disagrees with eager; nothing is left at `output`.
    """
    if format not in FORMATS:
        raise ExportError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
    clock = _Clock()
    loaded = load_checkpoint(checkpoint)
    reference = EagerSegmenter(loaded.model, class_names=loaded.header.class_names, device=device)
    with told_briefly(notify), replacing(output) as temporary:
        notify(f"converting {loaded.header.architecture} to {format}")
        draft = convert(loaded, format)
        clock.lap("convert")
        manifest = describe(loaded, format, draft)
        draft.write(temporary, manifest)
        seal(temporary)
        notify("comparing the artifact with eager")
        report = check(temporary, reference, [*generated_samples(), *samples], device)
        clock.lap("compare")
        # The verdict goes into the file; only metadata changes, and the file must still open.
        manifest = dataclasses.replace(manifest, parity=report.to_dict())
        draft.write(temporary, manifest)
        seal(temporary)
        with Segmenter.load(temporary, device=device) as segmenter:
            manifest = segmenter.manifest
        clock.lap("write")
    return ExportResult(
        path=output, manifest=manifest, report=report, facts=draft.facts, seconds=clock.laps
    )


def convert(loaded: LoadedCheckpoint, format: str) -> Draft:
    """Turn the checkpoint's model into `format`.

    Raises:
        ExportError: the exporter failed; the message has its first line.
    """
    try:
        return FORMATS[format].convert(InferenceGraph(loaded.model))
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise ExportError(
            f"{format}: expected the graph to convert, found {type(error).__name__}: {reason}; "
            "use the versions of constraints.txt, or report this with the checkpoint's header"
        ) from error


def describe(loaded: LoadedCheckpoint, format: str, draft: Draft) -> Manifest:
    """The manifest of an artifact that has not been compared yet."""
    header = loaded.header
    return Manifest(
        architecture=header.architecture,
        class_names=header.class_names,
        checkpoint_sha256=loaded.sha256,
        format=format,
        min_size=header.min_size,
        max_size=header.max_size,
        score_threshold=header.score_threshold,
        nms_threshold=header.nms_threshold,
        detections_per_image=header.detections_per_image,
        opset=draft.opset,
        exporter=draft.exporter,
        versions={name: metadata.version(name) for name in LIBRARIES},
        metrics=header.metrics,
        dataset_digest=dict(header.dataset_digest),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def check(
    artifact: Path, reference: EagerSegmenter, samples: Sequence[Sample], device: str
) -> ParityReport:
    """Compare an artifact that is not in place yet with its checkpoint.

    Raises:
        ParityError: it disagrees.
    """
    with Segmenter.load(artifact, device=device) as segmenter:
        report = verify(segmenter, reference, samples)
    if not report:
        raise ParityError(
            f"the artifact disagrees with the checkpoint and was not kept: {report.summary()}",
            report,
        )
    return report


class _Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
