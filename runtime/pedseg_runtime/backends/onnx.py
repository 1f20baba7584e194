"""ONNX artifacts by onnxruntime."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..artifact.manifest import INPUT_NAME, INPUT_SPEC, Manifest, output_specs
from ..artifact.reading import Artifact
from ..artifact.tensors import Outputs
from ..devices import Device
from ..errors import ArtifactError
from .base import MemoryRelease, Placement, Resources, run_failure, trim_heap
from .sessions import CPU, read_placement, run_options, start_session

ORT_TYPES = {"uint8": "tensor(uint8)", "int64": "tensor(int64)", "float32": "tensor(float)"}


class OnnxBackend:
    """An ONNX artifact in an onnxruntime session.

    `run` may be called from several threads at once. That is safe and hardly makes it faster: a
    CPU run uses all its threads already. On CUDA every thread has a stream of its own, but each
    convolution is launched under a lock and planned anew if the thread before had another size.
    """

    library = f"onnxruntime {ort.__version__}"

    def __init__(self, artifact: Artifact, device: Device, resources: Resources) -> None:
        """Start a session for `artifact`.

        Raises:
            ArtifactError: the file is damaged, or not an artifact of pedseg.
            DeviceError: a GPU was asked for and does not run the model.
        """
        self.artifact = artifact
        self._names = [spec["name"] for spec in output_specs(artifact.manifest.mask_format)]
        self._session: Any = start_session(artifact, device, resources)
        self.provider: str = self._session.get_providers()[0]
        self.placement: Placement = read_placement(self._session)
        self.threads = resources.threads_on_cpu()
        self._keeping, self._releasing = (
            run_options(device.index, self.provider, release=release) for release in (False, True)
        )
        self._release = MemoryRelease(
            resources.max_batch_pixels,
            always=resources.shrink_memory,
            adapts=self.provider == CPU,
        )
        _check_contract(artifact.path, artifact.manifest, self._session)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; see `Backend.run`."""
        session = self._session
        count, height, width = images.shape[:3]
        pixels = count * height * width
        if self._release.before(pixels):
            self._give_back()
        releases = self._release.after(pixels)
        options = self._releasing if releases else self._keeping
        try:
            return tuple(session.run(self._names, {INPUT_NAME: images}, options))
        except Exception as error:  # onnxruntime's errors share no narrower base
            raise run_failure(self.artifact.path, self.provider, error, images.shape) from error
        finally:
            if releases:
                trim_heap()

    def _give_back(self) -> None:
        """Give back the memory that is held: onnxruntime does so only at the end of a run.

        So the cheapest image that the resize rule leaves something of is run.
        """
        strip = np.zeros((1, 1, self.artifact.manifest.max_size, 3), np.uint8)
        with suppress(Exception):  # what follows succeeds or fails without it as well
            self._session.run(self._names, {INPUT_NAME: strip}, self._releasing)

    def close(self) -> None:
        """Let go of the session; a run under way in another thread finishes."""
        self._session = None


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
