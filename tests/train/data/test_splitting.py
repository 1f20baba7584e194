import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime.errors import DatasetError, InputError
from pedseg_train.data import fraction_split


@st.composite
def groupings(draw):
    """A number of images, and disjoint groups of two to four of them."""
    count = draw(st.integers(20, 120))
    order = draw(st.permutations(range(count)))
    groups, place = [], 0
    for size in draw(st.lists(st.integers(2, 4), max_size=5)):
        groups.append(tuple(sorted(order[place : place + size])))
        place += size
    return count, groups


@given(grouping=groupings(), seed=st.integers(0, 2**32))
def test_every_image_is_in_one_part_and_groups_stay_together(grouping, seed):
    count, groups = grouping
    split = fraction_split(count, val=0.2, test=0.3, seed=seed, groups=groups)
    parts = split.parts().values()
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert all(any(set(group) <= set(part) for part in parts) for group in groups)
    assert all(list(part) == sorted(part) for part in parts)
    again = fraction_split(count, val=0.2, test=0.3, seed=seed, groups=reversed(groups))
    assert split == again


@given(count=st.integers(10, 500), seed=st.integers(0, 100))
def test_single_images_fill_the_parts_exactly(count, seed):
    split = fraction_split(count, val=0.1, test=0.2, seed=seed)
    assert (len(split.val), len(split.test)) == (round(0.1 * count), round(0.2 * count))


def test_another_seed_is_another_split():
    assert fraction_split(50, seed=1) != fraction_split(50, seed=2)


def test_a_group_too_large_for_a_part_trains():
    split = fraction_split(20, val=0, test=0.2, groups=[range(5)])
    assert set(range(5)) <= set(split.train)
    assert len(split.test) == 4


def test_no_validation_is_a_choice():
    assert fraction_split(10, val=0, test=0.5).val == ()


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.5, 0.5), (0, 1), (float("nan"), 0)])
def test_fractions_that_leave_nothing_to_train_on_are_refused(val, test):
    with pytest.raises(InputError, match="below 1 together"):
        fraction_split(10, val=val, test=test)


@pytest.mark.parametrize(
    ("count", "groups", "message"),
    [
        pytest.param(3, [], r"images for val \(10% of 3\)", id="few images"),
        pytest.param(20, [range(20)], "largest group that must stay together has 20", id="group"),
        pytest.param(0, [], "images for train", id="nothing"),
    ],
)
def test_a_part_that_would_be_empty_is_refused(count, groups, message):
    with pytest.raises(DatasetError, match=message):
        fraction_split(count, val=0.1, test=0.2, groups=groups)
