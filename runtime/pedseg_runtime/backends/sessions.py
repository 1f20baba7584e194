"""Sessions of onnxruntime on the CPU, on CUDA or by TensorRT, and never silently on another."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort

from ..artifact.reading import Artifact
from ..devices import (
    CUDA_EXTRA,
    Device,
    explain_cuda,
    explain_tensorrt,
    has_cudnn,
    preload_tensorrt,
    probe_driver,
)
from ..errors import ArtifactError, DeviceError, InputError
from .base import Placement, Resources, logger, one_line

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
PROVIDERS = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
# Image sizes vary, so every size is a new shape. HEURISTIC picks a convolution algorithm in
# milliseconds where onnxruntime's EXHAUSTIVE times all of them anew for each shape. The arena keeps
# its default growth by powers of two: growing by what is asked for leaves holes that no later
# shape fits, and memory rises without end (microsoft/onnxruntime#14474).
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
# What makes shapes depend on the data stays with CUDA, and so do the small pieces behind it, the
# heads for a number of boxes that is new in every run: TensorRT would build an engine, for minutes,
# whenever that number leaves the range it has seen. It gets the trunk and the RPN head.
TENSORRT_OPTIONS = {
    "trt_op_types_to_exclude": "NonZero,NonMaxSuppression,RoiAlign",
    "trt_min_subgraph_size": "40",
}
LOG_WARNING, LOG_FATAL = 2, 4
RECORD = ("session.record_ep_graph_assignment_info", "1")
# Where nearly all of the time goes, and what the features would have to be copied for. One of them
# on the CPU is no GPU session.
HEAVY = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "NonMaxSuppression", "RoiAlign", "TopK"}
)
FUSED = ("Fused", "QLinear")  # what onnxruntime puts before the name of an operator


def start_session(artifact: Artifact, device: Device, resources: Resources) -> Any:
    """A session on `device`; for "auto" on CUDA if that really runs, else on the CPU.

    Raises:
        ArtifactError: the file is not a graph that this onnxruntime can run.
        DeviceError: onnxruntime runs the model on something else than `device`.
        InputError: TensorRT was asked for and the artifact takes images of any size.
    """
    if device.kind == "tensorrt" and artifact.manifest.static_shape is None:
        raise InputError(
            f"device: expected auto, cpu, cuda or openvino for {artifact.path}, which takes images "
            f"of any size, found {str(device)!r}, which would build engines for every size, for "
            "minutes each; export with --static NxHxW for it"
        )
    options = _options(artifact, resources)
    if device.kind in ("cuda", "tensorrt"):
        return _start_on_gpu(artifact, device, options, resources)
    if device.kind == "auto" and CUDA in ort.get_available_providers() and probe_driver().devices:
        try:
            return _start_on_gpu(artifact, Device("cuda", device.index), options, resources)
        except DeviceError as error:
            logger.warning("running on the CPU although there is a GPU: %s", error)
    return _start_on_cpu(artifact.path, options)


def cuda_options(precision: str, *, static: bool = False) -> dict[str, str]:
    """Options of the CUDA provider for a model of `precision`, of one shape if `static`.

    The parity of a float32 artifact was measured in float32, so TF32 is off for it, and for it
    alone: onnxruntime 1.31.1 takes `use_tf32=0` for "no tensor cores", whatever the type of a
    convolution (CreateCudnnFeExecutionPlan in its cuda/nn/conv.cc). Half precision would lose
    them too.

    Tensor cores want channels last (microsoft/onnxruntime#22648), and only in float32 does
    onnxruntime fuse a convolution with its bias by itself (#19470). Channels last is for fixed
    shapes: with free ones onnxruntime 1.31.1 then puts the arithmetic on sizes on CUDA as well,
    80 nodes, and copies its results to the CPU five times a run (seen in its placement).
    """
    options = {**_CUDA_OPTIONS, "use_tf32": "0" if precision == "fp32" else "1"}
    if precision == "fp16":
        options["fuse_conv_bias"] = "1"
        if static:
            options["prefer_nhwc"] = "1"
    return options


def run_options(device_index: int, provider: str, *, release: bool) -> Any:
    """Options of a run: nothing on standard error, and memory given back after it if wanted."""
    options = ort.RunOptions()
    options.log_severity_level = LOG_FATAL
    if release:
        arenas = "cpu:0" if provider == CPU else f"cpu:0;gpu:{device_index}"
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)
    return options


def _options(artifact: Artifact, resources: Resources) -> Any:
    """Options that keep onnxruntime off standard error: every failure is raised as well."""
    if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
        ort.disable_telemetry_events()  # for an onnxruntime that was imported before pedseg
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    options.add_session_config_entry(*RECORD)
    # onnxruntime keeps one plan of its memory per image size, for ever: a leak where sizes vary.
    options.enable_mem_pattern = artifact.manifest.static_shape is not None
    # Weights in the arena would pin the blocks that shall be given back.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    threads = resources.threads_on_cpu()
    if threads is not None:
        options.intra_op_num_threads = threads
    if resources.profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(resources.profile)
    return options


def _start_on_cpu(path: Path, options: Any) -> Any:
    """A session on the CPU, or an `ArtifactError`."""
    try:
        return ort.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise ArtifactError(
            f"{path}: expected an ONNX model that onnxruntime {ort.__version__} can run, found "
            f"{one_line(error)}; export the checkpoint again with pedseg-export"
        ) from error


def _start_on_gpu(artifact: Artifact, device: Device, options: Any, resources: Resources) -> Any:
    """A session that runs on a GPU first, or a `DeviceError`; `ArtifactError` if it runs nowhere.

    What counts is where onnxruntime put the nodes, not what it was asked for.
    """
    wanted = PROVIDERS[device.kind]
    available = ort.get_available_providers()
    if wanted not in available:
        raise DeviceError(
            f"{device}: expected an onnxruntime built for {wanted}, found {ort.__version__} with "
            f"{', '.join(available)}; pip uninstall onnxruntime, then {CUDA_EXTRA}"
        )
    providers = _gpu_providers(artifact, device, resources)
    found = "onnxruntime took the CPU without saying why"
    with _suppress_output():
        ort.preload_dlls()  # CUDA and cuDNN of the `cuda` extra's wheels, or of the system
        if device.kind == "tensorrt":
            preload_tensorrt()
        try:
            session = ort.InferenceSession(
                str(artifact.path), options, providers=providers, enable_fallback=0
            )
            if session.get_providers()[0] == wanted and has_cudnn():
                allowed = frozenset(name for name, _ in providers)
                placement = read_placement(session)
                found = misplaced(placement, wanted, allowed)
                if not found:
                    _warn_of_copies(artifact.path, placement)
                    return session
        except Exception as error:  # onnxruntime's errors share no narrower base
            found = one_line(error)
            _start_on_cpu(artifact.path, options)  # raises if the file is at fault
    explain = explain_tensorrt if device.kind == "tensorrt" else explain_cuda
    advice = "" if "; " in found else "; see nvidia-smi and free GPU memory"
    cause = explain(device, ort.cuda_version) or f"{found}{advice}"
    raise DeviceError(
        f"{device}: expected {wanted} to run the model, found that it does not: {cause}"
    )


def _gpu_providers(
    artifact: Artifact, device: Device, resources: Resources
) -> list[tuple[str, dict[str, str]]]:
    """What onnxruntime may use, best first; it adds the CPU for what nothing else can run."""
    manifest = artifact.manifest
    chosen = cuda_options(manifest.precision, static=manifest.static_shape is not None)
    cuda = {"device_id": str(device.index), **chosen}
    if resources.gpu_mem_limit is not None:
        cuda["gpu_mem_limit"] = str(resources.gpu_mem_limit)
    cuda.update(resources.cuda_options)
    if device.kind == "cuda":
        return [(CUDA, cuda)]
    return [(TENSORRT, _tensorrt_options(artifact, device, resources)), (CUDA, cuda)]


def _tensorrt_options(artifact: Artifact, device: Device, resources: Resources) -> dict[str, str]:
    """TensorRT with its engines kept on disk: building them takes minutes.

    Engines depend on the artifact, the GPU and TensorRT; onnxruntime tells the last two apart by
    itself, the artifact's digest names the folder.
    """
    options = {
        "device_id": str(device.index),
        **TENSORRT_OPTIONS,
        # An fp32 artifact keeps its promise only without half precision.
        "trt_fp16_enable": "1" if artifact.manifest.precision == "fp16" else "0",
    }
    if resources.gpu_mem_limit is not None:
        options["trt_max_workspace_size"] = str(resources.gpu_mem_limit)
    if resources.engine_cache is not None:
        folder = resources.engine_cache / artifact.digest[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("engine", "timing"):
            options[f"trt_{kind}_cache_enable"] = "1"
            options[f"trt_{kind}_cache_path"] = str(folder)
    return options


@contextlib.contextmanager
def _suppress_output() -> Iterator[None]:
    """Suppress what onnxruntime prints while it looks for a GPU; the caller reports it better.

    The severity of its default logger cannot be read, so its default is what comes back.
    """
    ort.set_default_logger_severity(LOG_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(LOG_WARNING)


def read_placement(session: Any) -> Placement:
    """The nodes of each provider by operator, as onnxruntime divided the graph among them.

    Args:
        session: an InferenceSession that was started with `RECORD` among its options.

    Returns:
        Per provider name the number of nodes of each operator, most frequent first. Copies between
        devices are inserted later and are not counted.
    """
    counts: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = counts.setdefault(part.ep_name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return {provider: dict(operators.most_common()) for provider, operators in counts.items()}


def misplaced(placement: Placement, wanted: str, allowed: frozenset[str]) -> str:
    """Why `placement` is no run on `wanted`, or nothing if it is one.

    Args:
        placement: of the session.
        wanted: the provider that was asked for.
        allowed: providers that may run heavy operators beside it.
    """
    if not placement.get(wanted):
        return "it runs no node of the graph"
    for provider, operators in placement.items():
        heavy = {name: count for name, count in operators.items() if _plain(name) in HEAVY}
        if heavy and provider not in allowed:
            nodes = ", ".join(f"{count} {name}" for name, count in heavy.items())
            return (
                f"{provider} runs {nodes} of the graph; upgrade onnxruntime-gpu, or export the "
                "checkpoint again with pedseg-export"
            )
    return ""


def _plain(operator: str) -> str:
    """The ONNX operator that `operator` is or was made of."""
    for prefix in FUSED:
        operator = operator.removeprefix(prefix)
    return operator


def _warn_of_copies(path: Path, placement: Placement) -> None:
    """Say so if all masks go through the CPU: Pad of bytes has no CUDA kernel.

    Earlier exports with masks of the whole image have it. pedseg's graphs pad nothing small.
    """
    padded = placement.get(CPU, {}).get("Pad", 0)
    if padded:
        logger.warning(
            "%s: %s runs %d Pad of the graph, so that masks are copied to the CPU and back; "
            "export the checkpoint again",
            path,
            CPU,
            padded,
        )
