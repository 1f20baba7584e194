"""A run survives being killed at any moment, also while it writes."""

from __future__ import annotations

import random
import time

import pytest
import torch
from safetensors.torch import load_file

from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.run.train import train
from pedseg_train.tensor_files import load_resume_state

pytestmark = pytest.mark.slow

KILLS = 10


def test_kill_at_ten_random_moments_loses_nothing(toy_root, tiny_recipe, tmp_path, children):
    whole = {"data": toy_root, "output": tmp_path / "whole", "recipe": tiny_recipe, "device": "cpu"}
    run_in(children, target=int)  # the server of processes imports torch before it starts the first
    # In a process like the ones that are killed: the order of torch's sums hangs on its threads.
    started = time.monotonic()
    assert run_in(children, whole) == 0
    length = time.monotonic() - started

    folder, moments = tmp_path / "killed", random.Random(0)
    arguments = {**whole, "output": folder, "save_every": 1}
    seen, best, kills, ends = 0, False, 0, False
    while not ends:
        resume = (folder / "last.resume.pt").is_file()
        if not resume and folder.exists():
            # Killed before the first state: nothing to go on from, and nothing lost.
            folder.rename(tmp_path / f"early{time.monotonic_ns()}")
        # After the last kill the run that goes on may end in peace.
        ends = kills >= KILLS and resume
        moment = None if ends else moments.uniform(0.05, 0.4) * length
        code = run_in(children, {**arguments, "resume": resume}, kill_after=moment)
        if code == 0:
            assert_same_run(tmp_path / "whole", folder)
            folder.rename(tmp_path / f"finished{time.monotonic_ns()}")
            seen, best = 0, False
            continue
        assert code < 0, "killed, not failed"
        kills += 1
        state = folder / "last.resume.pt"
        if state.is_file():
            progress = load_resume_state(state)
            done = 100 * len(progress["history"]) + progress["progress"]["steps"]
            assert done >= seen, "a state that was saved is never lost"
            seen = done
        assert not seen or state.is_file()
        assert not best or (folder / "best.safetensors").is_file()
        for checkpoint in folder.glob("[!.]*.safetensors"):
            best = True
            load_checkpoint(checkpoint)


def run_in(children, arguments=None, *, target=train, kill_after=None):
    """Train in a process of its own, killed after some seconds; its exit code, 0 if it ended."""
    child = children.Process(target=target, kwargs=arguments or {})
    child.start()
    child.join(kill_after)
    child.kill()
    child.join()
    return child.exitcode


def assert_same_run(whole, killed):
    """Every weight is the same, bit by bit, and no half-written file is left."""
    for name in ("last.safetensors", "best.safetensors"):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    assert not list(killed.glob(".*")), "half-written files are swept away"
