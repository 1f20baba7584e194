"""The benchmark as a document: everything that was measured, as JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedseg_runtime.errors import InputError

from .statistics import LatencySummary, Speedup

SCHEMA_VERSION = 1
SCHEMA = "pedseg-benchmark"


@dataclass(frozen=True, slots=True)
class ContenderResult:
    """One row: a contender, its parity and, if that passed, its times.

    Attributes:
        name: `eager` or the artifact's file name.
        format: `eager`, `onnx` or `torchscript`.
        precision: e.g. `fp32`.
        provider: what really ran it.
        sha256: digest of its file.
        size_bytes: of its file.
        detections: number on every image.
        parity: `ParityReport.to_dict()` against eager; None for eager itself.
        parity_passed: the verdict; True for eager.
        load_ms: from file to ready.
        first_call_ms: the first image after loading.
        first_of_size_ms: `HEIGHTxWIDTH` -> the first image of that size.
        peak_memory_bytes: of the device while loading and warming up, as far as torch can see it.
        latency: summary of the timed calls; None if parity failed, for then it was not timed.
        speedup: against eager; None for eager and if parity failed.
        samples_ms: every timed call, by round, then by image; empty if parity failed.
    """

    name: str
    format: str
    precision: str
    provider: str
    sha256: str
    size_bytes: int
    detections: list[int]
    parity: Mapping[str, Any] | None
    parity_passed: bool
    load_ms: float
    first_call_ms: float
    first_of_size_ms: Mapping[str, float]
    peak_memory_bytes: int | None
    latency: LatencySummary | None
    speedup: Speedup | None
    samples_ms: list[list[float]]


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One benchmark.

    Attributes:
        created: ISO 8601 time, UTC.
        settings: device, threads, warm-up calls, rounds, whether masks were pasted, thresholds.
        environment: see `environment.fingerprint`.
        images: per image name, height and width.
        contenders: eager first.
        schema: what kind of document this is.
        schema_version: raised when a field changes its meaning or disappears.
    """

    created: str
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    images: list[Mapping[str, Any]]
    contenders: list[ContenderResult]
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    @property
    def passed(self) -> bool:
        """Whether every artifact agrees with eager."""
        return all(contender.parity_passed for contender in self.contenders)

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
        if version > SCHEMA_VERSION:
            raise InputError(
                f"benchmark: expected schema <= {SCHEMA_VERSION}, found {version}; upgrade pedseg"
            )
        try:
            contenders = [_contender(row) for row in values["contenders"]]
            return cls(**{**values, "contenders": contenders})
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
