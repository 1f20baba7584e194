"""ONNX artifacts by onnxruntime, on the CPU or on CUDA, and never silently on the other."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..contents import read_contents
from ..devices import CUDA_EXTRA, Device, explain_cuda, has_cudnn, probe_driver
from ..errors import ArtifactError, DeviceError
from ..manifest import INPUT_NAME, INPUT_SPEC, Manifest, output_specs
from . import Outputs, logger, one_line, run_failure

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
# Image sizes vary, so every size is a new shape. HEURISTIC picks a convolution algorithm in
# milliseconds where onnxruntime's EXHAUSTIVE times all of them anew for each shape. The arena keeps
# its default growth by powers of two: growing by what is asked for leaves holes that no later
# shape fits, and memory rises without end (microsoft/onnxruntime#14474). TF32 is off because
# the artifact's parity was measured in float32.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
ORT_TYPES = {"uint8": "tensor(uint8)", "int64": "tensor(int64)", "float32": "tensor(float)"}
LOG_WARNING, LOG_FATAL = 2, 4


class OnnxBackend:
    """An ONNX artifact in an onnxruntime session.

    `run` may be called from several threads at once. That is safe and does not make it faster: a
    CPU run uses all its threads already, and a CUDA session has one stream.
    """

    def __init__(self, path: Path, *, device: Device, threads: int | None = None) -> None:
        """Start a session for the artifact at `path`.

        Raises:
            ArtifactError: the file is damaged, or not an artifact of pedseg.
            DeviceError: CUDA was asked for and does not run the model.
        """
        self._path = path
        contents = read_contents(path)
        self.manifest, self.golden = contents.manifest, contents.golden
        self._names = [spec["name"] for spec in output_specs(self.manifest.mask_format)]
        self._session: Any = _start(path, device, _session_options(threads))
        self.provider: str = self._session.get_providers()[0]
        _check_contract(path, self.manifest, self._session)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; see `Backend.run`."""
        session = self._session
        try:
            return tuple(session.run(self._names, {INPUT_NAME: images}))
        except Exception as error:  # onnxruntime's errors share no narrower base
            raise run_failure(self._path, self.provider, error, images.shape) from error

    def close(self) -> None:
        """Let go of the session; a run under way in another thread finishes."""
        self._session = None


def _session_options(threads: int | None) -> Any:
    """Options that keep onnxruntime off standard error: whatever fails is raised as well."""
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _start(path: Path, device: Device, options: Any) -> Any:
    """A session on `device`; for "auto" on CUDA if that really runs, else on the CPU."""
    if device.kind == "cuda":
        return _start_on_cuda(path, device, options)
    if device.kind == "auto" and CUDA in ort.get_available_providers() and probe_driver().devices:
        try:
            return _start_on_cuda(path, Device("cuda", device.index), options)
        except DeviceError as error:
            logger.warning("running on the CPU although there is a GPU: %s", error)
    return _start_on_cpu(path, options)


def _start_on_cpu(path: Path, options: Any) -> Any:
    """A session on the CPU.

    Raises:
        ArtifactError: the file is not a graph that this onnxruntime can run.
    """
    try:
        return ort.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise ArtifactError(
            f"{path}: expected an ONNX model that onnxruntime {ort.__version__} can run, found "
            f"{one_line(error)}; export the checkpoint again with pedseg-export"
        ) from error


def _start_on_cuda(path: Path, device: Device, options: Any) -> Any:
    """A session that runs on CUDA first.

    Raises:
        ArtifactError: the file runs nowhere.
        DeviceError: onnxruntime runs the model on something else than CUDA.
    """
    available = ort.get_available_providers()
    if CUDA not in available:
        raise DeviceError(
            f"{device}: expected an onnxruntime built for CUDA, found {ort.__version__} with "
            f"{', '.join(available)}; pip uninstall onnxruntime, then {CUDA_EXTRA}"
        )
    wanted = [(CUDA, {"device_id": str(device.index), **CUDA_OPTIONS}), CPU]
    found = "onnxruntime took the CPU without saying why"
    with _quiet():
        ort.preload_dlls()  # CUDA and cuDNN of the `cuda` extra's wheels, or of the system
        try:
            session = ort.InferenceSession(str(path), options, providers=wanted, enable_fallback=0)
            if session.get_providers()[0] == CUDA and has_cudnn():
                return session
        except Exception as error:  # onnxruntime's errors share no narrower base
            found = one_line(error)
            _start_on_cpu(path, options)  # raises if the file is at fault, not the device
    cause = explain_cuda(device, ort.cuda_version) or f"{found}; see nvidia-smi and free GPU memory"
    raise DeviceError(
        f"{device}: expected the model to run on CUDA, found that it does not: {cause}"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what onnxruntime prints while it looks for CUDA; the caller reports it better.

    The severity of its default logger cannot be read, so its default is what comes back.
    """
    ort.set_default_logger_severity(LOG_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(LOG_WARNING)


def _check_contract(path: Path, manifest: Manifest, session: Any) -> None:
    """Refuse a loaded graph that has other inputs or outputs than its manifest promises."""
    contract = (INPUT_SPEC, *output_specs(manifest.mask_format))
    expected = {spec["name"]: ORT_TYPES[spec["dtype"]] for spec in contract}
    found = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
    if found != expected:
        raise ArtifactError(
            f"{path}: expected a graph with {_listed(expected)}, found {_listed(found)}; "
            "export the checkpoint again with pedseg-export"
        )


def _listed(types: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items())
