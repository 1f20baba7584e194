from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pedseg_benchmarks.limits import limits
from pedseg_benchmarks.limits.machine import measure_machine
from pedseg_benchmarks.limits.work import count_work, per_unit
from pedseg_train.models import build_model

SMALL = {"repeats": 3, "shapes": ((64, 32, 48), (128, 64, 32)), "copy_bytes": 2**16}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(
        "maskrcnn_resnet18_fpn",
        min_size=64,
        max_size=96,
        score_threshold=0.0,
        detections_per_image=10,
    ).eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_the_heads_cost_what_a_hand_counts(model):
    """Two per multiply-add: pixels x inputs x outputs x kernel; a deconvolution by its input."""
    unit, classes = per_unit(model), 2
    convolutions = 4 * 2 * 14 * 14 * 256 * 256 * 9
    deconvolution = 2 * 14 * 14 * 256 * 256 * 4
    logits = 2 * 28 * 28 * 256 * classes
    assert unit.detection == convolutions + deconvolution + logits
    linear = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * classes + 1024 * 4 * classes
    assert unit.proposal == 2 * linear


def test_the_whole_is_what_torchs_own_counter_sees_in_a_forward_pass(model, image):
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        (found,) = model([tensor])
    assert len(found["boxes"]) == 10
    work = count_work(model, image, per_unit(model))
    assert work.flop(10) == counter.get_total_flops()
    assert work.flop(3) == work.flop(10) - 7 * work.unit.detection


def test_counting_leaves_the_model_as_it_was(model, image):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_work(model, image, per_unit(model))
    assert not model.backbone._forward_pre_hooks
    assert not model.roi_heads.box_roi_pool._forward_hooks
    assert next(model.parameters()).device.type == "cpu"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_machine_gives_the_best_rate_with_all_its_samples():
    threads = torch.get_num_threads()
    machine = measure_machine("cpu", threads=1, **SMALL)
    assert machine.matmul_gflops == sorted(machine.samples_gflops)[1] > 0
    assert len(machine.samples_gflops) == 3
    assert machine.bandwidth_gb_per_s > 0
    assert torch.get_num_threads() == threads


@pytest.mark.gpu
def test_a_gpu_is_measured_too():
    machine = measure_machine("cuda", threads=1)
    assert machine.matmul_gflops > 1000
    assert machine.bandwidth_gb_per_s > 100


def test_every_timed_contender_is_held_against_the_machine_on_every_image(
    model, image, document, monkeypatch
):
    monkeypatch.setattr(
        "pedseg_benchmarks.limits.measure_machine",
        lambda device, threads: measure_machine(device, threads=threads, **SMALL),
    )
    rows = document(contenders=("eager", "street.onnx", "broken.onnx")).contenders
    machine, found = limits(model, [image] * 6, rows, device="cpu", threads=1)
    assert [limit.contender for limit in found] == ["eager", "street.onnx"] * 6
    for limit in found:
        assert limit.share == pytest.approx(limit.gflops / machine.matmul_gflops)
    fourth = next(limit for limit in found if limit.detections == 0)
    work = count_work(model, image, per_unit(model))
    assert fourth.gflop == pytest.approx(work.flop(0) / 1e9)
    median_ms = float(np.median([samples[3] for samples in rows[0].samples_ms]))
    assert fourth.gflops == pytest.approx(fourth.gflop / median_ms * 1e3)
