"""Every image once per epoch, however the work is spread."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from pedseg_runtime.errors import DatasetError
from pedseg_train.engine.batches import StepLoader, plan_epoch
from pedseg_train.recipes import RECIPES

pytestmark = pytest.mark.slow

counts = st.integers(1, 30)


def recipe(batch_size, accumulate=1, **others):
    return dataclasses.replace(
        RECIPES["tutorial"], batch_size=batch_size, accumulate=accumulate, **others
    )


def draws(steps):
    return [
        {draw for batch in step.batches if batch.counts for draw in batch.draws} for step in steps
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_go_on_when_the_whole_group_is_asked_to_stop(number):
    """torchrun and a terminal signal them too; the step in hand needs its images."""
    alone = recipe(1, workers=1)
    steps = StepLoader(_Counted(), alone, torch.device("cpu")).steps(plan_epoch(12, alone, 0))
    for seen, (_, fetched) in enumerate(steps):
        list(fetched)
        if seen == 2:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, number)
    assert seen == 11


def test_a_worker_that_is_stuck_is_ended():
    """It ignores the signal that torch sends after its own wait."""
    alone = recipe(1, workers=1)
    loader = StepLoader(_Stuck(), alone, torch.device("cpu"))
    steps = loader.steps(plan_epoch(12, alone, 0))
    _, fetched = next(steps)
    list(fetched)
    (worker,) = multiprocessing.active_children()
    loader.close()
    worker.join(5)
    assert worker.exitcode == -signal.SIGKILL


class _Stuck(torch.utils.data.Dataset):
    served = 0

    def __len__(self):
        return 12

    def __getitem__(self, draw):
        if self.served:
            time.sleep(600)
        self.served += 1
        return torch.tensor(draw.position), {}


class _Counted(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, draw):
        return torch.tensor(draw.position), {}


@given(count=counts, batch=st.integers(1, 4), accumulate=st.integers(1, 3))
def test_every_image_is_drawn_once(count, batch, accumulate):
    steps = plan_epoch(count, recipe(batch, accumulate), epoch=3)
    positions = [draw.position for step in draws(steps) for draw in step]
    assert sorted(positions) == list(range(count))
    assert sum(step.images for step in steps) == count


@given(count=counts, batch=st.integers(1, 3), accumulate=st.integers(1, 3), world=st.integers(1, 4))
def test_processes_and_accumulation_share_the_steps_of_one_large_batch(
    count, batch, accumulate, world
):
    alone = plan_epoch(count, recipe(batch * accumulate * world), epoch=1)
    spread = [
        plan_epoch(count, recipe(batch, accumulate), epoch=1, rank=rank, world=world)
        for rank in range(world)
    ]
    for number, step in enumerate(alone):
        parts = [draws([plan[number]])[0] for plan in spread]
        assert set.union(*parts) == draws([step])[0]
        assert sum(map(len, parts)) == step.images == spread[0][number].images
    for plan in spread:
        assert len(plan) == len(alone)
        assert all(batch.draws for step in plan for batch in step.batches)
        assert all(abs(sum(b.share for b in step.batches) - 1) < 1e-9 for step in plan)


def test_order_and_seeds_change_from_epoch_to_epoch_and_with_the_seed():
    plans = [
        plan_epoch(20, recipe(2, seed=seed), epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    orders = [[draw.position for step in plan for draw in step.batches[0].draws] for plan in plans]
    seeds = [draw.seed for plan in plans for step in plan for draw in step.batches[0].draws]
    assert len({tuple(order) for order in orders}) == 3
    assert len(set(seeds)) == 60
    assert plan_epoch(20, recipe(2, seed=1), 0) == plans[0]


def test_one_size_is_drawn_per_step():
    sizes = (32, 40, 48)
    steps = plan_epoch(200, recipe(2, accumulate=2, train_sizes=sizes), 0)
    drawn = [{draw.min_size for batch in step.batches for draw in batch.draws} for step in steps]
    assert all(len(size) == 1 for size in drawn)
    assert set.union(*drawn) == set(sizes)


class _Damaged(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, draw):
        raise DatasetError(f"image {draw.position}: expected an image, found a damaged one")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_is_its_own_line(workers):
    alone = recipe(1, workers=workers)
    loader = StepLoader(_Damaged(), alone, torch.device("cpu"))
    with contextlib.closing(loader):
        _, fetched = next(loader.steps(plan_epoch(4, alone, 0)))
        with pytest.raises(DatasetError) as caught:
            next(fetched)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("image ")
