"""Are a contender's answers right? Only then does its speed mean anything.

float32 is held to parity, detection by detection. A lower precision moves all detections a little:
it is held to AP on labelled images, or without them to finding most of eager's detections again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pedseg_export.accuracy import AccuracyGate
from pedseg_export.gate import AccuracyVerdict, Outcome, judge
from pedseg_export.verification import MIN_AGREEMENT, agrees
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError
from pedseg_runtime.parity import TOLERANCES, ParityReport, Rerun, Settings, compare
from pedseg_train.evaluation import Recording, Segment, count, record
from pedseg_train.evaluation.bootstrap import compare_ap

TRUTH, PARITY, AP, AGREEMENT = "truth", "parity", "ap", "agreement"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found on a contender's answers.

    Attributes:
        judged_by: `truth`, `parity`, `ap` or `agreement`.
        passed: whether its times may be shown.
        reason: in one line; empty for the truth itself.
        parity: against the truth; None for the truth itself.
        gate: of the AP gate; None unless it was asked.
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


class Judge:
    """Judges contenders against the first, which is the truth."""

    def __init__(
        self,
        settings: Settings,
        names: Sequence[str],
        labelled: AccuracyGate | None = None,
        reruns: Callable[[int], Iterable[Rerun]] | None = None,
    ) -> None:
        """Wait for the truth.

        Args:
            settings: by which all contenders choose their detections.
            names: of the images that all are compared on.
            labelled: images to measure AP on.
            reruns: of eager, with noise, on one of the images; see `compare`.
        """
        self._settings = dataclasses.asdict(settings)
        self._names = names
        self._labelled = labelled
        self._reruns = reruns
        self._truth: list[Detections] | None = None
        self._reference: Recording | None = None

    def __call__(
        self, name: str, precision: str, found: list[Detections], segment: Segment
    ) -> Verdict:
        """Judge a contender; the first one is taken for the truth.

        Args:
            name: for the progress bar.
            precision: what its networks compute in.
            found: its detections on the images.
            segment: the contender itself, for the labelled images.

        Raises:
            DatasetError: nobody is labelled on the labelled images.
        """
        recording = self._record(name, segment)
        accuracy = None if recording is None else _accuracy(recording)
        if self._truth is None:
            self._truth, self._reference = found, recording
            return Verdict(TRUTH, True, "", None, None, accuracy)
        lossy = precision != "fp32"
        tolerances = TOLERANCES[precision]
        report = compare(
            self._truth,
            found,
            names=self._names,
            tolerances=tolerances,
            reruns=None if lossy else self._reruns,
            **self._settings,
        )
        if not lossy:
            return Verdict(PARITY, report.passed, report.reason, report, None, accuracy)
        if recording is None or self._reference is None or self._labelled is None:
            passed, reason = _agreement(report, precision)
            return Verdict(AGREEMENT, passed, reason, report, None, None)
        gate = judge(compare_ap(self._reference, recording), max_drop=self._labelled.max_drop)
        passed = gate.outcome is not Outcome.FAILS
        return Verdict(AP, passed, gate.reason, report, gate, accuracy)

    def _record(self, name: str, segment: Segment) -> Recording | None:
        labelled = self._labelled
        if labelled is None:
            return None
        recording = record(segment, labelled.dataset, labelled.indices, description=f"AP of {name}")
        if not recording.truth:
            raise DatasetError(
                f"expected labelled people to measure AP on, found none on "
                f"{len(labelled.indices)} pictures; label some, or measure on others"
            )
        return recording


def _accuracy(recording: Recording) -> dict[str, float]:
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
