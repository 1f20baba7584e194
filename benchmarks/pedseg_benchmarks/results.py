"""The benchmark as a document: everything that was measured, as JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pedseg_runtime.errors import InputError

from .scenario_results import ScenarioResults
from .statistics import Drift, LatencySummary, Speedup

SCHEMA_VERSION = 2
SCHEMA = "pedseg-benchmark"


@dataclass(frozen=True, slots=True)
class ContenderResult:
    """One row: a contender, the verdict on its detections and, if that passed, its times.

    Attributes:
        name: `eager` or the artifact's file name.
        format: `torch`, `onnx`, `torchscript`, `pt2`, `stock-onnx` or `openvino`.
        precision: e.g. `fp32`.
        provider: what really ran it.
        placement: provider -> nodes that run there, and `Memcpy`; None where it is unknown.
        sha256: digest of its file.
        size_bytes: of its file.
        detections: number on every image.
        parity: `ParityReport.to_dict()` against eager; None for eager itself.
        accuracy: `bbox` and `segm` -> AP in 0..1, and `images`, of this very file; None if the
            images have no labels.
        gate: for lower precisions, the AP gate's `to_dict()` against eager; None otherwise.
        judged_by: `truth` (eager itself), `parity`, `ap` (the gate) or `agreement` (of a lower
            precision without labelled images: most of eager's detections were found again).
        reason: of the verdict, in one line; empty for eager.
        passed: the verdict; True for eager.
        load_ms: from file to ready.
        first_call_ms: the first image after loading.
        first_of_size_ms: `HEIGHTxWIDTH` -> the first image of that size.
        peak_memory_bytes: of the device while loading and warming up, as far as torch can see it.
        peak_rss_bytes: of the contender's own process; None unless each had one.
        latency: summary of the timed calls; None if it did not pass, for then it was not timed.
        speedup: against eager; None for eager and if it did not pass.
        stable: whether the last windows of rounds agreed; None where nothing was timed.
        samples_ms: every timed call, by round, then by image; empty if it did not pass.
        device_samples_ms: the same calls by the GPU's own clock (CUDA events); empty elsewhere.
        compile_ms: of the calls in which a compiler ran, within load and first calls; None if none.
        outliers: timed calls far slower than others of the same image, see
            `statistics.count_outliers`; they are in every figure. None where nothing was timed.
    """

    name: str
    format: str
    precision: str
    provider: str
    placement: Mapping[str, int] | None
    sha256: str
    size_bytes: int
    detections: list[int]
    parity: Mapping[str, Any] | None
    accuracy: Mapping[str, float] | None
    gate: Mapping[str, Any] | None
    judged_by: str
    passed: bool
    load_ms: float
    first_call_ms: float
    first_of_size_ms: Mapping[str, float]
    peak_memory_bytes: int | None
    peak_rss_bytes: int | None
    latency: LatencySummary | None
    speedup: Speedup | None
    stable: bool | None
    samples_ms: list[list[float]]
    device_samples_ms: list[list[float]] = field(default_factory=list)
    compile_ms: float | None = None
    outliers: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NotRun:
    """A contender that was requested and is not available here.

    Attributes:
        name: as `ContenderResult.name` would be.
        reason: in one line.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One benchmark.

    Attributes:
        created: ISO 8601 time, UTC.
        settings: device, threads, warm-up calls, rounds (that were run, of at most `max_rounds`),
            whether masks were pasted, whether processes were isolated, sizes and thresholds.
        environment: see `environment.fingerprint`.
        images: per image name, height and width.
        contenders: eager first.
        sections: what was measured beyond one image at a time.
        not_run: contenders that were requested and are not available.
        drift: of eager over the rounds; None with fewer than three.
        left_out: images that cannot be read or that a contender fails on.
        schema: what kind of document this is.
        schema_version: raised when a field changes its meaning or disappears.
    """

    created: str
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    images: list[Mapping[str, Any]]
    contenders: list[ContenderResult]
    sections: ScenarioResults = field(default_factory=ScenarioResults)
    not_run: list[NotRun] = field(default_factory=list)
    drift: Drift | None = None
    left_out: list[NotRun] = field(default_factory=list)
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    @property
    def passed(self) -> bool:
        """Whether every contender passed its correctness check."""
        return all(contender.passed for contender in self.contenders)

    def to_dict(self) -> dict[str, Any]:
        """The document as plain values for JSON."""
        return {"schema": self.schema, "schema_version": self.schema_version} | dataclasses.asdict(
            self
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BenchmarkResult:
        """Read what `to_dict` wrote.

        Raises:
            InputError: the values are no such document, incomplete, or of a newer schema.
        """
        version = values.get("schema_version")
        if values.get("schema") != SCHEMA or not isinstance(version, int):
            raise InputError(
                f"benchmark: expected a document of schema {SCHEMA!r}, found "
                f"{values.get('schema')!r}; use a file that pedseg-bench wrote"
            )
        if version != SCHEMA_VERSION:
            advice = "upgrade pedseg" if version > SCHEMA_VERSION else "measure again"
            raise InputError(
                f"benchmark: expected schema {SCHEMA_VERSION}, found {version}; {advice}"
            )
        try:
            contenders = [_contender(row) for row in values["contenders"]]
            sections = ScenarioResults.from_dict(values["sections"])
            drift = values.get("drift")
            read = {
                "contenders": contenders,
                "sections": sections,
                "not_run": [NotRun(**row) for row in values.get("not_run", [])],
                "left_out": [NotRun(**row) for row in values.get("left_out", [])],
                "drift": Drift(**drift) if drift else None,
            }
            return cls(**{**values, **read})
        except (KeyError, TypeError) as error:
            raise InputError(
                f"benchmark: the document is incomplete ({error!r}); measure again"
            ) from error


def _contender(values: Mapping[str, Any]) -> ContenderResult:
    latency, speedup = values["latency"], values["speedup"]
    return ContenderResult(
        **{
            **values,
            "latency": LatencySummary(**latency) if latency else None,
            "speedup": Speedup(**speedup) if speedup else None,
        }
    )
