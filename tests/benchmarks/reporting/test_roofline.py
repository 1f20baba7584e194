from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pedseg_benchmarks.roofline import machine as machine_module
from pedseg_benchmarks.roofline import roofline
from pedseg_benchmarks.roofline.machine import RUNS, PeakRateMeter
from pedseg_benchmarks.roofline.work import count_work, per_unit
from pedseg_benchmarks.scenario_results import Machine
from pedseg_runtime.errors import InputError
from pedseg_train.models import build_model

SMALL = {"shapes": ((64, 32, 48), (128, 64, 32)), "copy_bytes": 2**16}


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


@pytest.mark.slow
def test_the_whole_is_what_torchs_own_counter_sees_in_a_forward_pass(model, image):
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        (found,) = model([tensor])
    assert len(found["boxes"]) == 10
    work = count_work(model, image, per_unit(model))
    assert work.flop(10) == counter.get_total_flops()
    assert work.flop(3) == work.flop(10) - 7 * work.unit.detection


@pytest.mark.slow
def test_counting_leaves_the_model_as_it_was(model, image):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_work(model, image, per_unit(model))
    assert not model.backbone._forward_pre_hooks
    assert not model.roi_heads.box_roi_pool._forward_hooks
    assert next(model.parameters()).device.type == "cpu"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_machine_gives_the_median_of_all_looks():
    threads = torch.get_num_threads()
    meter = PeakRateMeter("cpu", threads=1, **SMALL)
    for _ in range(3):
        meter()
    machine = meter.machine()
    assert len(machine.samples_gflops) == 3 * RUNS
    assert machine.matmul_gflops == np.median(machine.samples_gflops) > 0
    assert machine.bandwidth_gb_per_s > 0
    assert torch.get_num_threads() == threads


def test_a_meter_that_measured_nothing_has_no_rate():
    with pytest.raises(InputError, match="expected at least one measurement"):
        PeakRateMeter("cpu", threads=1, **SMALL).machine()


def test_the_fastest_product_counts(monkeypatch):
    seconds = {"torch": [3e-3] * 7, "onnxruntime": [2e-3] * 7}

    def timed(run, _place, repeats):
        return seconds[run][:repeats]

    monkeypatch.setattr(machine_module, "_timed", timed)
    monkeypatch.setattr(machine_module, "_by_torch", lambda _place, _shape: "torch")
    monkeypatch.setattr(machine_module, "_by_onnxruntime", lambda _shape, _threads: "onnxruntime")
    monkeypatch.setattr(machine_module, "_copies", lambda *_: [1.0])
    meter = PeakRateMeter("cpu", threads=1, shapes=((100, 100, 100),))
    seconds["torch"] = [1e-3] * 7  # faster from now on, and not asked again
    meter()
    assert meter.machine().matmul_gflops == pytest.approx(1.0)


@pytest.mark.gpu
def test_a_gpu_is_measured_too():
    meter = PeakRateMeter("cuda", threads=1)
    meter()
    machine = meter.machine()
    assert machine.matmul_gflops > 1000
    assert machine.bandwidth_gb_per_s > 100


@pytest.mark.slow
def test_every_timed_contender_is_held_against_the_machine_on_every_image(model, image, document):
    rows = document(contenders=("eager", "street.onnx", "broken.onnx")).contenders
    machine = Machine(matmul_gflops=50.0, bandwidth_gb_per_s=10.0, samples_gflops=[50.0])
    found = roofline(model, [image] * 6, rows, machine)
    assert [limit.contender for limit in found] == ["eager", "street.onnx"] * 6
    for limit in found:
        assert limit.share == pytest.approx(limit.gflops / 50)
    fourth = next(limit for limit in found if limit.detections == 0)
    work = count_work(model, image, per_unit(model))
    assert fourth.gflop == pytest.approx(work.flop(0) / 1e9)
    median_ms = float(np.median([samples[3] for samples in rows[0].samples_ms]))
    assert fourth.gflops == pytest.approx(fourth.gflop / median_ms * 1e3)
