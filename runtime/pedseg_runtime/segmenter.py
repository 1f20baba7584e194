"""The main class of the runtime: an artifact on a device, images in, detections out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Literal, overload

import numpy as np
from numpy.typing import NDArray

from .artifact.manifest import Manifest
from .artifact.reading import artifact_file
from .artifact.self_test import SelfTestSample, decode_samples, replay, warmup_image
from .artifact.tensors import (
    check_outputs,
    group_by_size,
    split_outputs,
    stack_images,
)
from .backends import DEFAULT_MAX_BATCH_PIXELS, Backend, Resources, open_backend
from .batches import OnError, read_each, run_isolated, usual_batch_size
from .detections import Detections
from .errors import ArtifactError, ClosedError, DeviceError, InputError, ParityError
from .image_limits import DEFAULT_MAX_PIXELS, ImageLimits, warmup_sizes
from .images import Source
from .info import SegmenterInfo, describe
from .lifecycle import Closeable, call_after_fork, keep_until_exit
from .text import pluralize


class Segmenter(Closeable):
    """An artifact, ready to segment images.

        with Segmenter.load("pedseg.onnx", device="cuda") as segmenter:
            detections = segmenter("street.jpg")
            results = segmenter.predict(images, score_threshold=0.5)

    One segmenter may be used by several threads at once: it keeps nothing between calls. Threads
    do not make it faster, since one run uses the whole device already: pass several images to
    `predict`, or start several processes. A forked child cannot use the segmenter of its parent and
    gets a `ClosedError`: load in the child, or start processes by "spawn".

    Attributes:
        manifest: what the artifact says of itself.
        provider: what really runs it, e.g. `CUDAExecutionProvider`, `CPUExecutionProvider`,
            `torch:cpu`, `openvino:CPU`.
        max_batch_pixels: most pixels in a run of several images; None sets no limit.
        self_test: outcome of the self-test: `passed on 3 samples`, `not in the artifact` or
            `skipped`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
        max_batch_pixels: int | None = DEFAULT_MAX_BATCH_PIXELS,
    ) -> None:
        """Wrap a backend that is open; `Segmenter.load` is the usual way in."""
        self._backend: Backend | None = backend
        self._closed_because = "closed"
        self.max_batch_pixels = max_batch_pixels
        self.manifest: Manifest = backend.artifact.manifest
        self.provider: str = backend.provider
        self._limits = ImageLimits(self.manifest, self.provider, max_pixels)
        self.self_test = "skipped"
        call_after_fork(self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        device: str = "auto",
        threads: int | None = None,
        gpu_mem_limit: int | None = None,
        shrink_memory: bool = False,
        engine_cache: str | Path | None = None,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
        max_batch_pixels: int | None = DEFAULT_MAX_BATCH_PIXELS,
        warmup: Iterable[tuple[int, int]] = (),
        self_test: bool = True,
    ) -> Segmenter:
        """Load an artifact and make sure that it computes here what it did at its export.

        Args:
            path: an ONNX, TorchScript or pt2 file made by pedseg-export; or a binary file object,
                whose content goes through a temporary file.
            device: "cpu", "cuda" or "cuda:N" run there or raise; "auto" takes CUDA where it really
                runs and else the CPU, `provider` says which. "tensorrt" (or "tensorrt:N") is
                experimental: no GPU has run it yet. It takes artifacts of a fixed shape and builds
                an engine for their trunk, which takes minutes; the rest runs on CUDA. TensorRT
                multiplies in TF32 unless NVIDIA_TF32_OVERRIDE=0 is in the environment, and the
                self-test may then refuse a float32 artifact. "openvino" (or
                "openvino:GPU", "openvino:NPU") runs ONNX artifacts in OpenVINO, in float32: on a
                CPU usually faster than onnxruntime; needs `pip install 'pedseg[openvino]'`.
            threads: CPU threads for one run; None takes all cores, or as many as the CPU quota of
                a container is worth.
            gpu_mem_limit: most bytes of GPU memory for the arena of onnxruntime; a run that needs
                more raises `DeviceError`. CUDA's own libraries need some hundred MB beside it. For
                torch it holds for the whole process.
            shrink_memory: give memory back after every run rather than keep it for the next. Runs
                get slower; for processes that share a device. Unusually large runs do so anyway.
            engine_cache: folder where TensorRT and OpenVINO keep what they compile; None compiles
                at every start.
            max_pixels: larger images are refused; None takes any size.
            max_batch_pixels: most pixels in a run of several images, and in a run whose memory is
                kept for the next; an image of more pixels runs alone. None sets no limit.
            warmup: (height, width) of images to expect; the first run of a new size is slow. What
                is run is a self-test sample, resized: on an image without a person the mask head
                would stay cold.
            self_test: replay the samples in the artifact, if it has any; that costs one run per
                image size among them.

        Raises:
            ArtifactError: the file is missing, damaged or not an artifact of pedseg.
            DeviceError: a GPU or OpenVINO was asked for and does not run the model.
            InputError: an argument cannot be used.
            ParityError: on this device the artifact answers otherwise than at its export; it is
                closed again, and the error carries the report.
        """
        resources = Resources(
            threads=threads,
            gpu_mem_limit=gpu_mem_limit,
            shrink_memory=shrink_memory,
            max_batch_pixels=max_batch_pixels,
            engine_cache=None if engine_cache is None else Path(engine_cache),
        )
        sizes = warmup_sizes(warmup)
        with artifact_file(path) as file:
            backend = open_backend(file, device=device, resources=resources)
        segmenter = cls(backend, max_pixels=max_pixels, max_batch_pixels=max_batch_pixels)
        try:
            samples = segmenter._samples(str(file)) if self_test or sizes else ()
            if self_test:
                segmenter._replay(samples, str(file))
            for size in sizes:
                segmenter(warmup_image(samples, size))
        except BaseException:
            segmenter.close()
            raise
        return segmenter

    def __call__(self, image: Source) -> Detections:
        """Segment one image; see `read_image` for what an image may be."""
        self._open_backend()
        return self.predict([self.read(image)])[0]

    @overload
    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> list[Detections]: ...

    @overload
    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: Literal["return"],
    ) -> list[Detections | Exception]: ...

    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> list[Detections] | list[Detections | Exception]:
        """Segment images of any mixture of sizes; those of one size share a run.

        All images are held in memory at once; hand over long lists in parts. If a run of several
        fails, each of its images is tried alone.

        Args:
            images: several images; see `read_image` for what each may be.
            score_threshold: keep detections above it; None keeps what the artifact yields. The
                threshold inside the artifact can only be raised.
            batch_size: most images in one run; memory grows with it, up to `max_batch_pixels`.
                None takes 1 on a CPU, where batches bring nothing, and else 8. An artifact of a
                fixed shape runs no more than it is made for, and always as many.
            on_error: what the failure of one image does. "raise" ends the call with its error, and
                the results of the others are lost. "return" puts the error in its place in the
                list and goes on with the others.

        Returns:
            One `Detections` per image, in the order of `images`; with `on_error="return"` the error
            of those that failed, usually an `InputError` or `DeviceError`.

        Raises:
            ClosedError: the segmenter is closed, or a forked process inherited it.
            DeviceError: the device has too little memory for an image.
            InputError: an argument cannot be used; or an image cannot be read, is too large, is so
                thin that resizing leaves nothing of it, or has another size than an artifact of a
                fixed shape takes.
        """
        backend = self._open_backend()
        self.check_threshold(score_threshold)
        most = self._batch_size(batch_size)
        arrays, outcomes = read_each(self.read, images, on_error)
        indices = list(arrays)
        for group in group_by_size(
            [array.shape for array in arrays.values()], most, self.max_batch_pixels
        ):
            members = [arrays[indices[position]] for position in group]
            found = run_isolated(members, partial(self._run, backend), catch=Exception)
            for position, outcome in zip(group, found, strict=True):
                if isinstance(outcome, Exception):
                    if on_error == "raise":
                        outcome.add_note(f"image {indices[position]} of the list")
                        raise outcome
                elif score_threshold is not None:
                    outcome = outcome.above(score_threshold)
                outcomes[indices[position]] = outcome
        return [outcomes[index] for index in range(len(outcomes))]

    def read(self, image: Source, name: str = "image") -> NDArray[np.uint8]:
        """Read one image as `predict` does, without segmenting it: it takes the result as it is.

        Args:
            image: see `read_image` for what it may be.
            name: what to call it in errors; a file is called by its path.

        Returns:
            uint8 [H, W, 3] RGB.

        Raises:
            DeviceError: there is too little memory to read it.
            InputError: the image cannot be used, is larger than `max_pixels`, is so thin that
                resizing leaves nothing of it, needs more memory than this process may have, or has
                another size than an artifact of a fixed shape takes.
        """
        return self._limits.read(image, name)

    def _batch_size(self, batch_size: int | None) -> int:
        """Most images in a run, for what a caller asked for."""
        fixed = self.manifest.static_shape
        if batch_size is None:
            return usual_batch_size(self.provider, fixed)
        if batch_size < 1:
            raise InputError(f"batch_size: expected a positive number, found {batch_size}")
        return batch_size if fixed is None else min(batch_size, fixed[0])

    def check_threshold(self, score_threshold: float | None) -> None:
        """Refuse a threshold that `predict` cannot apply.

        Raises:
            InputError: it is below the one that is built into the artifact, or above 1.
        """
        built_in = self.manifest.score_threshold
        if score_threshold is not None and not built_in <= score_threshold <= 1:
            raise InputError(
                f"score_threshold: expected {built_in} (built into the artifact) to 1, found "
                f"{score_threshold}; export again with a lower threshold to see weaker detections"
            )

    @property
    def info(self) -> SegmenterInfo:
        """What this is: artifact, digest, provider, where each node runs, versions, self-test.

        Raises:
            ClosedError: the segmenter is closed.
        """
        return describe(self._open_backend(), self.self_test)

    def close(self) -> None:
        """Let go of the model and its memory. Closing twice is fine, using it afterwards is not."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __repr__(self) -> str:
        state = "" if self._backend is not None else ", closed"
        return (
            f"<Segmenter {self.manifest.architecture} {self.manifest.precision} "
            f"{self.manifest.format} on {self.provider}{state}>"
        )

    def _samples(self, source: str) -> tuple[SelfTestSample, ...]:
        """The self-test samples in the artifact; `source` names the file in errors."""
        text = self._open_backend().artifact.self_test
        return decode_samples(text, source) if text is not None else ()

    def _replay(self, samples: Sequence[SelfTestSample], source: str) -> None:
        """Replay the self-test samples and set `self_test`; `source` names the file in errors."""
        if not samples:
            self.self_test = "not in the artifact"
            return
        try:
            report = replay(self, samples)
        except InputError as error:  # nothing that the caller put in
            raise ArtifactError(
                f"{source}: expected self-test samples that fit the artifact, found: {error}; "
                "export the checkpoint again with pedseg-export"
            ) from error
        if not report:
            target = self.manifest.target or "another version of the library that runs it"
            raise ParityError(
                f"{source}: expected the answers that were recorded at its export, found others "
                f"on {self.provider}: {report.reason}; try another device or {target}, or export "
                "the checkpoint again",
                report,
            )
        self.self_test = f"passed on {pluralize(len(samples), 'sample')}"

    def _open_backend(self) -> Backend:
        if self._backend is None:
            raise ClosedError(
                f"segmenter: expected an open one, found it {self._closed_because}; load it again"
            )
        return self._backend

    def _after_fork(self) -> None:
        """Part with the model in a forked child, where neither running nor freeing it would end."""
        keep_until_exit(self._backend)
        self._backend = None
        self._closed_because = "inherited from the process that forked this one"

    def _run(self, backend: Backend, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Segment images [H, W, 3] of one size, with black ones to fill up a fixed N."""
        fixed = self.manifest.static_shape
        height, width = images[0].shape[:2]
        try:
            if fixed is not None and len(images) < fixed[0]:
                batch = np.zeros((fixed[0], height, width, 3), np.uint8)
                batch[: len(images)] = images
            else:
                batch = stack_images(images)
            outputs = backend.run(batch)
            check_outputs(outputs, batch.shape, self.manifest)
            return split_outputs(outputs, batch.shape, self.manifest)[: len(images)]
        except MemoryError as error:
            raise DeviceError(
                f"images: expected memory for {pluralize(len(images), 'image')} of "
                f"{height}x{width}, found too little; use a smaller batch_size or smaller images"
            ) from error
