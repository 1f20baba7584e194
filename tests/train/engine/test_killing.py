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
    train(**whole)

    arguments = {**whole, "output": tmp_path / "killed", "save_every": 1}
    folder, moments = tmp_path / "killed", random.Random(0)
    seen, best = 0, False
    for _ in range(KILLS):
        resume = (folder / "last.resume.pt").is_file()
        if not resume and folder.exists():
            # Killed before the first state: nothing to go on from, and nothing lost.
            folder.rename(tmp_path / f"early{time.monotonic_ns()}")
        child = children.Process(target=train, kwargs={**arguments, "resume": resume})
        child.start()
        child.join(moments.uniform(0.2, 1.2))
        child.kill()
        child.join()
        state = folder / "last.resume.pt"
        if state.is_file():
            progress = load_resume_state(state)
            done = 100 * len(progress["history"]) + progress["progress"]["steps"]
            assert done >= seen, "a state that was saved is never lost"
            seen = done
        assert not best or (folder / "best.safetensors").is_file()
        for checkpoint in folder.glob("[!.]*.safetensors"):
            best = True
            load_checkpoint(checkpoint)
    assert seen > 0

    train(**arguments, resume=True)
    for name in ("last.safetensors", "best.safetensors"):
        expected = load_file(tmp_path / "whole" / name)
        found = load_file(folder / name)
        assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    assert not list(folder.glob(".*")), "half-written files are swept away"
