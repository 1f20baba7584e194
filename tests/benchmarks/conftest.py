"""A clock that only moves when told to, and contenders whose speed is written down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pedseg_benchmarks.contenders import Contender
from pedseg_runtime.detections import Detections


class FakeClock:
    """Seconds that pass only by `advance`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeDevice:
    """Writes down in `journal` what is asked of it."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    def synchronise(self) -> None:
        self.journal.append("sync")

    def reset_peak_memory(self) -> None:
        self.journal.append("reset")

    def peak_memory(self) -> int | None:
        return 1024


class FakeLoaded:
    """Detects one box on every image and needs the given seconds for every call in turn."""

    format, precision = "fake", "fp32"

    def __init__(self, name, clock, journal, seconds, shift=0.0):
        self.name, self.clock, self.journal, self.shift = name, clock, journal, shift
        self.seconds = seconds if callable(seconds) else lambda _call: seconds
        self.provider = f"fake:{name}"
        self.calls = 0

    def infer(self, image):
        self.journal.append(self.name)
        self.clock.advance(self.seconds(self.calls))
        self.calls += 1
        box = np.array([[1, 1, 9, 9]], np.float32) + np.float32(self.shift)
        return Detections(
            boxes=box,
            labels=np.array([1]),
            scores=np.array([0.9], np.float32),
            roi_masks=np.full((1, 28, 28), 0.8, np.float32),
            image_size=image.shape[:2],
        )

    def close(self):
        self.journal.append(f"close {self.name}")


@dataclasses.dataclass
class Bench:
    """What a test of the harness needs."""

    clock: FakeClock
    journal: list[str]
    device: FakeDevice
    folder: Path

    def loaded(self, name, seconds=0.01, shift=0.0) -> FakeLoaded:
        return FakeLoaded(name, self.clock, self.journal, seconds, shift)

    def contender(self, name, seconds=0.01, shift=0.0, load=0.5) -> Contender:
        path = self.folder / name
        path.write_bytes(name.encode())

        def start():
            self.clock.advance(load)
            return self.loaded(name, seconds, shift)

        return Contender(name, path, start)


@pytest.fixture
def bench(tmp_path):
    journal: list[str] = []
    return Bench(FakeClock(), journal, FakeDevice(journal), tmp_path)


@pytest.fixture
def images():
    """Three images of two sizes, uint8 [H, W, 3]."""
    return [np.zeros((height, 20, 3), np.uint8) for height in (10, 12, 10)]
