"""A clock that only moves when told to, and contenders whose speed is written down."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pedseg_benchmarks.contender_rows import contender_rows
from pedseg_benchmarks.contenders import Contender
from pedseg_benchmarks.correctness import CorrectnessCheck
from pedseg_benchmarks.harness import load_contenders, time_contenders
from pedseg_benchmarks.statistics import drift
from pedseg_benchmarks.workers import LocalWorker, WorkerContext
from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import Settings
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.models import build_model


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

    def mark(self) -> None: ...

    def elapsed(self, start: None, end: None) -> float | None: ...

    def reset_peak_memory(self) -> None:
        self.journal.append("reset")

    def peak_memory(self) -> int | None:
        return 1024


class FakeLoaded:
    """Detects one box on every image and needs the given seconds for every call in turn."""

    format, placement, max_batch, compile_seconds = "fake", None, None, None

    def __init__(self, name, path, clock, journal, seconds, shift=0.0, precision="fp32"):
        self.name, self.clock, self.journal, self.shift = name, clock, journal, shift
        self.path, self.precision = path, precision
        self.seconds = seconds if callable(seconds) else lambda _call: seconds
        self.provider = f"fake:{name}"
        self.calls = 0

    def infer(self, images):
        self.journal.append(self.name)
        self.clock.advance(self.seconds(self.calls))
        self.calls += 1
        box = np.array([[1, 1, 9, 9]], np.float32) + np.float32(self.shift)
        return [
            Detections(
                boxes=box,
                labels=np.array([1]),
                scores=np.array([0.9], np.float32),
                roi_masks=np.full((1, 28, 28), 0.8, np.float32),
                image_size=image.shape[:2],
            )
            for image in images
        ]

    def close(self):
        self.journal.append(f"close {self.name}")


@dataclasses.dataclass
class Bench:
    """What a test of the harness needs."""

    clock: FakeClock
    journal: list[str]
    device: FakeDevice
    folder: Path

    def loaded(self, name, seconds=0.01, **traits) -> FakeLoaded:
        path = self.folder / name
        path.write_bytes(name.encode())
        return FakeLoaded(name, path, self.clock, self.journal, seconds, **traits)

    def contender(self, name, seconds=0.01, load=0.5, optional=False, **traits) -> Contender:
        def start():
            self.clock.advance(load)
            return self.loaded(name, seconds, **traits)

        return Contender(name, start, optional)

    def context(self, name, seconds=0.01, device=None) -> WorkerContext:
        return WorkerContext(self.loaded(name, seconds), device or self.device, self.clock)

    def worker(self, contender, device=None) -> LocalWorker:
        return LocalWorker(contender, device or self.device, self.clock)

    def measure(self, contenders, images, *, warmup=2, rounds=4, stability=None, labelled=None):
        """The rows, the contenders that were not run, and the drift."""
        names = [f"{letter}.png" for letter in "abc"]
        with ExitStack() as stack:
            loaded, missing = load_contenders(
                contenders,
                images,
                check=CorrectnessCheck(Settings(0.05, 0.5, 100), names, labelled),
                warmup=warmup,
                start_worker=self.worker,
                stack=stack,
            )
            passed = [contender for contender in loaded if contender.verdict.passed]
            rounds = time_contenders(passed, images, rounds=rounds, stability=stability)
        return contender_rows(loaded, rounds), missing, drift(rounds.seconds[0])


@pytest.fixture
def bench(tmp_path):
    journal: list[str] = []
    return Bench(FakeClock(), journal, FakeDevice(journal), tmp_path)


@pytest.fixture
def images():
    """Three images of two sizes, uint8 [H, W, 3]."""
    return [np.zeros((height, 20, 3), np.uint8) for height in (10, 12, 10)]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Random weights, yet ten detections on any image."""
    torch.manual_seed(0)
    model = build_model(
        "maskrcnn_resnet18_fpn",
        min_size=64,
        max_size=96,
        score_threshold=0.0,
        detections_per_image=10,
    )
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    header = CheckpointHeader.of(
        model, architecture="maskrcnn_resnet18_fpn", class_names=("background", "person")
    )
    save_checkpoint(path, model, header)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Three noise images of two sizes."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number, size in enumerate([(60, 80), (60, 80), (90, 50)]):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder
