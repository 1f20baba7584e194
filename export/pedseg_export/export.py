"""Export a checkpoint to an artifact, verified against eager PyTorch before it is put in place."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pedseg_runtime._version import __version__
from pedseg_runtime.artifact.checksum import append_checksum
from pedseg_runtime.artifact.manifest import Manifest, output_specs
from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import ParityError
from pedseg_runtime.files import replacing
from pedseg_runtime.parity import TOLERANCES, ParityReport
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import LoadedCheckpoint, load_checkpoint, with_settings
from pedseg_train.eager import EagerSegmenter, resolve_device

from .accuracy_gate import AccuracyGate
from .failures import explain_failure
from .formats import FORMATS, Draft
from .graph import InferenceGraph
from .library_output import capture_library_output, discard
from .options import ExportOptions
from .quantization.precisions import FLOAT32_NOTES, Calibration, quantize_draft
from .self_test import self_test_text
from .verification import Sample, agrees, generated_samples, verify

LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript", "numpy")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The result of an export.

    Attributes:
        path: the artifact.
        manifest: of the artifact.
        report: the comparison with eager that it passed.
        seconds: duration of each step.
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
    notify: Callable[[str], object] = discard,
) -> ExportResult:
    """Convert a checkpoint and put the artifact in place once it agrees with eager.

    Args:
        checkpoint: a file that pedseg-train wrote.
        output: path of the artifact; an existing file is replaced only on success.
        options: format, precision and settings; ONNX in float32 by default.
        samples: images to compare on, besides the generated ones.
        calibration: images to calibrate on; required for int8.
        gate: labelled images to measure AP on, and the largest acceptable loss.
        device: where both sides run for the comparison; eager on the CPU beside OpenVINO.
        notify: called with each progress message, one line.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        InputError: options exclude each other, or the device has no such name.
        DeviceError: the device is not there.
        ExportError: the graph could not be converted.
        ParityError: the artifact disagrees with eager, or loses more AP than allowed; nothing is
            left at `output`.
    """
    options = options or ExportOptions()
    clock = _Stopwatch()
    # A wrong or missing device is known before minutes are spent on a conversion.
    reference_device = str(resolve_device(parse_device(device).beside))
    loaded = with_settings(load_checkpoint(checkpoint), **options.settings)
    with replacing(output) as temporary:
        notify(f"converting {loaded.header.architecture} to {options.format} {options.precision}")
        with capture_library_output(notify):
            draft = convert(loaded, options)
            clock.lap("convert")
            if options.precision == "int8":
                float_manifest = describe(loaded, options, draft)
                draft = quantize_draft(draft, float_manifest, calibration, notify=notify)
                clock.lap("quantise")
        for line in options.target.warnings(draft.operators):
            notify(line)
        manifest = describe(loaded, options, draft)
        reference = EagerSegmenter(
            loaded.model,
            class_names=loaded.header.class_names,
            device=reference_device,
        )
        with capture_library_output(notify):
            write(draft, temporary, manifest)
        with Segmenter.load(temporary, device=device) as segmenter:
            notify("comparing the artifact with eager")
            compared = [*generated_samples(options.static_shape), *samples]
            report = check(segmenter, reference, compared)
            clock.lap("compare")
            accuracy = gate.check(segmenter, reference, notify) if gate else None
            clock.lap("measure AP")
            self_test = self_test_text(segmenter, reference, notify) if options.self_test else None
        # Only metadata changes: the verdicts are added, and the self-test runs on loading.
        manifest = dataclasses.replace(
            manifest,
            parity=report.to_dict(),
            accuracy=accuracy.to_dict() if accuracy else None,
        )
        with capture_library_output(notify):
            write(draft, temporary, manifest, self_test)
        with Segmenter.load(temporary, device=device) as segmenter:
            manifest = segmenter.manifest
        clock.lap("write")
    return ExportResult(path=output, manifest=manifest, report=report, seconds=clock.laps)


def convert(loaded: LoadedCheckpoint, options: ExportOptions) -> Draft:
    """Convert the checkpoint's model to the format of `options`, without quantising it.

    Raises:
        ExportError: the exporter failed; the message names the module and the line.
    """
    graph = InferenceGraph(
        loaded.model,
        mask_format=options.mask_format,
        dtype=options.dtype,
        device_target=options.device_target,
    )
    opset = options.target.opset()
    try:
        return FORMATS[options.format].convert(
            graph, static_shape=options.static_shape, opset=opset
        )
    except Exception as error:  # torch's exporters raise any exception
        raise explain_failure(error, graph, options.format) from error


def describe(loaded: LoadedCheckpoint, options: ExportOptions, draft: Draft) -> Manifest:
    """The manifest of an artifact, without verdicts."""
    header = loaded.header
    return Manifest(
        architecture=header.architecture,
        class_names=header.class_names,
        checkpoint_sha256=loaded.sha256,
        format=options.format,
        precision=options.precision,
        precision_notes=draft.notes or FLOAT32_NOTES.get(options.precision, ()),
        mask_format=options.mask_format,
        static_shape=options.static_shape,
        target=str(options.target) if options.format == "onnx" else "",
        device_target=options.device_target,
        operators=draft.operators,
        outputs=output_specs(options.mask_format),
        min_size=header.min_size,
        max_size=header.max_size,
        score_threshold=header.score_threshold,
        nms_threshold=header.nms_threshold,
        detections_per_image=header.detections_per_image,
        opset=draft.opset,
        exporter=draft.exporter,
        versions={
            "pedseg": __version__,  # of a checkout too, which has no package metadata
            **{name: metadata.version(name) for name in LIBRARIES},
        },
        metrics=header.metrics,
        dataset_digest=dict(header.dataset_digest),
        split=header.split,
        license=options.license,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write(draft: Draft, path: Path, manifest: Manifest, self_test: str | None = None) -> None:
    """Write the artifact and its checksum."""
    draft.write(path, manifest, self_test)
    append_checksum(path)


def check(
    segmenter: Segmenter, reference: EagerSegmenter, samples: Sequence[Sample]
) -> ParityReport:
    """Compare a temporary artifact with its checkpoint.

    Raises:
        ParityError: they disagree.
    """
    precision = segmenter.manifest.precision
    report = verify(segmenter, reference, samples, tolerances=TOLERANCES[precision])
    if not agrees(report, precision):
        raise ParityError(
            f"the artifact disagrees with the checkpoint and was not kept: {report.summary()}",
            report,
        )
    return report


class _Stopwatch:
    """Seconds per lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
