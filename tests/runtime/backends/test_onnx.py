"""onnxruntime's CUDA provider is played by a stand-in here; `-m gpu` runs the real one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import ArtifactError, DeviceError, InputError, Segmenter
from pedseg_runtime.artifact.reading import read_artifact
from pedseg_runtime.backends import Resources, onnx, open_backend, sessions
from pedseg_runtime.backends.sessions import misplaced, read_placement
from pedseg_runtime.devices import Device, Driver, probe_driver

has_gpu = probe_driver().devices > 0
WriteFinished = Callable[[Path, bytes], Path]


class Session:
    """A session whose providers, outputs and failures are chosen by the test."""

    def __init__(self, real: Any, providers: list[str], failure: Exception | None = None) -> None:
        self.real, self.providers, self.failure = real, providers, failure
        self.parts: list[tuple[str, list[str]]] = [(name, ["Add"]) for name in providers]

    def get_providers(self) -> list[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(
                ep_name=name,
                get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=kind) for kind in kinds],
            )
            for name, kinds in self.parts
        ]

    def run(self, names: Any, feed: Any, options: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.real.run(names, feed, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Machine:
    """A machine with a GPU; what a session does there is for the test to say."""

    def __init__(self) -> None:
        self.reports = [sessions.CUDA, sessions.CPU]
        self.parts: list[tuple[str, list[str]]] | None = None
        self.failure: Exception | None = None
        self.asked: list[Any] = []
        self.options: Any = None


@pytest.fixture
def gpu_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose driver and onnxruntime offer CUDA and TensorRT."""
    real_session = sessions.ort.InferenceSession
    machine = Machine()

    def create(path: str, options: Any, *, providers: Any, **rest: Any) -> Any:
        real = real_session(path, options, providers=[sessions.CPU])
        if providers == [sessions.CPU]:
            return real
        machine.asked, machine.options = providers, options
        if machine.failure is not None:
            raise machine.failure
        session = Session(real, machine.reports)
        session.parts = machine.parts or session.parts
        return session

    offered = [sessions.TENSORRT, sessions.CUDA, sessions.CPU]
    monkeypatch.setattr(sessions.ort, "InferenceSession", create)
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: offered)
    monkeypatch.setattr(sessions.ort, "preload_dlls", lambda: print("Failed to load libcublas.so"))
    monkeypatch.setattr(sessions, "probe_driver", lambda: Driver(1, (13, 0)))
    monkeypatch.setattr(sessions, "has_cudnn", lambda: True)
    monkeypatch.setattr(sessions, "explain_cuda", lambda device, built_for: None)
    monkeypatch.setattr(sessions, "explain_tensorrt", lambda device, built_for: None)
    return machine


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_cuda_that_runs_is_taken(gpu_machine: Machine, tiny_path: Path, device: str) -> None:
    assert open_backend(tiny_path, device=device).provider == "CUDAExecutionProvider"


def test_cpu_never_touches_cuda(gpu_machine: Machine, tiny_path: Path) -> None:
    gpu_machine.failure = AssertionError("a CUDA session was made")
    assert open_backend(tiny_path, device="cpu").provider == "CPUExecutionProvider"


def test_a_session_that_fell_back_to_the_cpu_is_refused(
    gpu_machine: Machine, tiny_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gpu_machine.reports = ["CPUExecutionProvider"]
    with pytest.raises(
        DeviceError, match=r"expected CUDAExecutionProvider to run the model.*took the CPU"
    ):
        open_backend(tiny_path, device="cuda")
    assert capfd.readouterr() == ("", "")


def test_a_session_that_does_not_start_is_refused_with_its_cause(
    gpu_machine: Machine, tiny_path: Path
) -> None:
    gpu_machine.failure = RuntimeError(
        "/onnxruntime_src/cuda_call.cc:154 std::conditional_t<...> CUDA failure 100: "
        "no CUDA-capable device is detected ; GPU=0 ; hostname=box ; expr=cudaSetDevice(0);"
    )
    with pytest.raises(DeviceError, match="CUDA failure 100: no CUDA-capable device") as caught:
        open_backend(tiny_path, device="cuda")
    assert "hostname" not in str(caught.value)


def test_cuda_without_cudnn_is_refused(
    gpu_machine: Machine, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "has_cudnn", lambda: False)
    monkeypatch.setattr(
        sessions, "explain_cuda", lambda device, built_for: "missing libcudnn.so.9; x"
    )
    with pytest.raises(DeviceError, match="missing libcudnn"):
        open_backend(tiny_path, device="cuda")


def test_auto_says_when_it_leaves_a_gpu_unused(
    gpu_machine: Machine, tiny_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_machine.reports = ["CPUExecutionProvider"]
    with caplog.at_level(logging.WARNING):
        backend = open_backend(tiny_path, device="auto")
    assert backend.provider == "CPUExecutionProvider"
    assert "running on the CPU although there is a GPU" in caplog.text


def test_auto_without_a_gpu_takes_the_cpu_silently(
    gpu_machine: Machine,
    tiny_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sessions, "probe_driver", lambda: Driver(0, None, "no driver"))
    assert open_backend(tiny_path, device="auto").provider == "CPUExecutionProvider"
    assert caplog.text == ""


def test_a_broken_graph_on_a_gpu_is_the_files_fault(
    gpu_machine: Machine, tiny_content: bytes, tmp_path: Path, write_finished: WriteFinished
) -> None:
    path = write_finished(
        tmp_path / "broken.onnx", tiny_content.replace(b"ReduceMax", b"ReduceMix")
    )
    with pytest.raises(ArtifactError, match="ReduceMix"):
        open_backend(path, device="cuda")


def test_an_onnxruntime_without_cuda_is_named(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="pip uninstall onnxruntime"):
        open_backend(tiny_path, device="cuda")


@pytest.mark.skipif(has_gpu, reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_on_a_machine_without_gpu_is_one_clear_line(
    tiny_path: Path, device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeviceError, match="expected") as caught:
        Segmenter.load(tiny_path, device=device)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("message", "provider", "error", "expected"),
    [
        pytest.param(
            "Failed to allocate memory for requested buffer of size 9",
            "CUDA",
            DeviceError,
            "smaller batch_size",
            id="GPU memory",
        ),
        pytest.param("bad allocation", "CPU", DeviceError, "smaller batch_size", id="CPU memory"),
        pytest.param(
            "CUDNN failure 4: x ; GPU=0", "CUDA", DeviceError, "CUDNN failure 4: x; try", id="cuDNN"
        ),
        pytest.param(
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status",
            "CPU",
            ArtifactError,
            "found Non-zero status",
            id="graph",
        ),
    ],
)
def test_a_run_that_fails_says_what_to_do(
    tiny_path: Path, message: str, provider: str, error: type[Exception], expected: str
) -> None:
    backend = open_backend(tiny_path, device="cpu")
    assert isinstance(backend, onnx.OnnxBackend)
    backend._session = Session(backend._session, [], RuntimeError(message))
    backend.provider = f"{provider}ExecutionProvider"
    with pytest.raises(error, match=expected):
        backend.run(np.zeros((1, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"a text file\n" * 9, "expected an ONNX model", id="text"),
        pytest.param(b"\x93NUMPY\x01\x00", "expected an ONNX model", id="binary"),
    ],
)
def test_a_file_of_another_kind_is_named(
    content: bytes, message: str, tmp_path: Path, cpu_device: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        Segmenter.load(path, device=cpu_device)
    assert str(caught.value).startswith(f"{path}: expected")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b"pedseg_manifest", b"pedseg_manifesT", "without its manifest", id="foreign"),
        pytest.param(b'"schema_version": 1', b'"schema_version": 9', "schema", id="newer"),
        pytest.param(
            b'"name": "boxes"', b'"name": "boxez"', "expected the outputs boxes", id="other outputs"
        ),
        pytest.param(b'"roi"', b'"rob"', "masks of the format roi or full", id="mask format"),
        pytest.param(
            b"\x0bimage_index", b"\x0bimage_indeX", "expected a graph with images", id="renamed"
        ),
        pytest.param(b"ReduceMax", b"ReduceMix", "ReduceMix", id="unknown operator"),
    ],
)
def test_an_artifact_that_breaks_the_contract_is_named(
    old: bytes,
    new: bytes,
    message: str,
    tiny_content: bytes,
    tmp_path: Path,
    write_finished: WriteFinished,
    cpu_device: str,
) -> None:
    path = write_finished(tmp_path / "model.onnx", tiny_content.replace(old, new))
    with pytest.raises(ArtifactError, match=message) as caught:
        Segmenter.load(path, device=cpu_device)
    assert str(caught.value).startswith(f"{path}: expected")
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_named_before_its_graph_is_tried(
    tiny_content: bytes, tmp_path: Path, write_finished: WriteFinished, cpu_device: str
) -> None:
    """A later pedseg may use operators that this onnxruntime has never heard of."""
    content = tiny_content.replace(b"ReduceMax", b"ReduceMix")
    content = content.replace(b'"schema_version": 1', b'"schema_version": 9')
    with pytest.raises(ArtifactError, match="upgrade pedseg"):
        Segmenter.load(write_finished(tmp_path / "newer.onnx", content), device=cpu_device)


def test_a_missing_file_a_folder_and_a_checkpoint_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        open_backend(tmp_path / "missing.onnx")
    with pytest.raises(ArtifactError, match="directory"):
        open_backend(tmp_path)
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(ArtifactError, match="pedseg-export"):
        open_backend(checkpoint)


def test_threads_must_be_positive(tiny_path: Path) -> None:
    backend = open_backend(tiny_path, device="cpu", resources=Resources(threads=1))
    assert backend.provider == "CPUExecutionProvider"
    with pytest.raises(InputError, match="threads"):
        Resources(threads=0)
    with pytest.raises(InputError, match="gpu_mem_limit"):
        Segmenter.load(tiny_path, device="cpu", gpu_mem_limit=0)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        pytest.param(
            [("CUDAExecutionProvider", ["Add"]), ("CPUExecutionProvider", ["Conv", "Conv"])],
            "CPUExecutionProvider runs 2 Conv of the graph",
            id="convolutions on the CPU",
        ),
        *(
            pytest.param(
                [("CUDAExecutionProvider", ["Conv"]), ("CPUExecutionProvider", ["Add", name])],
                f"CPUExecutionProvider runs 1 {name} of the graph; upgrade",
                id=f"{name} on the CPU",
            )
            for name in ("NonMaxSuppression", "RoiAlign", "TopK", "MatMul", "Gemm", "FusedConv")
        ),
        pytest.param(
            [("CPUExecutionProvider", ["Add"])], "it runs no node of the graph; see", id="nothing"
        ),
    ],
)
def test_a_session_that_lists_cuda_and_computes_elsewhere_is_refused(
    gpu_machine: Machine, tiny_path: Path, parts: list[tuple[str, list[str]]], found: str
) -> None:
    gpu_machine.parts = parts
    with pytest.raises(DeviceError, match=found):
        open_backend(tiny_path, device="cuda")


def test_full_masks_that_go_through_the_cpu_are_named(
    gpu_machine: Machine, fixed_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Artifacts of earlier exports load and are slow: Pad of bytes has no CUDA kernel."""
    gpu_machine.parts = [(sessions.CUDA, ["Conv", "Pad"]), (sessions.CPU, ["Pad", "Add"])]
    with caplog.at_level(logging.WARNING):
        open_backend(fixed_path, device="cuda")
    assert "runs 1 Pad of the graph, so that masks are copied to the CPU and back" in caplog.text


def test_shape_arithmetic_may_stay_on_the_cpu(gpu_machine: Machine, tiny_path: Path) -> None:
    gpu_machine.parts = [(sessions.CUDA, ["Conv", "Conv"]), (sessions.CPU, ["Add", "Shape"])]
    segmenter = Segmenter.load(tiny_path, device="cuda")
    assert segmenter.info.nodes() == {sessions.CUDA: 2, sessions.CPU: 2}
    assert segmenter.info.to_dict()["placement"][sessions.CUDA] == {"Conv": 2}


def test_the_limit_of_gpu_memory_reaches_cuda(gpu_machine: Machine, tiny_path: Path) -> None:
    Segmenter.load(tiny_path, device="cuda:1", gpu_mem_limit=2 << 30, self_test=False)
    ((provider, options),) = gpu_machine.asked
    assert provider == sessions.CUDA
    assert options["device_id"] == "1"
    assert options["gpu_mem_limit"] == str(2 << 30)


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("fp16", "1"), ("int8", "1")])
def test_only_float32_runs_without_tf32(
    gpu_machine: Machine,
    tiny_content: bytes,
    tmp_path: Path,
    write_finished: WriteFinished,
    precision: str,
    tf32: str,
) -> None:
    """onnxruntime takes `use_tf32=0` for "no tensor cores", for half convolutions as well."""
    content = tiny_content.replace(b'"precision": "fp32"', f'"precision": "{precision}"'.encode())
    path = write_finished(tmp_path / "tiny.onnx", content)
    open_backend(path, device="cuda")
    ((_, options),) = gpu_machine.asked
    assert options["use_tf32"] == tf32


def test_tensorrt_gets_no_graph_that_takes_any_size(gpu_machine: Machine, tiny_path: Path) -> None:
    with pytest.raises(InputError, match="export with --static NxHxW") as caught:
        Segmenter.load(tiny_path, device="tensorrt")
    assert "found 'tensorrt:0'" in str(caught.value)
    assert gpu_machine.asked == []


def test_tensorrt_gets_no_operator_whose_shape_depends_on_the_data(
    gpu_machine: Machine, fixed_path: Path
) -> None:
    gpu_machine.reports = [sessions.TENSORRT, sessions.CUDA, sessions.CPU]
    gpu_machine.parts = [(sessions.TENSORRT, ["Conv"]), (sessions.CUDA, ["NonZero"])]
    open_backend(fixed_path, device="tensorrt")
    options = gpu_machine.asked[0][1]
    assert set(options["trt_op_types_to_exclude"].split(",")) >= {"NonZero", "NonMaxSuppression"}
    assert int(options["trt_min_subgraph_size"]) > 20  # nodes of the mask head


def test_options_of_cuda_can_be_replaced_for_a_comparison(
    gpu_machine: Machine, tiny_path: Path
) -> None:
    chosen = {"prefer_nhwc": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    open_backend(tiny_path, device="cuda", resources=Resources(cuda_options=chosen))
    ((_, options),) = gpu_machine.asked
    assert chosen.items() <= options.items()
    assert options["device_id"] == "0"


@pytest.mark.parametrize(
    ("precision", "shape", "expected"),
    [
        ("fp32", (1, 96, 128), {}),
        ("fp16", None, {"fuse_conv_bias": "1"}),
        ("fp16", (1, 96, 128), {"fuse_conv_bias": "1", "prefer_nhwc": "1"}),
    ],
    ids=["fp32", "fp16", "fp16 of one size"],
)
def test_half_precision_reaches_the_tensor_cores(
    gpu_machine: Machine,
    tiny_path: Path,
    precision: str,
    shape: tuple[int, int, int] | None,
    expected: dict[str, str],
) -> None:
    """Channels last for free sizes would move the arithmetic on sizes to CUDA."""
    artifact = read_artifact(tiny_path)
    manifest = dataclasses.replace(artifact.manifest, precision=precision, static_shape=shape)
    artifact = dataclasses.replace(artifact, manifest=manifest)
    sessions.start_session(artifact, Device("cuda"), Resources())
    ((_, options),) = gpu_machine.asked
    names = ("fuse_conv_bias", "prefer_nhwc")
    assert {name: options[name] for name in names if name in options} == expected


def test_tensorrt_keeps_its_engines_by_artifact(
    gpu_machine: Machine, fixed_path: Path, tmp_path: Path
) -> None:
    gpu_machine.reports = [sessions.TENSORRT, sessions.CUDA, sessions.CPU]
    gpu_machine.parts = [(sessions.TENSORRT, ["Conv"]), (sessions.CUDA, ["Conv"])]
    segmenter = Segmenter.load(fixed_path, device="tensorrt", engine_cache=tmp_path)
    assert segmenter.provider == sessions.TENSORRT
    assert [provider for provider, _ in gpu_machine.asked] == [sessions.TENSORRT, sessions.CUDA]
    options = gpu_machine.asked[0][1]
    folder = tmp_path / segmenter.info.digest[:16]
    assert folder.is_dir()
    assert options["trt_engine_cache_path"] == str(folder)
    assert options["trt_fp16_enable"] == "0"


def test_tensorrt_that_leaves_everything_to_cuda_is_refused(
    gpu_machine: Machine, fixed_path: Path
) -> None:
    gpu_machine.reports = [sessions.TENSORRT, sessions.CUDA, sessions.CPU]
    gpu_machine.parts = [(sessions.CUDA, ["Conv"])]
    with pytest.raises(DeviceError, match="TensorrtExecutionProvider to run the model"):
        open_backend(fixed_path, device="tensorrt")


def test_the_placement_on_the_cpu_counts_every_node(tiny_path: Path) -> None:
    session = onnx.ort.InferenceSession(str(tiny_path), providers=[sessions.CPU])
    with pytest.raises(Exception, match="record_ep_graph_assignment_info"):
        read_placement(session)  # only a session that was asked to has a record
    placement = open_backend(tiny_path, device="cpu").placement
    assert placement is not None
    assert placement[sessions.CPU]["GatherND"] == 3
    assert not misplaced(placement, sessions.CPU, frozenset({sessions.CPU}))


def test_memory_that_is_given_back_changes_no_answer(
    tiny_path: Path, street: NDArray[np.uint8], cpu_device: str
) -> None:
    with (
        Segmenter.load(tiny_path, device=cpu_device) as keeping,
        Segmenter.load(tiny_path, device=cpu_device, shrink_memory=True) as shrinking,
    ):
        for size in (40, 20, 40):
            found, expected = shrinking(street[:size]), keeping(street[:size])
            np.testing.assert_array_equal(found.boxes, expected.boxes)
            np.testing.assert_array_equal(found.scores, expected.scores)


def test_only_a_fixed_shape_has_its_memory_planned(
    gpu_machine: Machine, tiny_path: Path, fixed_path: Path
) -> None:
    """onnxruntime keeps a plan per image size for ever: a leak where sizes vary."""
    open_backend(tiny_path, device="cuda")
    assert not gpu_machine.options.enable_mem_pattern
    open_backend(fixed_path, device="cuda")
    assert gpu_machine.options.enable_mem_pattern
