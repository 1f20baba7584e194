"""The parts of the generator whose geometry the masks rely on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pedseg_train.synthetic import objects
from pedseg_train.synthetic.appearance import random_appearance, random_pose
from pedseg_train.synthetic.paint import (
    Cutout,
    Fabric,
    Light,
    Sheet,
)
from pedseg_train.synthetic.people import draw_person
from pedseg_train.synthetic.scenery import Camera, random_camera
from pedseg_train.synthetic.street import Thing, ids_of, without_hidden_people

LIGHT = Light(side=0.3, strength=0.3)


def alpha(cutout):
    return np.asarray(cutout.image.getchannel("A"))


@given(st.integers(0, 2**32), st.integers(64, 800), st.integers(64, 800))
def test_the_nearest_ground_is_at_the_lower_edge_and_the_farthest_at_the_horizon(seed, w, h):
    camera = random_camera(np.random.default_rng(seed), width=w, height=h)
    assert camera.point(0, 0, camera.nearest)[1] == pytest.approx(h)
    assert camera.point(0, 0, 1e9)[1] == pytest.approx(camera.horizon)
    assert camera.point(0, camera.eye, 5.0)[1] == pytest.approx(camera.horizon)


def test_a_metre_upwards_is_the_scale_in_pixels():
    camera = Camera(width=300, height=200, horizon=80, middle=150, eye=1.6, focal=320)
    foot, top = camera.point(1, 0, 8), camera.point(1, 1, 8)
    assert foot[0] == top[0] == 190
    assert foot[1] - top[1] == pytest.approx(camera.scale(8)) == 40


@pytest.mark.parametrize("scale", [10, 40, 700], ids=["far", "near", "huge"])
def test_a_rectangle_keeps_its_place_and_size(scale):
    sheet = Sheet(scale, left=1, right=1, top=2, light=LIGHT)
    sheet.polygon([(-0.5, 0), (0.5, 0), (0.5, 1), (-0.5, 1)], (200, 10, 10))
    cutout = sheet.cutout()
    covered = alpha(cutout) >= 128
    assert covered.sum() == pytest.approx(scale**2, rel=0.06)
    assert cutout.left == pytest.approx(-scale / 2, abs=1)
    assert cutout.top == pytest.approx(-scale, abs=1)


def test_edges_are_smooth():
    sheet = Sheet(30, left=1, right=1, top=2, light=LIGHT)
    sheet.ball((0, 1), 0.5, 0.5, (200, 10, 10))
    assert len(np.unique(alpha(sheet.cutout()))) > 8


@pytest.mark.parametrize("pattern", ["plain", "rows", "columns", "checks", "blocks"])
def test_a_fabric_shows_its_colors(pattern):
    fabric = Fabric((10, 20, 30), pattern, (200, 210, 220), period=0.2)
    colors = fabric.texture(np.linspace(0, 1, 50), np.linspace(0, 1, 40))
    found = {tuple(color) for color in colors.reshape(-1, 3).tolist()}
    assert found == ({(10, 20, 30)} if pattern == "plain" else {(10, 20, 30), (200, 210, 220)})


@given(st.integers(0, 2**32), st.floats(18, 110))
def test_a_person_stands_on_the_ground_and_is_as_tall_as_said(seed, scale):
    rng = np.random.default_rng(seed)
    appearance = random_appearance(rng)
    cutout = draw_person(
        appearance, random_pose(rng, build=appearance.build), scale=scale, light=LIGHT
    )
    rows = np.flatnonzero((alpha(cutout) >= 128).any(axis=1)) + cutout.top
    tall = appearance.height * scale
    assert -0.05 * tall - 2 <= rows[-1] <= 0.1 * tall + 1
    assert 0.88 * tall - 2 <= -rows[0] <= 1.1 * tall + 2


@given(st.integers(0, 2**32))
def test_a_leg_keeps_its_length_from_the_side(seed):
    pose = random_pose(np.random.default_rng(seed), build=1.0, yaw=math.pi / 2)
    for leg in pose.legs:
        assert math.dist(leg.upper, leg.middle) == pytest.approx(0.235, abs=0.01)
        assert math.dist(leg.middle, leg.lower) == pytest.approx(0.235, abs=0.01)


@pytest.mark.parametrize(
    "draw",
    [
        objects.bench,
        objects.board,
        objects.bollard,
        objects.bush,
        objects.cone,
        objects.hydrant,
        objects.lamp,
        objects.litter_bin,
        objects.post_box,
        objects.sign,
        objects.traffic_light,
        objects.tree,
        objects.bicycle,
        objects.car,
        objects.dog,
        objects.oncoming_car,
    ],
    ids=lambda draw: draw.__name__,
)
def test_things_touch_the_ground_at_any_distance(draw):
    for scale in (6, 60):
        cutout = draw(np.random.default_rng(4), scale, LIGHT)
        bottom = cutout.top + cutout.image.height
        assert -0.12 * scale - 1 <= bottom <= 0.15 * scale + 2
        assert cutout.left <= 0 <= cutout.left + cutout.image.width


def block(width, height, *, foot, person, z=5.0):
    image = Image.new("RGBA", (width, height), (90, 90, 90, 255))
    return Thing(Cutout(image, left=0, top=-height), foot, z, person)


SIZE = (40, 60)


def test_a_nearer_thing_takes_pixels_from_the_person_behind():
    person = block(10, 20, foot=(10, 30), person=True)
    bin_ = block(10, 8, foot=(15, 32), person=False)
    things = without_hidden_people([person, bin_], SIZE)
    ids = ids_of(things, SIZE)
    assert things == [person, bin_]
    assert ids.sum() == 10 * 20 - 5 * 6
    assert ids[29, 14] == 1
    assert ids[29, 15] == 0


def test_a_nearer_person_takes_the_pixels_and_ids_count_from_the_back():
    back, front = (block(10, 20, foot=(x, 30), person=True) for x in (10, 16))
    ids = ids_of(without_hidden_people([back, front], SIZE), SIZE)
    assert (ids == 1).sum() == 6 * 20
    assert (ids == 2).sum() == 10 * 20


@pytest.mark.parametrize(
    ("person", "cover"),
    [
        pytest.param((10, 20, (10, 30)), (10, 20, (10, 30)), id="hidden"),
        pytest.param((10, 20, (10, 30)), (10, 18, (10, 30)), id="almost hidden"),
        pytest.param((10, 20, (70, 30)), (1, 1, (0, 30)), id="outside"),
        pytest.param((10, 20, (-9, 30)), (1, 1, (0, 30)), id="a strip at the edge"),
        pytest.param((5, 5, (10, 30)), (1, 1, (0, 30)), id="tiny"),
    ],
)
def test_people_who_cannot_be_recognised_are_left_out_of_the_scene(person, cover):
    hidden = block(*person[:2], foot=person[2], person=True)
    other = block(*cover[:2], foot=cover[2], person=False)
    things = without_hidden_people([hidden, other], SIZE)
    assert things == [other]
    assert not ids_of(things, SIZE).any()


def test_who_is_hidden_only_by_somebody_left_out_stays():
    back = block(10, 20, foot=(10, 30), person=True)
    hidden = block(10, 10, foot=(10, 30), person=True)
    cover = block(10, 10, foot=(10, 30), person=False)
    assert without_hidden_people([back, hidden, cover], SIZE) == [back, cover]
