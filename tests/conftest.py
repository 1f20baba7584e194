"""What all tests share: reproducible randomness, and marks that skip with a reason."""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from pedseg_runtime.errors import ArtifactError, DeviceError, InputError

# One run is the same as the next; a slow machine is no failure.
settings.register_profile("pedseg", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("pedseg")

PHOTOS = "PEDSEG_PENNFUDAN"


def cuda_problem(library: str = "onnxruntime") -> str | None:
    """Why tests marked `gpu` cannot run here by `library`, None if they can.

    What counts is what it does: onnxruntime has to answer right on CUDA, torch to add there.
    """
    if library == "torch":
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed"
        import torch

        try:
            return None if int(torch.ones(2, device="cuda").sum()) == 2 else "torch adds wrongly"
        except (AssertionError, RuntimeError) as error:
            return str(error).splitlines()[0]
    from pedseg_runtime import Segmenter

    tiny = Path(__file__).parent / "runtime" / "golden" / "tiny.onnx"
    image = np.full((8, 8, 3), 255, np.uint8)
    try:
        with Segmenter.load(tiny, device="cuda") as segmenter:
            return None if len(segmenter(image)) == 3 else "onnxruntime finds other people there"
    except DeviceError as error:
        return str(error)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one process, and all that needs the exports, which take long, to one as well.

    Marks of groups do not do: pytest-xdist 3.8 does not tell pytest 9.2 of them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "export" if "export" in Path(file).parts else file

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    problems: dict[str, str | None] = {}
    for item in items:
        for mark in item.iter_markers("gpu"):
            library = mark.args[0] if mark.args else "onnxruntime"
            if library not in problems:
                problems[library] = cuda_problem(library)
            if problem := problems[library]:
                item.add_marker(pytest.mark.skip(reason=f"needs a CUDA GPU: {problem}"))
    for item in items:
        if item.get_closest_marker("photos") and not os.environ.get(PHOTOS):
            item.add_marker(pytest.mark.skip(reason=f"{PHOTOS} names no Penn-Fudan folder"))


@pytest.fixture(autouse=True)
def _same_start(_torch_threads: int | None) -> None:
    """Every test starts from the same seeds and threads, whatever ran before it.

    Loading a TorchScript artifact sets the threads of the whole process, and sums in training hang
    on their number.
    """
    random.seed(0)
    np.random.seed(0)
    if _torch_threads is not None:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(_torch_threads)


@pytest.fixture(scope="session")
def _torch_threads() -> int | None:
    """The threads that torch starts with; None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch.get_num_threads()


@pytest.fixture(scope="session")
def photos() -> Path:
    """A Penn-Fudan folder with real photographs."""
    return Path(os.environ[PHOTOS])


ERRORS = [
    MemoryError(),
    OSError(5, "input/output error"),
    RuntimeError("first line\nsecond line"),
    KeyError("boxes"),
    StopIteration(),
    InputError("image: expected another one, found this"),
    DeviceError("cuda: out of memory"),
    ArtifactError("outputs: expected five, found four"),
]
"""Every kind of error that a run may end with."""


@pytest.fixture
def errors() -> list[Exception]:
    """All of `ERRORS`."""
    return ERRORS


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def error(request: pytest.FixtureRequest) -> Exception:
    """One of `ERRORS`."""
    return request.param


class FailingRuns:
    """Makes runs of ONNX artifacts fail: the k-th, or those on certain images.

    Attributes:
        count: runs so far.
        fails: whether a run on images [N, H, W, 3] shall fail, given its number from 1.
    """

    def __init__(self, error: BaseException) -> None:
        self.error, self.count = error, 0
        self.fails: Callable[[int, Any], bool] = lambda number, images: False

    def on_run(self, *numbers: int) -> None:
        """Fail on the k-th runs."""
        self.fails = lambda number, images: number in numbers

    def on_images(self, value: int) -> None:
        """Fail wherever the first pixel of an image has this red value."""
        self.fails = lambda number, images: bool((images[:, 0, 0, 0] == value).any())


@pytest.fixture
def failing_runs(error: Exception, monkeypatch: pytest.MonkeyPatch) -> FailingRuns:
    """The runs of all ONNX artifacts, which fail with `error` where the test says."""
    from pedseg_runtime.backends.onnx import OnnxBackend

    runs, run = FailingRuns(error), OnnxBackend.run

    def counted(self: Any, images: Any) -> Any:
        runs.count += 1
        if runs.fails(runs.count, images):
            raise runs.error
        return run(self, images)

    monkeypatch.setattr(OnnxBackend, "run", counted)
    return runs
