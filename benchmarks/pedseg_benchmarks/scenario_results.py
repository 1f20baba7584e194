"""Results of a benchmark beyond one image at a time: one row class per scenario.

A row names its contender as `ContenderResult.name` does, and exists only for contenders that
passed the correctness check. Times are in milliseconds and sizes in pixels unless a name says
otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Offline:
    """MLPerf's offline scenario: all images at hand, as many per second as the batch size allows.

    Attributes:
        contender: its name.
        batch: images per call.
        images_per_second: of all timed calls together.
        samples_ms: every timed call.
    """

    contender: str
    batch: int
    images_per_second: float
    samples_ms: list[float]


@dataclass(frozen=True, slots=True)
class Server:
    """MLPerf's server scenario at one rate: Poisson arrivals, latency from arrival to answer.

    Attributes:
        contender: its name.
        rate: intended arrivals per second.
        arrivals: requests that were sent.
        shed: requests that were refused because the queue was full, or missed their deadline.
        p50, p90, p99: of the answered ones, queueing included.
        bound_ms: what `p99` must not exceed.
        holds: whether `p99` kept the bound and no request was shed.
        samples_ms: every answered arrival.
    """

    contender: str
    rate: float
    arrivals: int
    shed: int
    p50: float
    p90: float
    p99: float
    bound_ms: float
    holds: bool
    samples_ms: list[float]


@dataclass(frozen=True, slots=True)
class SurfacePoint:
    """Latency at one image size with one number of detections.

    Attributes:
        contender: its name.
        height, width: of the image.
        detections: that the contender returned.
        samples_ms: every timed call.
    """

    contender: str
    height: int
    width: int
    detections: int
    samples_ms: list[float]


@dataclass(frozen=True, slots=True)
class CostModel:
    """Least-squares fit `t = base + per_detection * detections + per_megapixel * megapixels`.

    Attributes:
        contender: its name.
        base_ms: for no detection and no pixel.
        per_detection_ms: for each detection.
        per_megapixel_ms: for 10^6 pixels of the network's resized and padded input.
        r_squared: share of the points' variance that the fit explains, at most 1.
    """

    contender: str
    base_ms: float
    per_detection_ms: float
    per_megapixel_ms: float
    r_squared: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From the start of a process to its first answer.

    Attributes:
        contender: its name.
        import_ms: the interpreter and the imports, one entry per started process, as below.
        load_ms: from the file to a model that is ready.
        first_ms: the first image.
        peak_rss_bytes: most memory that was resident until then; empty on Windows.
    """

    contender: str
    import_ms: list[float]
    load_ms: list[float]
    first_ms: list[float]
    peak_rss_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of answering a request.

    Attributes:
        contender: its name.
        stage: `decode`, `host-to-device`, `graph`, `paste` or `encode`.
        samples_ms: every timed call.
    """

    contender: str
    stage: str
    samples_ms: list[float]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine itself reaches, measured beside the contenders.

    Attributes:
        matmul_gflops: 10^9 floating-point operations per second of large float32 matrix products.
        bandwidth_gb_per_s: 10^9 bytes per second of copying memory, reads and writes together.
        samples_gflops: every timed product.
    """

    matmul_gflops: float
    bandwidth_gb_per_s: float
    samples_gflops: list[float]


@dataclass(frozen=True, slots=True)
class Limit:
    """How close a contender comes to the machine's matrix-product rate on one image.

    Attributes:
        contender: its name.
        height, width: of the image.
        detections: that the contender returned.
        gflop: 10^9 operations of the model's convolutions and matrix products on this image, two
            per multiply-add, counted by the textbook formula whatever the contender really does.
        gflops: that many divided by the median latency in seconds.
        share: of `Machine.matmul_gflops`; above 1 where an algorithm saves multiplications.
    """

    contender: str
    height: int
    width: int
    detections: int
    gflop: float
    gflops: float
    share: float


@dataclass(frozen=True, slots=True)
class ScenarioResults:
    """All scenarios, and the roofline; an empty list or None for one that was not measured."""

    offline: list[Offline] = field(default_factory=list)
    server: list[Server] = field(default_factory=list)
    surface: list[SurfacePoint] = field(default_factory=list)
    cost: list[CostModel] = field(default_factory=list)
    cold_start: list[ColdStart] = field(default_factory=list)
    stages: list[StageTime] = field(default_factory=list)
    machine: Machine | None = None
    limits: list[Limit] = field(default_factory=list)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScenarioResults:
        """Read what `dataclasses.asdict` made; a KeyError or TypeError says what is missing."""
        machine = values["machine"]
        return cls(
            offline=_rows(Offline, values["offline"]),
            server=_rows(Server, values["server"]),
            surface=_rows(SurfacePoint, values["surface"]),
            cost=_rows(CostModel, values["cost"]),
            cold_start=_rows(ColdStart, values["cold_start"]),
            stages=_rows(StageTime, values["stages"]),
            machine=Machine(**machine) if machine else None,
            limits=_rows(Limit, values["limits"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return dataclasses.asdict(self)


def _rows(kind: type[Row], values: list[Mapping[str, Any]]) -> list[Row]:
    return [kind(**row) for row in values]
