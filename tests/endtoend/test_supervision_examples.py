"""Tracking, counting and tiles: the examples, on an artifact that sees colours."""

from __future__ import annotations

import importlib.util
import json
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import Segmenter
from pedseg_runtime.masks import decode_rle
from pedseg_runtime.predict.video import VideoReader

pytestmark = pytest.mark.slow

pytest.importorskip("supervision", reason="needs supervision", exc_type=ImportError)
pytest.importorskip("trackers", reason="needs trackers", exc_type=ImportError)
av = pytest.importorskip("av", reason="needs PyAV: pip install 'pedseg[video]'")

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def street_video() -> ModuleType:
    return load("street_video")


def run(module: ModuleType, *arguments: object) -> Result:
    return CliRunner().invoke(module.main, [str(argument) for argument in arguments])


def crossing(time: int) -> NDArray[np.uint8]:
    """A red person who walks to the right, and a blue one below who walks to the left."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[10:40, 6 + 4 * time : 22 + 4 * time, 0] = 220
    image[50:80, 106 - 4 * time : 122 - 4 * time, 2] = 200
    return image


def test_each_direction_of_a_line_and_the_zone_are_counted(
    tmp_path: Path, street_video: ModuleType
) -> None:
    video = tmp_path / "two.mp4"
    frames = (crossing(time) for time in range(26))
    street_video.write_video(video, frames, size=(96, 128), rate=10)
    counted = tmp_path / "counted"
    result = run(load("count_people"), TINY, video, counted, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "1 in, 1 out, at most 1 in the zone" in result.output
    summary = json.loads((counted / "two.json").read_text(encoding="utf-8"))
    inward, outward = sorted(summary["crossings"], key=lambda event: event["direction"])
    assert inward["track"] != outward["track"]
    assert len(summary["in_zone"]) == 26
    assert 0 < sum(summary["in_zone"]) < 26  # the blue one, in the lower left quarter at the end
    assert summary["in_zone"][-1] == 1
    with VideoReader(counted / "two.mp4") as reader:
        assert len(list(reader)) == 26
        assert reader.rate == Fraction(10)
    with Image.open(counted / "two.png") as picture:
        assert picture.size == (128, 96)


def test_a_line_that_is_none_is_refused(tmp_path: Path) -> None:
    module = load("count_people")
    for option, value in (("--line", "1,2,3"), ("--line", "a,b,c,d"), ("--zone", "1,2,3,4")):
        result = run(module, TINY, tmp_path / "none.mp4", tmp_path, option, value)
        assert result.exit_code == 1
        assert f"{option}: expected x,y" in result.output


def test_a_generated_street_has_people_who_walk(tmp_path: Path, street_video: ModuleType) -> None:
    video = tmp_path / "street.mp4"
    options = ("--seconds", "0.3", "--people", "3", "--size", "96", "128")
    result = run(street_video, video, *options)
    assert result.exit_code == 0, result.output
    assert "3 frames; 1 to the right, 2 to the left" in result.output
    with VideoReader(video) as reader:
        frames = [frame.pixels().astype(int) for frame in reader]
    assert len(frames) == 3
    street = street_video.Street.make(seed=0, size=(96, 128), people=3, seconds=0.3)
    walker = street.walkers[1]
    before, at, after = (
        walker.at(walker.crossing + step, street.camera, street.weather).foot[0]
        for step in (-0.5, 0, 0.5)
    )
    assert before < at < after
    assert abs(at - 64) <= 1


def test_tiles_find_what_the_whole_image_holds(tmp_path: Path) -> None:
    """A person in one tile, and one where two overlap, who counts once."""
    image = np.zeros((100, 170, 3), np.uint8)
    image[20:50, 10:30, 0] = 220
    image[30:60, 74:94, 2] = 200  # in the tiles from column 0 and from column 70
    Image.fromarray(image).save(tmp_path / "two.png")
    options = ("--tile", "100", "--overlap", "30", "--device", "cpu", "--shown", "85")
    result = run(load("tiles"), TINY, tmp_path / "two.png", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "two.json").read_text(encoding="utf-8"))
    with Segmenter.load(TINY, device="cpu") as segmenter:
        expected = segmenter(image).above(0.5)
    assert [one["score"] for one in found] == pytest.approx(expected.scores.tolist())
    coco = expected.to_coco("two.png")
    for one, other in zip(found, coco, strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"])
        assert np.array_equal(decode_rle(one["segmentation"]), decode_rle(other["segmentation"]))
        for key in ("image_id", "category_id", "category_name"):
            assert one[key] == other[key]
    with Image.open(tmp_path / "out" / "two.jpg") as picture:
        assert picture.size == (85, 50)
