import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime.errors import DatasetError
from pedseg_train.data import PennFudanDataset, Split, read_split, tutorial_split, write_split


@given(count=st.integers(2, 400), seed=st.integers(0, 2**32))
def test_every_image_is_on_exactly_one_side(count, seed):
    split = tutorial_split(count, seed=seed)
    assert sorted(split.train + split.test) == list(range(count))
    assert split.train
    assert split.test
    assert split == tutorial_split(count, seed=seed)


@pytest.mark.parametrize("seed", [1, 7])
def test_it_is_the_tutorials_permutation(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        order = torch.randperm(170).tolist()
    split = tutorial_split(170, seed=seed)
    assert list(split.train) == order[:-50]
    assert list(split.test) == order[-50:]


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    tutorial_split(170)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("count", "test", "expected"),
    [
        pytest.param(170, None, 50, id="Penn-Fudan"),
        pytest.param(100, None, 50, id="just large enough"),
        pytest.param(99, None, 24, id="small"),
        pytest.param(2, None, 1, id="smallest"),
        pytest.param(170, 20, 20, id="on request"),
        pytest.param(170, 0, 0, id="none"),
    ],
)
def test_how_many_are_for_testing(count, test, expected):
    split = tutorial_split(count, test=test)
    assert (len(split.train), len(split.test)) == (count - expected, expected)


@pytest.mark.parametrize(("count", "test"), [(1, None), (0, None), (10, 10), (10, -1)])
def test_a_split_without_training_images_is_refused(count, test):
    with pytest.raises(DatasetError, match=f"found {count}"):
        tutorial_split(count, test=test)


def test_an_image_on_both_sides_is_refused():
    with pytest.raises(DatasetError, match="once"):
        Split(train=(0, 1), test=(1,))


def test_a_split_file_names_images_and_reads_back(dataset, tmp_path):
    opened = PennFudanDataset(dataset)
    split = Split(train=(2, 0), val=(1,), test=(3,))
    write_split(tmp_path / "split.json", split, opened, made={"seed": 7})
    assert json.loads((tmp_path / "split.json").read_text()) == {
        "schema_version": 2,
        "made": {"seed": 7},
        "train": ["c", "a"],
        "val": ["b"],
        "test": ["d"],
    }
    assert read_split(tmp_path / "split.json", opened) == split


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "found no JSON", id="damaged"),
        pytest.param("[]", "another document", id="a list"),
        pytest.param('{"schema_version": 3, "train": [], "test": []}', "version", id="newer"),
        pytest.param('{"schema_version": [1], "train": []}', "version", id="no version"),
        pytest.param('{"schema_version": 2, "train": [], "test": []}', "'val'", id="no val"),
        pytest.param(
            '{"schema_version": 1, "train": ["a"], "test": ["b", "a"]}',
            "found 'a' in 'train' and again in 'test'",
            id="on both sides",
        ),
        pytest.param('{"schema_version": 1, "train": []}', "under 'test'", id="one side"),
        pytest.param('{"schema_version": 1, "train": [1], "test": []}', "'train'", id="numbers"),
        pytest.param(
            '{"schema_version": 1, "train": ["x", "y"], "test": []}',
            "the image 'x' and 1 more, which the dataset lacks",
            id="another dataset",
        ),
    ],
)
def test_a_bad_split_file_is_refused(dataset, tmp_path, content, message):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_split(path, PennFudanDataset(dataset))


def test_a_missing_split_file_is_refused(dataset, tmp_path):
    with pytest.raises(DatasetError, match="found nothing"):
        read_split(tmp_path / "split.json", PennFudanDataset(dataset))


def test_a_file_of_the_first_schema_has_an_empty_val(dataset, tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"schema_version": 1, "train": ["c"], "test": ["a", "b"]}')
    assert read_split(path, PennFudanDataset(dataset)) == Split(train=(2,), test=(0, 1))
