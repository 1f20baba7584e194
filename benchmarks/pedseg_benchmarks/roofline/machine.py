"""The machine's own rates, the roof of the roofline: large matrix products and plain copies.

No library is the fastest everywhere. On one AMD processor torch's matrix product reached half the
rate of onnxruntime's, and a contender would have beaten "the machine". So several libraries are
measured, in several shapes, and the fastest counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from pedseg_runtime.backends.sessions import CPU
from pedseg_runtime.errors import InputError

from ..environment import torch_threads
from ..scenario_results import Machine

Shape = tuple[int, int, int]  # rows, inner, columns
CPU_SHAPES: tuple[Shape, ...] = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 1024))
CUDA_SHAPES: tuple[Shape, ...] = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 4096))
CPU_COPY_BYTES, CUDA_COPY_BYTES = 2**28, 2**31  # well beyond every cache
TRIALS, RUNS, COPIES = 7, 3, 15  # timed runs: of every product, of a call, of the copy
OPSET, IR_VERSION = 17, 8  # what every supported onnxruntime reads


class PeakRateMeter:
    """The machine's matrix-product rate, measured again at every call.

    A machine that shares its host is not equally fast from minute to minute: called between the
    rounds of a benchmark, the rate is of the same minutes as the contenders' times. Use it where
    TF32 is as it is for the contenders, and while nothing else runs.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads.
        shapes: of the products to choose from; None for some that suit the device.
        copy_bytes: of what is copied; None for much more than the device's caches hold.
    """

    def __init__(
        self,
        device: str,
        *,
        threads: int,
        shapes: tuple[Shape, ...] | None = None,
        copy_bytes: int | None = None,
    ) -> None:
        self._device, self._threads = torch.device(device), threads
        on_cpu = self._device.type == "cpu"
        self._copy_bytes = copy_bytes or (CPU_COPY_BYTES if on_cpu else CUDA_COPY_BYTES)
        shapes = shapes or (CPU_SHAPES if on_cpu else CUDA_SHAPES)
        with torch.inference_mode(), torch_threads(threads):
            products = [Product(shape, _by_torch(self._device, shape)) for shape in shapes]
            if on_cpu:
                products += [Product(shape, _by_onnxruntime(shape, threads)) for shape in shapes]
            self._product = max(products, key=lambda one: median(one.rates(self._device, TRIALS)))
        self._samples: list[float] = []

    def __call__(self) -> None:
        """Time the fastest product a few times."""
        with torch.inference_mode(), torch_threads(self._threads):
            self._samples += self._product.rates(self._device, RUNS)

    def machine(self) -> Machine:
        """The median rate of all calls, and the median bandwidth of a copy, which is measured now.

        Raises:
            InputError: there was no call before.
        """
        if not self._samples:
            raise InputError(
                "peak rate: expected at least one measurement before the result is read"
            )
        with torch.inference_mode(), torch_threads(self._threads):
            bandwidth = _copies(self._device, self._copy_bytes, COPIES)
        return Machine(
            matmul_gflops=median(self._samples),
            bandwidth_gb_per_s=median(bandwidth),
            samples_gflops=self._samples,
        )


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product: its shape, and what computes it once."""

    shape: Shape
    run: Callable[[], object]

    def rates(self, device: torch.device, repeats: int) -> list[float]:
        """10^9 operations per second of every timed run."""
        rows, inner, columns = self.shape
        gflop = 2e-9 * rows * inner * columns
        return [gflop / seconds for seconds in _timed(self.run, device, repeats)]


def _by_torch(device: torch.device, shape: Shape) -> Callable[[], object]:
    rows, inner, columns = shape
    left, right = torch.rand(rows, inner, device=device), torch.rand(inner, columns, device=device)
    out = torch.empty(rows, columns, device=device)
    return lambda: torch.mm(left, right, out=out)


def _by_onnxruntime(shape: Shape, threads: int) -> Callable[[], object]:
    """A graph of one product with a constant, on the CPU: what a linear layer is."""
    rows, inner, columns = shape
    left, right = (
        np.random.default_rng(0).random(size, dtype=np.float32)
        for size in ((rows, inner), (inner, columns))
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, [rows, inner])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(right, "right")],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    return lambda: session.run(None, {"left": left})


def _copies(device: torch.device, count: int, repeats: int) -> list[float]:
    """10^9 bytes per second, read and written, of every timed copy of `count` bytes."""
    source = torch.ones(count // 4, device=device)
    target = torch.empty_like(source)
    return [
        2e-9 * count / seconds for seconds in _timed(lambda: target.copy_(source), device, repeats)
    ]


def _timed(run: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of every run, from an idle device to an idle device."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else _nothing
    for _ in range(2):
        run()
    seconds = []
    for _ in range(repeats):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        seconds.append(time.perf_counter() - start)
    return seconds


def _nothing() -> None:
    """A CPU is done when the call returns."""
