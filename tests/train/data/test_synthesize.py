import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pedseg_runtime.errors import DatasetError, InputError
from pedseg_train.data import PennFudanDataset, combined_digest
from pedseg_train.data.check import check_dataset
from pedseg_train.synthetic import dataset as synthesis
from pedseg_train.synthetic import street
from pedseg_train.synthetic.dataset import draw_scene, synthesize

pytestmark = pytest.mark.slow


@settings(max_examples=25)
@given(seed=st.integers(0, 2**63), index=st.integers(0, 10**6))
def test_every_scene_is_well_formed(seed, index):
    image, ids = draw_scene(seed, index, min_size=128, max_size=300)
    assert image.dtype == ids.dtype == np.uint8
    assert image.shape == (*ids.shape, 3)
    assert all(128 <= side <= 300 for side in ids.shape)
    count = int(ids.max())
    assert np.array_equal(np.unique(ids[ids > 0]), np.arange(1, count + 1))
    for instance in range(1, count + 1):
        mask = ids == instance
        assert mask.sum() >= street.VISIBLE_PIXELS
        assert mask.any(axis=0).sum() >= 3
        assert mask.any(axis=1).sum() >= 3
    again, same_ids = draw_scene(seed, index, min_size=128, max_size=300)
    assert np.array_equal(image, again)
    assert np.array_equal(ids, same_ids)


def test_streets_vary_and_some_are_empty():
    counts = [int(draw_scene(5, index, min_size=128, max_size=160)[1].max()) for index in range(60)]
    assert 1 <= counts.count(0) <= 12
    assert max(counts) >= 5
    assert len({draw_scene(5, index)[0].shape for index in range(4)}) > 1


@pytest.mark.parametrize(
    ("width", "height"), [(16, 16), (30, 400), (400, 30), (640, 480)], ids=lambda side: f"{side}px"
)
def test_a_street_fits_into_any_image(width, height):
    for seed in range(3):
        image, ids = street.draw_street(np.random.default_rng(seed), width=width, height=height)
        assert image.shape == (height, width, 3)
        assert ids.shape == (height, width)


def test_people_differ_from_what_is_behind_them():
    """The ids mark what was drawn: a person's rim separates it from its surroundings."""
    steps = []
    for index in range(12):
        image, ids = draw_scene(8, index, min_size=160, max_size=200)
        rim = (ids[:, 1:] > 0) != (ids[:, :-1] > 0)
        difference = np.abs(np.diff(image.astype(int), axis=1)).sum(axis=2)
        if rim.any():
            steps.append(difference[rim].mean() / difference[~rim].mean())
    assert np.mean(steps) > 1.5


def test_the_first_scenes_do_not_depend_on_how_many_follow(tmp_path):
    synthesize(tmp_path / "two", images=2, seed=3, min_size=128, max_size=150)
    synthesize(tmp_path / "three", images=3, seed=3, min_size=128, max_size=150)
    for path in sorted((tmp_path / "two").glob("P*/*.png")):
        twin = tmp_path / "three" / path.parent.name / path.name
        assert path.read_bytes() == twin.read_bytes()


def test_seeds_give_different_datasets_and_the_same_seed_the_same(tmp_path):
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthesize(tmp_path / name, images=1, seed=seed, min_size=128, max_size=128)
        digests.append(combined_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_the_folder_is_a_sound_dataset_and_says_how_it_was_made(tmp_path):
    root = tmp_path / "new" / "streets"
    seen = []
    summary = synthesize(
        root,
        images=4,
        seed=2,
        min_size=140,
        max_size=200,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert json.loads((root / "synthesis.json").read_text()) == summary
    assert sorted(path.name for path in root.iterdir()) == [
        "PNGImages",
        "PedMasks",
        "readme.txt",
        "synthesis.json",
    ]
    assert PennFudanDataset(root).names[0] == "street_00001"
    report = check_dataset(root)
    assert report.problems == []
    assert report.pairs == 4
    assert (report.instances, report.empty) == (summary["instances"], summary["empty_streets"])
    assert [path.name for path in root.parent.iterdir()] == ["streets"]


def small(root, **options):
    return synthesize(root, images=1, min_size=128, max_size=128, **options)


def test_an_earlier_synthesis_is_replaced_and_other_files_are_kept(tmp_path):
    synthesize(tmp_path, images=3, min_size=128, max_size=128)
    (tmp_path / "split.json").write_text("mine")
    small(tmp_path)
    assert len(list((tmp_path / "PNGImages").iterdir())) == 1
    assert (tmp_path / "split.json").read_text() == "mine"


def test_somebody_elses_folder_is_refused_unless_forced(dataset):
    before = combined_digest(dataset)
    with pytest.raises(DatasetError, match="--force"):
        small(dataset)
    assert combined_digest(dataset) == before
    small(dataset, force=True)
    assert PennFudanDataset(dataset).names == ("street_00001",)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="found a file"):
        small(tmp_path / "file", force=True)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "streets", images=2, min_size=128, max_size=128, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_the_earlier_synthesis(tmp_path, monkeypatch):
    root = tmp_path / "streets"
    small(root)
    before = combined_digest(root)
    monkeypatch.setattr(synthesis, "draw_street", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small(root, seed=9)
    assert combined_digest(root) == before
    shutil.rmtree(root)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"images": 0}, id="no images"),
        pytest.param({"seed": -1}, id="negative seed"),
        pytest.param({"min_size": 64}, id="tiny"),
        pytest.param({"min_size": 300, "max_size": 200}, id="reversed"),
        pytest.param({"max_size": 10_000}, id="huge"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(InputError, match=r"expected .*found"):
        synthesize(tmp_path / "streets", **{"images": 1, **options})


def test_night_is_dark_and_noisy_and_has_people(tmp_path):
    nights = [draw_scene(6, index, min_size=160, max_size=200, night=True) for index in range(12)]
    days = [draw_scene(6, index, min_size=160, max_size=200) for index in range(12)]
    brightness = [np.mean([image.mean() for image, _ in scenes]) for scenes in (nights, days)]
    assert brightness[0] < 0.65 * brightness[1]
    assert sum(int(ids.max()) for _, ids in nights) > 12
    again, _ = draw_scene(6, 3, min_size=160, max_size=200, night=True)
    assert np.array_equal(again, nights[3][0])
    assert small(tmp_path / "night", night=True)["night"] is True
