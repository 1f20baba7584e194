"""Artifacts on the CPU and, marked `gpu`, on CUDA: the same bodies, so that they are known to run.

The golden artifacts stand for all kinds. `PEDSEG_KIT` names an unpacked kit of `pedseg-bench pack`,
whose artifacts (float32, half, fixed shape, full masks) and images take their place. Two devices
never agree bit for bit: they are held to the tolerances of the artifact's precision.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Detections, DeviceError, Segmenter
from pedseg_runtime.images import read_image
from pedseg_runtime.parity import TOLERANCES, compare

Image = NDArray[np.uint8]
KIT = os.environ.get("PEDSEG_KIT")
GOLDEN = Path(__file__).parent / "golden"
ARTIFACTS = sorted((Path(KIT) / "models" if KIT else GOLDEN).glob("*.onnx"))
MIN_AGREEMENT = 0.8  # of a lower precision's detections; what its export is held to as well
SIZES = 100
MIB = 2**20


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=ARTIFACTS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def segmenter(path: Path, device: str) -> Iterator[Segmenter]:
    with Segmenter.load(path, device=device) as loaded:
        assert loaded.provider == {"cpu": "CPU", "cuda": "CUDA"}[device] + "ExecutionProvider"
        yield loaded


def street(height: int, width: int, people: int = 2) -> Image:
    """An image with people for the artifacts at hand; none for 0."""
    if people == 0:
        return np.zeros((height, width, 3), np.uint8)
    if KIT:
        return resized(sorted((Path(KIT) / "images" / "measured").glob("*.png"))[0], height, width)
    image = np.zeros((height, width, 3), np.uint8)
    for channel in range(people):
        left = channel * width // 3 + 1
        image[height // 8 : height // 2, left : left + width // 4, channel] = 200 - 40 * channel
    return image


def resized(file: Path, height: int, width: int) -> Image:
    """The image with rows and columns left out or repeated."""
    image = read_image(file)
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return np.ascontiguousarray(image[rows][:, columns])


def size_for(segmenter: Segmenter) -> tuple[int, int]:
    """The fixed size of the artifact, else the images' own, or a small one."""
    fixed = segmenter.manifest.static_shape
    if fixed is not None:
        return fixed[1:]
    if not KIT:
        return 40, 60
    file = sorted((Path(KIT) / "images" / "measured").glob("*.png"))[0]
    height, width = read_image(file).shape[:2]
    return height, width


def sizes_for(segmenter: Segmenter) -> list[tuple[int, int]]:
    """Several sizes, or the only one of an artifact with a fixed shape."""
    height, width = size_for(segmenter)
    if segmenter.manifest.static_shape is not None:
        return [(height, width)]
    return [(height, width), (height, width * 3 // 4), (height * 3 // 4, width), (width, height)]


def assert_alike(
    segmenter: Segmenter, expected: Sequence[Detections], found: Sequence[Detections]
) -> None:
    """Agreement within the tolerances; of a lower precision most detections are found again."""
    manifest = segmenter.manifest
    report = compare(
        expected,
        found,
        tolerances=TOLERANCES[manifest.precision],
        score_threshold=manifest.score_threshold,
        nms_threshold=manifest.nms_threshold,
        detections_per_image=manifest.detections_per_image,
        min_size=manifest.min_size,
        max_size=manifest.max_size,
    )
    most = max(report.counts.reference, report.counts.candidate, 1)
    if report.counts.reference == report.counts.candidate == 0:
        return
    if manifest.precision == "fp32":
        assert report, report.summary()
    assert report.counts.matched / most >= MIN_AGREEMENT, report.summary()


def test_answers_are_those_of_the_cpu(segmenter: Segmenter, path: Path) -> None:
    images = [street(*size) for size in sizes_for(segmenter)]
    with Segmenter.load(path, device="cpu") as reference:
        expected = reference.predict(images)
    assert sum(map(len, expected)) > 0, "a comparison of nothing shows nothing"
    assert_alike(segmenter, expected, segmenter.predict(images))


def test_eight_small_images_at_once_are_eight_alone(segmenter: Segmenter) -> None:
    height, width = size_for(segmenter)
    if segmenter.manifest.static_shape is None and KIT:
        height, width = height // 4, width // 4
    images = [street(height, width, people=number % 4) for number in range(8)]
    together = segmenter.predict(images, batch_size=8)
    assert_alike(segmenter, [segmenter(image) for image in images], together)


def test_sizes_and_counts_in_turn_change_no_answer(segmenter: Segmenter) -> None:
    batches = [
        [street(*size, people=people) for people in range(count)]
        for count, size in enumerate(sizes_for(segmenter), start=1)
    ]
    first = [segmenter.predict(batch, batch_size=4) for batch in batches]
    for _ in range(2):
        for batch, expected in zip(batches, first, strict=True):
            assert_alike(segmenter, expected, segmenter.predict(batch, batch_size=4))


def test_images_without_people_are_no_trouble(segmenter: Segmenter) -> None:
    size = size_for(segmenter)
    assert segmenter.predict([]) == []
    empty, full = street(*size, people=0), street(*size)
    found = segmenter.predict([empty, full, empty], batch_size=3)
    assert_alike(segmenter, [segmenter(image) for image in (empty, full, empty)], found)
    assert len(found[1]) > 0
    nothing = found[0].above(1.0)
    assert nothing.boxes.shape == (0, 4)
    assert nothing.masks().shape == (0, *size)
    if not KIT:  # black has none of the colors that the golden artifacts look for
        assert len(found[0]) == len(segmenter(empty)) == 0


def test_two_threads_share_a_segmenter(segmenter: Segmenter) -> None:
    sizes = sizes_for(segmenter)
    images = [street(*sizes[0]), street(*sizes[-1], people=3)]
    expected = [segmenter(image) for image in images]
    found: dict[int, list[Detections]] = {0: [], 1: []}

    def work(number: int) -> None:
        for _ in range(5):
            found[number].append(segmenter(images[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answers in found.items():
        assert_alike(segmenter, [expected[number]] * 5, answers)


def test_a_memory_limit_is_kept_or_named(path: Path, device: str) -> None:
    with Segmenter.load(path, device=device, gpu_mem_limit=8192 * MIB) as segmenter:
        size = size_for(segmenter)
        assert len(segmenter(street(*size))) > 0
        fixed = segmenter.manifest.static_shape
    if device == "cpu":
        return  # the limit is the GPU's
    large = size if fixed is not None or KIT else (3000, 4000)
    if fixed is not None and not KIT:
        return  # two images of 40x60 fit into any arena

    def run() -> None:
        with Segmenter.load(path, device=device, gpu_mem_limit=MIB, self_test=False) as limited:
            limited(street(*large))

    with pytest.raises(DeviceError, match="memory"):
        run()


def used_memory(device: str) -> Callable[[], int]:
    """Bytes in use: on the whole GPU, or by this process."""
    if device == "cpu":
        pages = Path("/proc/self/statm")
        return lambda: int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    runtime = ctypes.CDLL(
        next(name for name in ("libcudart.so.13", "libcudart.so.12") if _has(name))
    )

    def used() -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        assert runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == 0
        return total.value - free.value

    return used


def _has(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def test_a_hundred_sizes_leave_no_memory_behind(segmenter: Segmenter, device: str) -> None:
    """The second half of them, all smaller than the largest, needs nothing more."""
    if segmenter.manifest.static_shape is not None:
        pytest.skip("the artifact takes one size")
    height, width = size_for(segmenter)
    generator = np.random.default_rng(0)
    sizes = [
        (int(height * down), int(width * right))
        for down, right in generator.uniform(0.6, 1, (SIZES, 2))
    ]
    used = used_memory(device)
    segmenter(street(height, width))
    half = 0
    for number, size in enumerate(sizes):
        segmenter(street(*size))
        if number == SIZES // 2:
            gc.collect()
            half = used()
    gc.collect()
    assert used() - half < 256 * MIB
