from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pedseg_runtime import BatchingSegmenter, InputError, Segmenter
from pedseg_runtime.artifact.tensors import group_by_size
from pedseg_runtime.batches import run_isolated, usual_batch_size


@pytest.mark.parametrize(
    ("provider", "shape", "size"),
    [
        ("CPUExecutionProvider", None, 1),
        ("torch:cpu", None, 1),
        ("openvino:CPU", None, 1),
        ("openvino:GPU", None, 8),
        ("CUDAExecutionProvider", None, 8),
        ("torch:cuda:0", None, 8),
        ("CPUExecutionProvider", (4, 64, 64), 4),
    ],
)
def test_a_cpu_runs_images_one_by_one(
    provider: str, shape: tuple[int, int, int] | None, size: int
) -> None:
    assert usual_batch_size(provider, shape) == size


def test_groups_hold_so_many_pixels() -> None:
    small, large = (10, 10), (30, 40)
    sizes = [small, large, small, small, large]
    assert group_by_size(sizes, 8, 200) == [[0, 2], [1], [3], [4]]
    assert group_by_size(sizes, 8, 2400) == [[0, 2, 3], [1, 4]]
    assert group_by_size(sizes, 8, None) == [[0, 2, 3], [1, 4]]


def test_the_failing_item_is_found() -> None:
    calls: list[list[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        if 3 in items:
            raise ValueError("three")
        return [10 * item for item in items]

    outcomes = run_isolated([1, 3, 5], run, catch=Exception)
    assert outcomes[0] == 10
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 50
    assert calls == [[1, 3, 5], [1], [3], [5]]


def test_what_is_not_to_be_caught_is_raised() -> None:
    def run(items: Sequence[int]) -> list[int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_isolated([1, 2], run, catch=Exception)


def test_runs_are_bounded_by_pixels(tiny_path, monkeypatch) -> None:
    from pedseg_runtime.backends.onnx import OnnxBackend

    shapes: list[tuple[int, ...]] = []
    run = OnnxBackend.run

    def watched(self, images):
        shapes.append(images.shape[:3])
        return run(self, images)

    monkeypatch.setattr(OnnxBackend, "run", watched)
    images = [np.zeros((10, 10, 3), np.uint8)] * 5
    with Segmenter.load(tiny_path, device="cpu", max_batch_pixels=250) as segmenter:
        segmenter.predict(images, batch_size=8)
        assert [shape[0] for shape in shapes] == [2, 2, 1]
        shapes.clear()
        segmenter.predict(images)
        assert [shape[0] for shape in shapes] == [1, 1, 1, 1, 1]
    with Segmenter.load(tiny_path, device="cpu") as segmenter:
        shapes.clear()
        segmenter.predict(images, batch_size=8)
        assert [shape[0] for shape in shapes] == [5]
        shapes.clear()
        with BatchingSegmenter(
            segmenter, max_batch_size=5, max_batch_pixels=200, batch_timeout=5
        ) as batching:
            futures = [batching.submit(image) for image in images]
            assert [len(future.result(30)) for future in futures] == [0] * 5
        assert [shape[0] for shape in shapes] == [2, 2, 1]


def test_the_bound_must_be_positive(tiny_path, segmenter) -> None:
    with pytest.raises(InputError, match="max_batch_pixels: expected a positive number"):
        Segmenter.load(tiny_path, device="cpu", max_batch_pixels=0)
    with pytest.raises(InputError, match="max_batch_pixels: expected a positive number"):
        BatchingSegmenter(segmenter, max_batch_pixels=0)
