from __future__ import annotations

import ctypes
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from pedseg_runtime import InputError, devices
from pedseg_runtime.devices import Device, Driver, explain_cuda, parse_device, probe_driver


@pytest.mark.parametrize(
    ("name", "device", "shown"),
    [
        ("auto", Device("auto"), "auto"),
        ("cpu", Device("cpu"), "cpu"),
        ("cuda", Device("cuda", 0), "cuda:0"),
        ("cuda:3", Device("cuda", 3), "cuda:3"),
        ("tensorrt", Device("tensorrt", 0), "tensorrt:0"),
        ("tensorrt:2", Device("tensorrt", 2), "tensorrt:2"),
        ("openvino", Device("openvino", target="CPU"), "openvino:CPU"),
        ("openvino:GPU.1", Device("openvino", target="GPU.1"), "openvino:GPU.1"),
        ("openvino:NPU", Device("openvino", target="NPU"), "openvino:NPU"),
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
        ("cuda:1\n", "expected auto, cpu, cuda, cuda:N, tensorrt, openvino"),
        ("tpu", "expected auto, cpu, cuda, cuda:N, tensorrt, openvino"),
        ("tensort", "did you mean 'tensorrt'"),
        ("openvino:gpu", "did you mean 'openvino:GPU'"),
        ("openvino:1", "did you mean 'openvino"),
    ],
)
def test_other_names_are_refused_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        parse_device(name)


def test_eager_is_compared_where_torch_runs() -> None:
    names = ("auto", "cuda:1", "tensorrt:1", "openvino:GPU")
    assert [parse_device(name).beside for name in names] == ["auto", "cuda:1", "cuda:1", "cpu"]


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


class CudaDriver:
    """The three functions of NVIDIA's driver that are asked, with the answers of the test."""

    def __init__(self, version: int, status: int, count: int) -> None:
        self.version, self.status, self.count = version, status, count

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0


@pytest.mark.parametrize(
    ("answers", "visible", "devices", "cuda", "problem"),
    [
        pytest.param((12040, 0, 2), None, 2, (12, 4), "", id="two GPUs"),
        pytest.param((13000, 803, 0), None, 0, (13, 0), "do not match (error 803)", id="update"),
        pytest.param((13000, 999, 0), None, 0, (13, 0), "start (error 999)", id="broken"),
        pytest.param((13000, 0, 0), None, 0, (13, 0), "no GPU; see nvidia-smi", id="no GPU"),
        pytest.param((13000, 100, 0), "", 0, (13, 0), "VISIBLE_DEVICES is ''", id="hidden GPU"),
    ],
)
def test_the_driver_is_asked_what_it_offers(
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[int, int, int],
    visible: str | None,
    devices: int,
    cuda: tuple[int, int],
    problem: str,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: CudaDriver(*answers))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver = probe_driver()
    assert (driver.devices, driver.cuda) == (devices, cuda)
    assert problem in driver.problem
    assert bool(driver.problem) == (devices == 0)


def test_a_machine_without_the_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    driver = probe_driver()
    assert (driver.devices, driver.cuda) == (0, None)
    assert driver.problem.startswith("no NVIDIA driver (")


def test_on_windows_cuda_needs_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.sys, "platform", "win32")
    assert list(devices._cuda_libraries(13)) == ["cublas64_13.dll", devices._CUDNN]


def test_the_libraries_of_tensorrts_wheel_are_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []

    def load(name: str, **options: Any) -> None:
        opened.append(name)
        raise OSError("damaged")  # `explain_tensorrt` says so later

    wheel = ModuleSpec("tensorrt_libs", None, is_package=True)
    wheel.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    devices.preload_tensorrt()
    assert opened == []
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: wheel)
    devices.preload_tensorrt()
    assert opened == [str(tmp_path / name) for name in devices._TENSORRT]
