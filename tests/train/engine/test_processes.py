"""Two processes that train together are one with batches twice as large."""

from __future__ import annotations

import dataclasses
import runpy
import socket
from pathlib import Path

import pytest
import torch

from pedseg_runtime.errors import DeviceError, TrainingError
from pedseg_train.engine import Processes, joined_processes, local_device

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("pair.py")


def start(children, toy_root, result, recipe, **environment):
    child = children.Process(
        target=runpy.run_path,
        args=(str(SCRIPT),),
        kwargs={"init_globals": {"GIVEN": (toy_root, recipe, result, environment)}},
    )
    child.start()
    return child


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def results(toy_root, tiny_recipe, tmp_path_factory, children):
    """What one process with batches of four and two with batches of two have learnt."""
    folder = tmp_path_factory.mktemp("pair")
    # Every proposal is learnt from: which of them rounding has put first then does not matter.
    recipe = dataclasses.replace(
        tiny_recipe, optimizer="sgd", lr=0.01, clip=1.0, ema=0.5, copy_paste=0.5, batch_size=2,
        proposals=20, box_batch=512,
    )  # fmt: skip
    alone = dataclasses.replace(recipe, batch_size=4)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    started = [start(children, toy_root, folder / "alone.pt", alone)] + [
        start(children, toy_root, folder / f"rank{rank}.pt", recipe, RANK=str(rank), **address)
        for rank in range(2)
    ]
    for child in started:
        child.join(300)
        assert child.exitcode == 0
    assert not (folder / "rank1.pt").exists(), "only the first process writes"
    return [torch.load(folder / name, weights_only=True) for name in ("alone.pt", "rank0.pt")]


def test_losses_are_equal_also_where_a_process_has_no_image_left(results):
    """Five images: in the second step the second process has none."""
    alone, together = ([record["losses"] for record in r["history"]] for r in results)
    assert len(alone) == len(together) == 2
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_weights_are_equal(results):
    alone, together = (result["model"] for result in results)
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, together[name], atol=1e-6, rtol=1e-5)


def test_accuracy_is_that_of_all_images_once(results):
    alone, together = (result["history"][-1] for result in results)
    assert alone["bbox"]["AR100"] > 0
    for kind in ("bbox", "segm"):
        # Recall does not depend on the order of scores, which are nearly equal after two steps.
        assert alone[kind]["AR100"] == pytest.approx(together[kind]["AR100"], abs=1e-6)
        assert alone[kind]["AP"] == pytest.approx(together[kind]["AP"], abs=2e-3)


def test_alone_there_is_nobody_to_wait_for():
    alone = Processes()
    model = torch.nn.Linear(1, 1)
    assert alone.wrap(model, torch.device("cpu")) is model
    assert alone.gathered(3) == [3]
    assert alone.from_first(lambda: 4) == 4
    assert alone.total(torch.tensor([2.0])).item() == 2.0


def test_missing_partners_are_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(TrainingError, match="start pedseg-train by torchrun"),
        joined_processes(torch.device("cpu")),
    ):
        pass


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert local_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert local_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(DeviceError, match="found 1 for local process 1"):
        local_device(torch.device("cuda"))
