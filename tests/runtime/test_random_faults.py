"""Folders with faults of every kind, several at once, drawn at random.

PEDSEG_FAULTS=2000 python -m pytest tests/runtime/test_random_faults.py -s
"""

from __future__ import annotations

import collections
import io
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import Detections, Segmenter
from pedseg_runtime.backends.onnx import OnnxBackend
from pedseg_runtime.predict import predict_files

RUNS = int(os.environ.get("PEDSEG_FAULTS", "6"))
SIZES = [(40, 60), (60, 40), (48, 48)]
UNREADABLE = ("cut", "empty", "text", "strip", "vanished", "dangling", "folder")
FAILING = ("run", "run once", "draw", "draw once")


@dataclass
class Faults:
    """What fails: the value of the first pixel tells images apart.

    Attributes:
        run, draw: mark -> the error of a run on that image, or of drawing it.
        once: marks of images that fail the first time only.
    """

    run: dict[int, BaseException] = field(default_factory=dict)
    draw: dict[int, BaseException] = field(default_factory=dict)
    once: set[int] = field(default_factory=set)

    def check(self, errors: dict[int, BaseException], marks: list[int]) -> None:
        """Raise the error of the first mark that has one; of several together all stay."""
        for mark in marks:
            if mark in errors:
                error = errors[mark]
                if len(marks) == 1 and mark in self.once:
                    del errors[mark]
                raise error


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    faults, run, draw = Faults(), OnnxBackend.run, Detections.draw

    def failing_run(self: Any, images: NDArray[np.uint8]) -> Any:
        faults.check(faults.run, images[:, 0, 0, 0].tolist())
        return run(self, images)

    def failing_draw(self: Any, image: NDArray[np.uint8], *rest: Any, **options: Any) -> Any:
        faults.check(faults.draw, [int(image[0, 0, 0])])
        return draw(self, image, *rest, **options)

    monkeypatch.setattr(OnnxBackend, "run", failing_run)
    monkeypatch.setattr(Detections, "draw", failing_draw)
    return faults


def image_of(mark: int, rng: Generator) -> NDArray[np.uint8]:
    """An image with one or two persons."""
    image = np.zeros((*SIZES[rng.integers(len(SIZES))], 3), np.uint8)
    image[8:25, 5:15, 1] = rng.integers(60, 256)
    image[10:30, 20 : rng.integers(25, 39), 2] = rng.integers(60, 256)
    image[0, 0, 0] = mark
    return image


def damage(path: Path, kind: str) -> None:
    """Make a file one that cannot be read."""
    content = path.read_bytes()
    path.unlink()
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_bytes(b"<html>404</html>")
    elif kind == "strip":
        stream = io.BytesIO()
        Image.new("RGB", (2000, 1)).save(stream, "PNG")
        path.write_bytes(stream.getvalue())
    elif kind == "dangling":
        path.symlink_to(path.with_name("nothing"))
    elif kind == "folder":
        path.mkdir()


def test_every_good_image_has_its_result_and_every_bad_one_its_reason(
    segmenter: Segmenter, faults: Faults, errors: list[BaseException], tmp_path: Path
) -> None:
    kinds: collections.Counter[str] = collections.Counter()
    for seed in range(RUNS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        kinds += one_run(np.random.default_rng(seed), segmenter, faults, errors, folder)
        shutil.rmtree(folder)
    print(f"{RUNS} runs with {kinds.total()} faults: {dict(kinds)}")
    assert set(kinds) <= {*UNREADABLE, *FAILING}


def one_run(
    rng: Generator,
    segmenter: Segmenter,
    faults: Faults,
    errors: list[BaseException],
    folder: Path,
) -> collections.Counter[str]:
    """A folder with one to five faults, three times over; the kinds of its faults."""
    files, expected = [], {}
    faults.run, faults.draw, faults.once = {}, {}, set()
    for number in range(int(rng.integers(6, 13))):
        image = image_of(number + 1, rng)
        files.append(folder / f"{number}.png")
        Image.fromarray(image).save(files[-1])
        expected[files[-1]] = len(segmenter(image))
    lasting, passing, kinds = set(), set(), collections.Counter[str]()
    for number in rng.choice(len(files), int(rng.integers(1, 6)), replace=False).tolist():
        kind = str(rng.choice([*UNREADABLE, *FAILING]))
        kinds[kind] += 1
        if kind in UNREADABLE:
            damage(files[number], kind)
        else:
            where = faults.run if kind.startswith("run") else faults.draw
            # While results are written, an OSError is the disk's: it ends the command.
            usable = [one for one in errors if where is faults.run or not isinstance(one, OSError)]
            where[number + 1] = usable[rng.integers(len(usable))]
        if kind.endswith("once"):
            faults.once.add(number + 1)
        (passing if kind.endswith("once") else lasting).add(files[number])
    batch_size = [None, 1, 3, 8][rng.integers(4)]
    for attempt in range(3):
        result = predict_files(
            segmenter, files, output=folder / "out", batch_size=batch_size, resume=attempt > 0
        )
        bad = lasting | (passing if attempt == 0 else set())
        assert {item.file for item in result.failed} == bad
        assert {item.file for item in result.predicted} == set(files) - bad
        assert sum(item.resumed for item in result.predicted) == (
            0 if attempt == 0 else len(files) - len(lasting | (passing if attempt == 1 else set()))
        )
        for item in result.failed:
            assert item.reason.startswith(str(item.file))
            assert len(item.reason.splitlines()) == 1
        listed = json.loads((folder / "out" / "detections.json").read_text(encoding="utf-8"))
        found = {Path(entry["file"]): len(entry["detections"]) for entry in listed}
        assert found == {file: expected[file] for file in files if file not in bad}
        assert all((folder / "out" / f"{file.stem}.png").exists() for file in found)
    return kinds
