from __future__ import annotations

import pytest

from pedseg_runtime import InputError, devices
from pedseg_runtime.devices import Device, Driver, explain_cuda, parse_device


@pytest.mark.parametrize(
    ("name", "device", "shown"),
    [
        ("auto", Device("auto"), "auto"),
        ("cpu", Device("cpu"), "cpu"),
        ("cuda", Device("cuda", 0), "cuda:0"),
        ("cuda:3", Device("cuda", 3), "cuda:3"),
        ("tensorrt", Device("tensorrt", 0), "tensorrt:0"),
        ("tensorrt:2", Device("tensorrt", 2), "tensorrt:2"),
    ],
)
def test_device_names_are_read(name: str, device: Device, shown: str) -> None:
    assert parse_device(name) == device
    assert str(device) == shown


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cud", "did you mean 'cuda'"),
        ("CPU", "did you mean 'cpu'"),
        ("cuda:", "did you mean 'cuda"),
        ("cuda:-1", "did you mean 'cuda"),
        ("cuda:1\n", "expected auto, cpu, cuda, cuda:N or tensorrt"),
        ("tpu", "expected auto, cpu, cuda, cuda:N or tensorrt"),
        ("tensort", "did you mean 'tensorrt'"),
    ],
)
def test_other_names_are_refused_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        parse_device(name)


@pytest.mark.parametrize(
    ("driver", "index", "cause"),
    [
        pytest.param(
            Driver(0, None, "no NVIDIA driver; install one"), 0, "no NVIDIA driver", id="no driver"
        ),
        pytest.param(Driver(1, (13, 0)), 2, "the last is cuda:0", id="too few GPUs"),
        pytest.param(
            Driver(1, (12, 4)), 0, "supports CUDA 12.4, CUDA 13 is needed", id="old driver"
        ),
    ],
)
def test_the_cause_is_found(driver: Driver, index: int, cause: str) -> None:
    explained = explain_cuda(Device("cuda", index), "13.0", driver)
    assert explained is not None
    assert cause in explained
    assert ";" in explained, "every cause comes with what to do"


def test_libraries_of_another_cuda_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    present = {devices._cublas(12), devices._CUDNN}
    monkeypatch.setattr(devices, "_loads", lambda library: library in present)
    explained = explain_cuda(Device("cuda"), "13.0", Driver(1, (13, 0)))
    assert explained is not None
    assert f"missing {devices._cublas(13)}" in explained
    assert "(found CUDA 12); pip install 'pedseg[cuda]'" in explained


def test_a_missing_cudnn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_loads", lambda library: "cudnn" not in library)
    explained = explain_cuda(Device("cuda"), "13.0", Driver(1, (13, 0)))
    assert explained is not None
    assert explained.startswith("missing ")
    assert "cudnn" in explained
    assert "found CUDA" not in explained


def test_nothing_is_wrong_when_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_loads", lambda library: True)
    assert explain_cuda(Device("cuda", 1), "13.0", Driver(2, (13, 1))) is None
    assert explain_cuda(Device("cuda", 1), "", Driver(2, (13, 1))) is None


def test_a_missing_tensorrt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "explain_cuda", lambda device, built_for: None)
    monkeypatch.setattr(devices, "_loads", lambda library: "nvinfer" not in library)
    explained = devices.explain_tensorrt(Device("tensorrt"), "13.0")
    assert explained is not None
    assert explained.startswith("missing ")
    assert "pip install 'tensorrt-cu13<11'" in explained
    monkeypatch.setattr(devices, "_loads", lambda library: True)
    assert devices.explain_tensorrt(Device("tensorrt"), "13.0") is None


def test_what_cuda_lacks_is_named_before_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "explain_cuda", lambda device, built_for: "no NVIDIA driver; x")
    assert devices.explain_tensorrt(Device("tensorrt"), "13.0") == "no NVIDIA driver; x"
