"""From a checkpoint to an artifact that was seen to agree with it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pedseg_runtime.artifact.checksum import append_checksum
from pedseg_runtime.artifact.manifest import Manifest, output_specs
from pedseg_runtime.errors import ParityError
from pedseg_runtime.files import replacing
from pedseg_runtime.parity import TOLERANCES, ParityReport
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import LoadedCheckpoint, load_checkpoint, with_settings
from pedseg_train.eager import EagerSegmenter

from .accuracy import AccuracyGate
from .failures import explain_failure
from .formats import FORMATS, Draft
from .golden import golden_text
from .graph import InferenceGraph
from .lowering import KEPT_IN_FLOAT, Calibration, quantized
from .options import ExportOptions
from .quiet import silent, told_briefly
from .verification import Sample, agrees, generated_samples, verify

LIBRARIES = ("pedseg", "torch", "torchvision", "onnx", "onnxscript", "numpy")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        path: the artifact.
        manifest: what it says of itself.
        report: the comparison with eager that it passed.
        seconds: how long each step took.
    """

    path: Path
    manifest: Manifest
    report: ParityReport
    seconds: dict[str, float]


def export_artifact(
    checkpoint: Path,
    *,
    output: Path,
    options: ExportOptions | None = None,
    samples: Sequence[Sample] = (),
    calibration: Calibration | None = None,
    gate: AccuracyGate | None = None,
    device: str = "cpu",
    notify: Callable[[str], object] = silent,
) -> ExportResult:
    """Convert a checkpoint and put the artifact in place once it agrees with eager.

    Args:
        checkpoint: a file that pedseg-train wrote.
        output: where the artifact goes; what stands there is replaced only on success.
        options: what the artifact shall be like; ONNX in float32 by default.
        samples: images to compare on, besides the generated ones.
        calibration: images to quantise by; needed for int8.
        gate: labelled images to measure AP on, and how much of it may be lost.
        device: where both sides run for the comparison.
        notify: is told in one line what happens.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        InputError: options that cannot be had together.
        ExportError: the graph could not be converted.
        ParityError: the artifact disagrees with eager, or loses more AP than allowed; nothing is
            left at `output`.
    """
    options = options or ExportOptions()
    clock = _Clock()
    loaded = with_settings(load_checkpoint(checkpoint), **options.settings)
    with replacing(output) as temporary:
        notify(f"converting {loaded.header.architecture} to {options.format} {options.precision}")
        with told_briefly(notify):
            draft = convert(loaded, options)
            clock.lap("convert")
            if options.precision == "int8":
                float_manifest = describe(loaded, options, draft)
                draft = quantized(draft, float_manifest, calibration, notify=notify)
                clock.lap("quantise")
        for line in options.target.warnings(draft.operators):
            notify(line)
        manifest = describe(loaded, options, draft)
        reference = EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device=device
        )
        with told_briefly(notify):
            write(draft, temporary, manifest)
        with Segmenter.load(temporary, device=device) as segmenter:
            notify("comparing the artifact with eager")
            compared = [*generated_samples(options.static_shape), *samples]
            report = check(segmenter, reference, compared)
            clock.lap("compare")
            accuracy = gate.check(segmenter, reference, notify) if gate else None
            clock.lap("measure AP")
            golden = golden_text(segmenter, reference, notify) if options.golden else None
        # The verdicts go into the file; only metadata changes, and the self-test still has to pass.
        manifest = dataclasses.replace(
            manifest,
            parity=report.to_dict(),
            accuracy=accuracy.to_dict() if accuracy else None,
        )
        with told_briefly(notify):
            write(draft, temporary, manifest, golden)
        with Segmenter.load(temporary, device=device) as segmenter:
            manifest = segmenter.manifest
        clock.lap("write")
    return ExportResult(path=output, manifest=manifest, report=report, seconds=clock.laps)


def convert(loaded: LoadedCheckpoint, options: ExportOptions) -> Draft:
    """Turn the checkpoint's model into the format of `options`, not yet quantised.

    Raises:
        ExportError: the exporter failed; the message names the module and the line.
    """
    graph = InferenceGraph(loaded.model, mask_format=options.mask_format, dtype=options.dtype)
    opset = options.target.opset()
    try:
        return FORMATS[options.format].convert(
            graph, static_shape=options.static_shape, opset=opset
        )
    except Exception as error:  # torch's exporters fail in any way they can
        raise explain_failure(error, graph, options.format) from error


def describe(loaded: LoadedCheckpoint, options: ExportOptions, draft: Draft) -> Manifest:
    """The manifest of an artifact that has not been compared yet."""
    header = loaded.header
    return Manifest(
        architecture=header.architecture,
        class_names=header.class_names,
        checkpoint_sha256=loaded.sha256,
        format=options.format,
        precision=options.precision,
        precision_notes=draft.notes or KEPT_IN_FLOAT.get(options.precision, ()),
        mask_format=options.mask_format,
        static_shape=options.static_shape,
        target=str(options.target) if options.format == "onnx" else "",
        operators=draft.operators,
        outputs=output_specs(options.mask_format),
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


def write(draft: Draft, path: Path, manifest: Manifest, golden: str | None = None) -> None:
    """Write the artifact and append its checksum."""
    draft.write(path, manifest, golden)
    append_checksum(path)


def check(
    segmenter: Segmenter, reference: EagerSegmenter, samples: Sequence[Sample]
) -> ParityReport:
    """Compare an artifact that is not in place yet with its checkpoint.

    Raises:
        ParityError: it disagrees.
    """
    precision = segmenter.manifest.precision
    report = verify(segmenter, reference, samples, tolerances=TOLERANCES[precision])
    if not agrees(report, precision):
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
