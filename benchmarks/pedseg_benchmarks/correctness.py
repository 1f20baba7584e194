"""Whether a contender's detections are correct; only then does its speed mean anything.

float32 is held to parity, detection by detection. A lower precision moves all detections a little:
it is held to AP on labelled images, or without them to finding most of eager's detections again.
AP alone needs pycocotools.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pedseg_export.accuracy_gate import AccuracyGate, AccuracyVerdict, Outcome, judge
from pedseg_export.verification import MIN_AGREEMENT, agrees
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError
from pedseg_runtime.parity import TOLERANCES, ParityReport, Rerun, Settings, compare

if TYPE_CHECKING:
    from pedseg_train.evaluation import Recording, Segment

TRUTH, PARITY, AP, AGREEMENT = "truth", "parity", "ap", "agreement"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a correctness check.

    Attributes:
        judged_by: the criterion: `truth` (the reference itself), `parity`, `ap` or `agreement`.
        passed: whether its times may be shown.
        reason: in one line; empty for the reference.
        parity: against the reference; None for the reference itself.
        gate: of the AP gate; None for every other criterion.
        accuracy: `bbox` and `segm` -> AP in 0..1, and `images`; None without labelled images.
    """

    judged_by: str
    passed: bool
    reason: str
    parity: ParityReport | None
    gate: AccuracyVerdict | None
    accuracy: Mapping[str, float] | None

    def parity_dict(self) -> dict[str, Any] | None:
        """The parity report for a document."""
        return None if self.parity is None else self.parity.to_dict()

    def gate_dict(self) -> dict[str, Any] | None:
        """The gate's verdict for a document."""
        return None if self.gate is None else self.gate.to_dict()


class CorrectnessCheck:
    """Compares the detections of contenders with the first contender's, which is the reference."""

    def __init__(
        self,
        settings: Settings,
        names: Sequence[str],
        labelled: AccuracyGate | None = None,
        reruns: Callable[[int], Iterable[Rerun]] | None = None,
    ) -> None:
        """Start without a reference.

        Args:
            settings: thresholds and sizes that all contenders select their detections by.
            names: of the images that all are compared on.
            labelled: images to measure AP on.
            reruns: of eager, with noise, on one of the images; see `compare`.
        """
        self._settings = dataclasses.asdict(settings)
        self._names = names
        self._labelled = labelled
        self._reruns = reruns
        self._reference: list[Detections] | None = None
        self._reference_recording: Recording | None = None

    def __call__(
        self, name: str, precision: str, found: list[Detections], segment: Segment
    ) -> Verdict:
        """Check a contender; the first one is taken for the reference.

        Args:
            name: for the progress bar.
            precision: what its networks compute in.
            found: its detections, one entry per image.
            segment: the contender itself, for the labelled images.

        Raises:
            DatasetError: the labelled images have no labelled person.
        """
        recording = self._record(name, segment)
        accuracy = None if recording is None else _accuracy(recording)
        if self._reference is None:
            self._reference, self._reference_recording = found, recording
            return Verdict(TRUTH, True, "", None, None, accuracy)
        lossy = precision != "fp32"
        report = compare(
            self._reference,
            found,
            names=self._names,
            tolerances=TOLERANCES[precision],
            reruns=None if lossy else self._reruns,
            **self._settings,
        )
        if not lossy:
            return Verdict(PARITY, report.passed, report.reason, report, None, accuracy)
        if recording is None or self._labelled is None or self._reference_recording is None:
            passed, reason = _agreement(report, precision)
            return Verdict(AGREEMENT, passed, reason, report, None, None)
        from pedseg_train.evaluation.bootstrap import compare_ap

        change = compare_ap(self._reference_recording, recording)
        gate = judge(change, max_drop=self._labelled.max_drop)
        return Verdict(AP, gate.outcome is not Outcome.FAILS, gate.reason, report, gate, accuracy)

    def _record(self, name: str, segment: Segment) -> Recording | None:
        labelled = self._labelled
        if labelled is None:
            return None
        from pedseg_train.evaluation import record

        recording = record(segment, labelled.dataset, labelled.indices, description=f"AP of {name}")
        if not recording.truth:
            raise DatasetError(
                f"expected labelled people to measure AP on, found none on "
                f"{len(labelled.indices)} images; label some, or measure on others"
            )
        return recording


def _accuracy(recording: Recording) -> dict[str, float]:
    from pedseg_train.evaluation import count

    result = count(recording)
    return {
        "bbox": result.bbox["AP"] or 0.0,
        "segm": result.segm["AP"] or 0.0,
        "images": result.images,
    }


def _agreement(report: ParityReport, precision: str) -> tuple[bool, str]:
    counts = report.counts
    most = max(counts.reference, counts.candidate)
    reason = (
        f"{counts.matched} of {most} detections found by both sides, at least "
        f"{MIN_AGREEMENT:.0%} are needed"
    )
    return agrees(report, precision), reason
