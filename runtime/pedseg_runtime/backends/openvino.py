"""ONNX artifacts by OpenVINO: on any CPU it is built for, and on Intel's GPUs and NPUs.

The `openvino` package, not onnxruntime's plugin `onnxruntime-ep-openvino`: that finds devices made
by Intel only, so no CPU of AMD or ARM, which OpenVINO itself runs on.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact.manifest import INPUT_NAME, INPUT_SPEC, Manifest, output_specs
from ..artifact.reading import Artifact
from ..artifact.tensors import Outputs
from ..devices import OPENVINO_EXTRA, Device
from ..errors import ArtifactError, DeviceError, InputError
from ..image_limits import resized_size
from .base import MemoryRelease, Placement, Resources, one_line, run_failure
from .openvino_graph import SIZE_NAME, make_order_stable, take_size_as_input

CPU = "CPU"
# What OpenVINO prepares for a new shape it keeps, 5000 pieces by default: 735 MiB after 300 image
# sizes and growing, where 278 MiB hold without it, in the same time per image (demo network).
_NO_CACHE_OF_SHAPES = {"CPU_RUNTIME_CACHE_CAPACITY": "0"}
_NO_WORK = frozenset({"Const", "Input", "Output"})  # of the compiled graph
_first_process: int | None = None  # that used OpenVINO
_core: Any = None
_core_lock = threading.Lock()


class OpenVinoBackend:
    """An ONNX artifact compiled by OpenVINO, computing in float32 (int8 artifacts partly in int8).

    `run` may be called from several threads at once; they wait for each other, as one run uses all
    threads. A request per caller was no faster and took memory for each.
    """

    def __init__(self, artifact: Artifact, device: Device, resources: Resources) -> None:
        """Compile `artifact`, or take it from `resources.engine_cache`.

        Raises:
            ArtifactError: the file is damaged, or not an artifact of pedseg.
            DeviceError: OpenVINO is missing, does not have the device, or would compute there in
                less than float32; or this process was forked from one that had used it.
            InputError: a profile of onnxruntime was asked for.
        """
        if resources.profile is not None:
            raise InputError(
                f"profile: expected a device that onnxruntime or torch runs, found {device}; "
                "use --device cpu"
            )
        self.artifact = artifact
        self._openvino = _import_openvino(device)
        self.library = f"openvino {self._openvino.__version__.split('-')[0]}"
        self.provider = str(device)
        self.threads = resources.threads_on_cpu()
        self._names = [spec["name"] for spec in output_specs(artifact.manifest.mask_format)]
        self._takes_size = False
        self._model: Any = self._compile(device, resources)
        _check_contract(artifact.path, artifact.manifest, self._model)
        _check_execution(self._model, device, self._openvino.Type.f32)
        self.placement: Placement = {self.provider: _count_layers(self._model)}
        self._request: Any = self._model.create_infer_request()
        shape = artifact.manifest.static_shape or (1, 1, 1)
        self._no_image = self._openvino.Tensor(np.zeros((*shape, 3), np.uint8))
        self._lock = threading.Lock()
        self._release = MemoryRelease(resources.max_batch_pixels, always=resources.shrink_memory)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; see `Backend.run`."""
        model, request = self._model, self._request
        count, height, width = images.shape[:3]
        pixels = np.require(images, requirements=["C", "W"])  # what a tensor can share
        try:
            with self._lock:
                releases = self._release.after(count * height * width)
                request.set_tensor(INPUT_NAME, self._openvino.Tensor(pixels, shared_memory=True))
                if self._takes_size:
                    request.set_tensor(SIZE_NAME, self._openvino.Tensor(self._resized(pixels)))
                try:
                    request.infer()
                    # Copies: the next run writes to the same memory.
                    return tuple(request.get_tensor(name).data.copy() for name in self._names)
                finally:
                    request.set_tensor(INPUT_NAME, self._no_image)  # let go of the caller's
                    if releases and self.provider == "openvino:CPU":
                        model.release_memory()
        except (RuntimeError, MemoryError) as error:
            reason = type(error)(explain(error))
            raise run_failure(self.artifact.path, self.provider, reason, images.shape) from error

    def close(self) -> None:
        """Let go of the model; a run under way in another thread finishes."""
        self._model = self._request = None

    def _resized(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Height and width that the graph resizes `images` to."""
        manifest = self.artifact.manifest
        height, width = images.shape[1:3]
        size = resized_size((height, width), manifest.min_size, manifest.max_size)
        return np.array(size, np.int64)

    def _compile(self, device: Device, resources: Resources) -> Any:
        """The compiled model."""
        core = _only_core(self._openvino)
        found = core.available_devices
        if not any(name == device.target or name.startswith(f"{device.target}.") for name in found):
            raise DeviceError(
                f"{device}: expected OpenVINO to find that device, found {', '.join(found)} alone; "
                "install its driver, or use openvino:CPU"
            )
        options = _options(self.artifact, device, resources, self.threads)
        path = self.artifact.path
        try:
            # By name: left to itself, OpenVINO tries all formats it knows on a damaged file.
            frontend = importlib.import_module("openvino.frontend")
            reader = frontend.FrontEndManager().load_by_framework("onnx")
            model = reader.convert(reader.load(str(path)))
            self._takes_size = take_size_as_input(model)
            make_order_stable(model)
        except ValueError as error:
            raise InputError(
                f"device: expected auto, cpu or cuda for {path}, found {device}, which has no "
                f"float64: {error}; export with --masks roi"
            ) from error
        except Exception as error:  # OpenVINO's errors share no narrower base
            raise _unusable(path, self.library, error) from error
        try:
            return core.compile_model(model, device.target, options)
        except Exception as error:
            if device.target == CPU:
                raise _unusable(path, self.library, error) from error
            raise DeviceError(
                f"{device}: expected the device to run {path}, found {explain(error)}; use "
                "openvino:CPU"
            ) from error


def _options(
    artifact: Artifact, device: Device, resources: Resources, threads: int | None
) -> dict[str, Any]:
    """One run at a time by all threads, in float32 where OpenVINO would choose less by itself."""
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    if device.target == CPU:
        options |= _NO_CACHE_OF_SHAPES
        # Pinned threads of several processes would all take the machine's first cores.
        options["ENABLE_CPU_PINNING"] = False
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
    if resources.engine_cache is not None:
        folder = resources.engine_cache / artifact.digest[:16]
        folder.mkdir(parents=True, exist_ok=True)
        options["CACHE_DIR"] = str(folder)
    return options


def _import_openvino(device: Device) -> Any:
    """OpenVINO, in a process where its threads exist."""
    global _first_process
    try:
        openvino = importlib.import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            f"{device}: expected the package openvino, found none ({error}); {OPENVINO_EXTRA}"
        ) from error
    if _first_process not in (None, os.getpid()):
        raise DeviceError(
            f"{device}: expected a process of its own, found one that was forked after OpenVINO "
            "had been used: its threads are gone and it would wait for them; load in the children "
            "alone, or start them by 'spawn'"
        )
    _first_process = os.getpid()
    return openvino


def _only_core(openvino: Any) -> Any:
    """The one `Core` of this process, which is never destroyed.

    Each sets an alternate signal stack for its thread and puts the one before back when it ends.
    Where two end in the order they began, or in another thread, what is put back was unmapped, and
    the next signal, a SIGTERM for instance, ends the process with a segmentation fault.
    """
    global _core
    with _core_lock:
        if _core is None:
            _core = openvino.Core()
        return _core


def _check_contract(path: Path, manifest: Manifest, model: Any) -> None:
    """Refuse a graph that has other inputs or outputs than its manifest promises."""
    expected = {
        spec["name"]: spec["dtype"] for spec in (INPUT_SPEC, *output_specs(manifest.mask_format))
    }
    found = {
        port.get_any_name(): np.dtype(port.get_element_type().to_dtype()).name
        for port in (*model.inputs, *model.outputs)
        if SIZE_NAME not in port.get_names()
    }
    if found != expected:
        raise ArtifactError(
            f"{path}: expected a graph with {_listed(expected)}, found {_listed(found)}; "
            "export the checkpoint again with pedseg-export"
        )


def _check_execution(model: Any, device: Device, float32: Any) -> None:
    """Refuse a model that runs elsewhere than it was asked to, or in another precision."""
    places = {str(name) for name in model.get_property("EXECUTION_DEVICES")}
    if {name.split(".")[0] for name in places} != {device.target.split(".")[0]}:
        raise DeviceError(
            f"{device}: expected OpenVINO to run all of the model there, found "
            f"{', '.join(sorted(places))}; use openvino:CPU"
        )
    precision = model.get_property("INFERENCE_PRECISION_HINT")
    if precision != float32:
        raise DeviceError(
            f"{device}: expected it to compute in float32, as the artifact was verified, found "
            f"{precision.to_string()}; use openvino:CPU"
        )


def _count_layers(model: Any) -> dict[str, int]:
    """Layers of the compiled graph by kind, most frequent first."""
    kinds = (layer.get_rt_info() for layer in model.get_runtime_model().get_ordered_ops())
    counts = Counter(str(kind["layerType"].astype(str)) for kind in kinds)
    return {kind: count for kind, count in counts.most_common() if kind not in _NO_WORK}


def _unusable(path: Path, library: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected an ONNX model that {library} can run, found {explain(error)}; try "
        "device='cpu', or export the checkpoint again with pedseg-export"
    )


def explain(error: Exception) -> str:
    """What OpenVINO's message says in one line, without the places in its source."""
    text = str(error)
    lines = (line.strip() for line in (text.partition("Summary:")[2] or text).splitlines())
    kept = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return one_line(RuntimeError(" ".join(kept).strip() or text))


def _listed(types: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items())
