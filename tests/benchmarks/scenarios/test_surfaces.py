from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_benchmarks.correctness import Verdict
from pedseg_benchmarks.harness import LoadedContender
from pedseg_benchmarks.scenario_results import SurfacePoint
from pedseg_benchmarks.scenarios.surfaces import Resize, crowd, fit, surface
from pedseg_runtime.detections import Detections

RESIZE = Resize(800, 1333)


@pytest.mark.parametrize("plain", [False, True], ids=["street", "wall"])
@pytest.mark.parametrize("count", [1, 5, 20, 100])
@pytest.mark.slow
def test_a_crowd_has_as_many_people_as_asked_for(count, plain):
    """Every figure changes pixels of its own part of the empty image."""
    street, people = crowd(0, 240, 320, plain=plain), crowd(count, 240, 320, plain=plain)
    assert street.shape == people.shape == (240, 320, 3)
    assert people.dtype == np.uint8
    changed = (street != people).any(axis=2)
    rows = max(1, int(np.ceil(np.sqrt(count * 240 / (2.5 * 320)))))
    columns = -(-count // rows)
    cells = [
        changed[
            row * (240 // rows) : (row + 1) * (240 // rows),
            column * (320 // columns) : (column + 1) * (320 // columns),
        ].any()
        for row in range(rows)
        for column in range(columns)
    ]
    assert sum(cells) == count


@pytest.mark.slow
def test_crowds_are_the_same_every_time():
    assert (crowd(3, 100, 120, seed=4) == crowd(3, 100, 120, seed=4)).all()


def test_the_network_s_pixels_follow_torchvision_s_rule():
    assert RESIZE.megapixels(480, 640) == pytest.approx(800 * 1088 / 1e6)  # 1066, padded
    assert RESIZE.megapixels(160, 1280) == pytest.approx(192 * 1344 / 1e6)


def points(base, per_detection, per_megapixel, noise=0.0):
    generator = np.random.default_rng(0)
    for size in ((480, 480), (480, 640), (160, 1280)):
        for detections in (0, 5, 40):
            time = base + per_detection * detections + per_megapixel * RESIZE.megapixels(*size)
            samples = time + generator.normal(0, noise, 5)
            yield SurfacePoint("a", *size, detections, [float(value) for value in samples])


@given(st.floats(1, 100), st.floats(0, 5), st.floats(0.1, 500))
def test_a_plane_is_found_exactly(base, per_detection, per_megapixel):
    (model,) = fit(list(points(base, per_detection, per_megapixel)), RESIZE)
    assert model.base_ms == pytest.approx(base, abs=1e-6)
    assert model.per_detection_ms == pytest.approx(per_detection, abs=1e-6)
    assert model.per_megapixel_ms == pytest.approx(per_megapixel, abs=1e-6)
    assert model.r_squared == pytest.approx(1)


def test_noise_shows_in_the_share_that_is_explained():
    (model,) = fit(list(points(10, 1, 50, noise=5)), RESIZE)
    assert 0.5 < model.r_squared < 0.999


def test_points_that_span_no_plane_have_no_model():
    flat = [SurfacePoint("a", 480, 640, count, [1.0 + count]) for count in (0, 1, 2, 3, 4)]
    assert fit(flat, RESIZE) == []


class Counting:
    """Detects as many objects as the first pixel of the image says."""

    format, placement, max_batch, compile_seconds = "fake", None, None, None
    precision, provider = "fp32", "fake"

    def __init__(self, path, clock):
        self.path, self.clock = path, clock

    def infer(self, images):
        count = int(images[0][0, 0, 0])
        self.clock.advance(0.01 + 0.001 * count)
        return [
            Detections(
                boxes=np.tile(np.float32([0, 0, 5, 5]), (count, 1)),
                labels=np.ones(count, np.int64),
                scores=np.linspace(0.9, 0.8, count, dtype=np.float32),
                roi_masks=np.zeros((count, 28, 28), np.float32),
                image_size=images[0].shape[:2],
            )
        ]

    def close(self): ...


def test_a_point_says_how_many_detections_there_really_were(bench):
    contender = bench.contender("a")
    (bench.folder / "file").touch()
    counting = Counting(bench.folder / "file", bench.clock)
    worker = bench.worker(type(contender)("a", lambda: counting))
    contender = LoadedContender(
        "a", worker, None, [], Verdict("truth", True, "", None, None, None), None
    )
    images = [np.full((64, 64, 3), count, np.uint8) for count in (0, 3, 18, 90)]
    found = surface(
        [contender], images, counts=(0, 4, 20), sizes=((64, 64), (64, 96)), base=(64, 64), calls=2
    )
    # The crowds' own first pixels are bright: the images are nearer to what is asked for.
    assert [(point.height, point.width) for point in found] == [(64, 64)] * 3 + [(64, 96)]
    assert [point.detections for point in found][:3] == [0, 3, 18]
    for point in found:
        assert point.samples_ms == pytest.approx([10 + point.detections] * 2)
