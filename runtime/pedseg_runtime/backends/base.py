"""What all backends share: protocol, resources, when memory is given back, reports of failures."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..artifact.reading import Artifact
from ..artifact.tensors import Outputs
from ..containers import thread_limit
from ..errors import ArtifactError, DeviceError, InputError
from ..text import pluralize

logger = logging.getLogger("pedseg_runtime.backends")

Placement = Mapping[str, Mapping[str, int]]  # provider -> operator -> number of nodes

DEFAULT_MAX_BATCH_PIXELS = 2**24
"""Pixels of all images in one run, unless a single image has more: eight of 1920x1080.

A run on the CPU takes about 28 bytes for each of them, 450 MB for all, see docs/embedding.md.
"""

_SMALL = 2**20  # pixels; not worth giving back
_RECENT = 4  # runs that tell what is usual
_UNUSUAL = 2  # times as many pixels as usual


@dataclass(frozen=True, slots=True)
class Resources:
    """What a backend may use of the machine; see `Segmenter.load`.

    Attributes:
        max_batch_pixels: most pixels in one run whose memory is kept for the next.
        profile: where onnxruntime shall write what every node takes, as the start of a file name;
            None for not at all. For `pedseg-bench profile`: it costs time.
        cuda_options: of onnxruntime's CUDA provider, instead of the runtime's own. For
            `pedseg-bench run`, which compares them.
    """

    threads: int | None = None
    gpu_mem_limit: int | None = None
    shrink_memory: bool = False
    max_batch_pixels: int | None = DEFAULT_MAX_BATCH_PIXELS
    engine_cache: Path | None = None
    profile: Path | None = None
    cuda_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("threads", "gpu_mem_limit", "max_batch_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a positive number or None, found {value}")

    def threads_on_cpu(self) -> int | None:
        """Threads of a run: those asked for, else what a container's quota leaves; None for all."""
        return thread_limit() if self.threads is None else self.threads


class Backend(Protocol):
    """A loaded artifact on a device."""

    @property
    def artifact(self) -> Artifact:
        """What it runs."""

    @property
    def provider(self) -> str:
        """What really runs it: an onnxruntime provider, "torch:cuda:N", "openvino:CPU", ..."""

    @property
    def library(self) -> str:
        """The library beneath, with its version: "onnxruntime 1.31.1", "torch 2.14.1"."""

    @property
    def threads(self) -> int | None:
        """CPU threads of one run; None where the library takes all cores."""

    @property
    def placement(self) -> Placement | None:
        """Which provider runs how many nodes; None where the library has one device only."""

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; detections of all images, ordered by image."""

    def close(self) -> None:
        """Let go of the model and its memory; runs under way in other threads finish."""


class MemoryRelease:
    """When the memory of a run is given back, rather than kept for the next; threads may share it.

    Giving memory back takes time: the next run has to ask the system for it again (12 megapixels
    take 2.6 times as long on two CPU cores). So a run keeps its memory if such runs are usual, and
    gives it back if it is unusually large, or if large ones are no longer usual.

    Args:
        most: runs of more pixels always give their memory back; None sets no such limit.
        always: so do all other runs.
        adapts: judge a run by those before it too. Batches of varying length on a GPU would
            pass for unusual ones again and again.
    """

    def __init__(self, most: int | None, *, always: bool = False, adapts: bool = True) -> None:
        self._most, self._always, self._adapts = most, always, adapts
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._kept = 0  # pixels whose memory is held
        self._lock = threading.Lock()

    def before(self, pixels: int) -> bool:
        """Whether what is held shall be given back before a run of so many pixels.

        That is so where the held blocks are too small for it: it gets others beside them, and both
        would count. onnxruntime's blocks are powers of two, so a slightly larger run fits.
        """
        with self._lock:
            is_outgrown = _block_size(pixels) > _block_size(self._kept)
            release = self._adapts and self._kept > _SMALL and is_outgrown
            if release:
                self._kept = 0
            return release

    def after(self, pixels: int) -> bool:
        """Whether a run of so many pixels, which is about to start, shall give its memory back."""
        with self._lock:
            usual = max(self._recent, default=0)
            self._recent.append(pixels)
            self._kept = max(self._kept, pixels)
            recent = max(self._recent)
            release = (
                self._always
                or (self._most is not None and pixels > self._most)
                or (self._adapts and pixels > max(_SMALL, _UNUSUAL * usual))
                or (self._adapts and self._kept > max(_SMALL, _UNUSUAL * recent))
            )
            if release:
                self._kept = 0
            return release


def trim_heap() -> None:
    """Let the C library give what it has free back to the system; glibc alone has to be asked.

    Arrays up to 32 MB come from its heap, where holes between them stay: 100 MB in a thousand runs
    on images of 0.1 to 48 megapixels.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return


def _block_size(pixels: int) -> int:
    """The power of two that holds the largest array of a run: float32 RGB of its pixels."""
    return (12 * pixels).bit_length()


def run_failure(
    path: Path, provider: str, error: Exception, shape: tuple[int, ...]
) -> ArtifactError | DeviceError:
    """The pedseg error for a run of `path` on `provider` that failed on images of `shape`."""
    text = one_line(error)
    images = f"{pluralize(shape[0], 'image')} of {shape[1]}x{shape[2]}"
    is_memory = isinstance(error, MemoryError)
    if is_memory or re.search(r"alloc|out of memory", text, re.IGNORECASE):
        return DeviceError(
            f"{path}: expected {provider} to have memory for {images}, found "
            f"{text or 'too little'}; use a smaller batch_size or smaller images"
        )
    if "cuda" in provider.lower():
        return DeviceError(
            f"{path}: expected {provider} to run {images}, found {text}; try device='cpu'"
        )
    return ArtifactError(
        f"{path}: expected the graph to run on {images}, found {text}; "
        "export the checkpoint again with pedseg-export"
    )


def one_line(error: Exception) -> str:
    """What a library's message says, without onnxruntime's tags and CUDA's call stacks."""
    text = " ".join(str(error).split())
    failure = re.search(r"CU[A-Z]* failure \d+: [^;]+", text)
    if failure:
        return failure.group().strip()
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S+ failed:)?", "", text)
    return text if len(text) <= 300 else f"{text[:300]}..."
