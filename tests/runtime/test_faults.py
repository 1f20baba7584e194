"""An image that fails, in whatever way, costs only itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import (
    BatchingSegmenter,
    DeviceError,
    InputError,
    Segmenter,
    ShadowSegmenter,
)
from pedseg_runtime.predict import predict_files
from pedseg_runtime.predict.cli import main

POISON = 77


@pytest.fixture
def images(street: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Five streets, of which the third carries a mark."""
    copies = [street.copy() for _ in range(5)]
    copies[2][0, 0, 0] = POISON
    return copies


@pytest.fixture
def files(images: list[NDArray[np.uint8]], tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_predict_returns_the_errors_of_the_bad_and_the_answers_of_the_good(
    segmenter: Segmenter, failing_runs: Any, images: list[Any], batch_size: int
) -> None:
    failing_runs.on_images(POISON)
    outcomes = segmenter.predict([*images, b"no image"], batch_size=batch_size, on_error="return")
    assert [isinstance(one, Exception) for one in outcomes] == [False, False, True] + 2 * [
        False
    ] + [True]
    assert [len(outcomes[index]) for index in (0, 1, 3, 4)] == [2, 2, 2, 2]
    assert isinstance(outcomes[5], InputError)
    assert str(outcomes[5]).startswith("image 5: ")


def test_predict_raises_by_default_and_says_which(
    segmenter: Segmenter, failing_runs: Any, images: list[Any]
) -> None:
    failing_runs.on_images(POISON)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any kind
        segmenter.predict(images)
    if isinstance(failing_runs.error, MemoryError):
        assert isinstance(caught.value, DeviceError)
    else:
        assert caught.value is failing_runs.error
    assert caught.value.__notes__[-1] == "image 2 of the list"


@pytest.mark.parametrize("run", [1, 2, 5])
def test_a_run_of_several_that_fails_once_costs_nothing(
    segmenter: Segmenter, failing_runs: Any, images: list[Any], run: int
) -> None:
    failing_runs.on_run(run)
    outcomes = segmenter.predict(images, batch_size=5, on_error="return")
    assert sum(isinstance(one, Exception) for one in outcomes) == 0
    assert failing_runs.count == (6 if run == 1 else 1)


def test_only_two_ways_to_treat_errors(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="on_error: expected 'raise' or 'return', found 'skip'"):
        segmenter.predict([], on_error="skip")


@pytest.mark.parametrize("size", [8, None])
def test_batched_callers_get_their_own_error_only(
    segmenter: Segmenter, failing_runs: Any, images: list[Any], size: int | None
) -> None:
    failing_runs.on_images(POISON)
    with BatchingSegmenter(segmenter, max_batch_size=size, batch_timeout=0.05) as batching:
        futures = [batching.submit(image) for image in images]
        outcomes = [future.exception(30) for future in futures]
    assert [outcome is None for outcome in outcomes] == [True, True, False, True, True]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_run_that_wants_to_end_the_process_ends_no_event_loop(
    segmenter: Segmenter, failing_runs: Any, images: list[Any]
) -> None:
    failing_runs.on_images(POISON)

    async def all_of_them(batching: BatchingSegmenter) -> list[Any]:
        calls = [batching.asegment(image) for image in images]
        return await asyncio.gather(*calls, return_exceptions=True)

    with BatchingSegmenter(segmenter, batch_timeout=0.05) as batching:
        outcomes = asyncio.run(all_of_them(batching))
    assert [isinstance(one, RuntimeError) for one in outcomes] == [False, False, True] + 2 * [False]


def test_a_future_keeps_no_image(segmenter: Segmenter, images: list[Any]) -> None:
    import gc
    import weakref

    with BatchingSegmenter(segmenter) as batching:
        own = images[0].copy()
        alive = weakref.ref(own)
        future = batching.submit(own)
        assert len(future.result(30)) == 2
        del own
    gc.collect()
    assert alive() is None
    assert future.done()


def test_a_shadow_passes_on_answers_and_errors(
    tiny_path: Path, segmenter: Segmenter, failing_runs: Any, images: list[Any]
) -> None:
    failing_runs.on_images(POISON)
    with (
        Segmenter.load(tiny_path, device="cpu") as reference,
        ShadowSegmenter(segmenter, reference, rate=1.0, max_share=1.0, queue_limit=9) as shadow,
    ):
        outcomes = shadow.predict(images, on_error="return")
        assert [isinstance(one, Exception) for one in outcomes] == [False, False, True] + 2 * [
            False
        ]
        assert (shadow.report().images, shadow.report().sampled) == (4, 4)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_folder_lists_what_failed_and_resume_ends(
    segmenter: Segmenter,
    failing_runs: Any,
    files: list[Path],
    tmp_path: Path,
    batch_size: int | None,
) -> None:
    failing_runs.on_images(POISON)
    output = tmp_path / "out"
    for done_before in (0, 4):
        result = predict_files(
            segmenter, files, output=output, batch_size=batch_size, resume=bool(done_before)
        )
        assert [item.file.stem for item in result.predicted] == ["0", "1", "3", "4"]
        assert sum(item.resumed for item in result.predicted) == done_before
        (failure,) = result.failed
        assert failure.file == files[2]
        assert failure.reason.startswith(f"{files[2]}: ")
        assert "\n" not in failure.reason
    assert len(json.loads((output / "detections.json").read_text())) == 4


@pytest.mark.parametrize("run", [1, 3, 5])
def test_a_fault_that_does_not_come_back_is_mended_by_resume(
    segmenter: Segmenter, failing_runs: Any, files: list[Path], tmp_path: Path, run: int
) -> None:
    failing_runs.on_run(run)
    first = predict_files(segmenter, files, output=tmp_path / "out")
    assert [item.file for item in first.failed] == [files[run - 1]]
    again = predict_files(segmenter, files, output=tmp_path / "out", resume=True)
    assert (again.failed, len(again.predicted)) == ([], 5)


def test_an_image_whose_results_cannot_be_made_fails_alone(
    segmenter: Segmenter, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pedseg_runtime import Detections

    draw, calls = Detections.draw, []

    def failing(self: Detections, image: Any) -> Any:
        calls.append(image)
        if len(calls) == 2:
            raise MemoryError
        return draw(self, image)

    monkeypatch.setattr(Detections, "draw", failing)
    result = predict_files(segmenter, files, output=tmp_path / "out")
    assert [item.file for item in result.failed] == [files[1]]
    assert len(result.predicted) == 4


def test_a_strip_among_good_images_is_listed_by_the_command(
    tiny_path: Path, files: list[Path], tmp_path: Path
) -> None:
    strip = files[0].with_name("a_strip.png")
    Image.new("RGB", (2000, 1), (120, 130, 140)).save(strip)
    arguments = [str(tiny_path), str(files[0].parent), "--output", str(tmp_path / "out"), "--json"]
    for extra in ([], ["--resume"]):
        result = CliRunner().invoke(main, [*arguments, *extra])
        assert result.exit_code == 1
        document = json.loads(result.stdout)
        assert document["images"] == 5
        (failure,) = document["failed"]
        assert failure["file"] == str(strip)
        assert "at most 1333 times the shorter one" in failure["reason"]
        assert "found 1x2000 (height x width), which becomes 0x1333" in failure["reason"]
