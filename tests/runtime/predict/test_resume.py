"""Going on where a run stopped: what is done again, and what is not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import InputError, Segmenter
from pedseg_runtime.predict import Prediction, predict_files
from pedseg_runtime.predict.cli import main
from pedseg_runtime.predict.journal import Entry, Fingerprint, Journal

SETTINGS: dict[str, Any] = {"artifact": "ab" * 32, "formats": ["json"], "score_threshold": 0.5}


@pytest.fixture
def photos(tmp_path: Path, street: NDArray[np.uint8]) -> list[Path]:
    """0.png to 4.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(street).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def predict(segmenter: Segmenter, tmp_path: Path) -> Callable[..., Prediction]:
    """`predict_files` into tmp_path / "out", one image at a time."""

    def call(files: list[Path], **options: Any) -> Prediction:
        settings = {"score_threshold": 0.1, "batch_size": 1, **options}
        return predict_files(segmenter, files, output=tmp_path / "out", **settings)

    return call


@pytest.fixture
def interrupted(predict: Callable[..., Prediction], photos: list[Path], tmp_path: Path) -> Path:
    """The output folder of a run that Ctrl-C ended after two of five images."""
    with pytest.raises(KeyboardInterrupt):
        predict(photos, on_done=stop_after(2))
    return tmp_path / "out"


def stop_after(count: int) -> Callable[[int], None]:
    """Ctrl-C when `count` files are done."""
    done: list[int] = []

    def stop(number: int) -> None:
        done.append(number)
        if sum(done) == count:
            raise KeyboardInterrupt

    return stop


def resumed(prediction: Prediction) -> list[str]:
    return [item.file.stem for item in prediction.predicted if item.resumed]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "detections.jsonl"
    }


def test_a_run_that_was_stopped_goes_on(
    interrupted: Path, predict: Callable[..., Prediction], photos: list[Path]
) -> None:
    assert sorted(contents(interrupted)) == ["0.png", "1.png"]
    before = (interrupted / "0.png").stat().st_mtime_ns
    done: list[int] = []
    result = predict(photos, resume=True, on_done=done.append)
    assert resumed(result) == ["0", "1"]
    assert sum(done) == 5
    assert (interrupted / "0.png").stat().st_mtime_ns == before
    assert result.to_dict()["resumed"] == 2
    assert result.to_dict()["detections"] == 10


def test_the_results_are_those_of_a_run_that_was_not_stopped(
    interrupted: Path, predict: Callable[..., Prediction], photos: list[Path]
) -> None:
    predict(photos, resume=True)
    found = contents(interrupted)
    shutil.rmtree(interrupted)
    predict(photos)
    assert found == contents(interrupted)


def test_a_run_that_is_done_does_nothing_again(
    predict: Callable[..., Prediction], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(photos)

    def fail(*arguments: object, **options: object) -> None:
        pytest.fail("an image was read again")

    monkeypatch.setattr(Segmenter, "read", fail)
    assert resumed(predict(photos, resume=True)) == list("01234")


def test_without_resume_everything_is_done_again(
    interrupted: Path, predict: Callable[..., Prediction], photos: list[Path]
) -> None:
    assert resumed(predict(photos)) == []
    assert resumed(predict(photos, resume=True)) == list("01234")


def test_resume_starts_where_nothing_is(
    predict: Callable[..., Prediction], photos: list[Path], tmp_path: Path
) -> None:
    assert resumed(predict(photos, resume=True)) == []
    (tmp_path / "out" / "detections.jsonl").write_bytes(b'{"schema": "pedseg-pre')
    assert resumed(predict(photos, resume=True)) == []


def test_an_image_that_changed_is_done_again_in_its_place(
    interrupted: Path,
    predict: Callable[..., Prediction],
    photos: list[Path],
    street: NDArray[np.uint8],
) -> None:
    Image.fromarray(street[::-1]).save(photos[0])
    os.utime(photos[1], ns=(1, 1))
    result = predict(photos, resume=True)
    assert resumed(result) == []
    assert sorted(contents(interrupted)) == [*(f"{n}.png" for n in range(5)), "detections.json"]
    records = json.loads((interrupted / "detections.json").read_text())
    assert records[0]["detections"][0]["bbox"] == [10, 20, 20, 15]


def test_an_image_whose_overlay_is_gone_is_done_again(
    interrupted: Path, predict: Callable[..., Prediction], photos: list[Path]
) -> None:
    (interrupted / "1.png").unlink()
    assert resumed(predict(photos, resume=True)) == ["0"]
    assert (interrupted / "1.png").exists()


def test_a_broken_image_that_was_mended_comes_in_its_order(
    predict: Callable[..., Prediction], photos: list[Path], tmp_path: Path
) -> None:
    good = photos[1].read_bytes()
    photos[1].write_bytes(good[:60])
    assert [item.file for item in predict(photos).failed] == [photos[1]]
    photos[1].write_bytes(good)
    result = predict(photos, resume=True)
    assert resumed(result) == ["0", "2", "3", "4"]
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [record["file"] for record in records] == [str(file) for file in photos]


def test_results_cover_the_files_that_are_named_now(
    interrupted: Path, predict: Callable[..., Prediction], photos: list[Path]
) -> None:
    predict(photos[1:3], resume=True)
    records = json.loads((interrupted / "detections.json").read_text())
    assert [Path(record["file"]).stem for record in records] == ["1", "2"]


def test_a_new_file_never_takes_the_name_of_a_finished_one(
    interrupted: Path, predict: Callable[..., Prediction], photos: list[Path]
) -> None:
    before = (interrupted / "0.png").read_bytes()
    other = photos[0].parent / "more" / "0.png"
    other.parent.mkdir()
    Image.new("RGB", (8, 8)).save(other)
    result = predict([other, *photos], resume=True)
    assert result.predicted[0].outputs["overlay"].name == "0-2.png"
    assert (interrupted / "0.png").read_bytes() == before


def test_files_may_be_spelt_otherwise(
    interrupted: Path,
    predict: Callable[..., Prediction],
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photos[0].parent)
    assert resumed(predict([Path(file.name) for file in photos], resume=True)) == ["0", "1"]
    records = json.loads((interrupted / "detections.json").read_text())
    assert records[0]["file"] == records[0]["detections"][0]["image_id"] == "0.png"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"score_threshold": 0.2},
            r"found --score-threshold 0\.1 \(now 0\.2\); repeat them",
            id="threshold",
        ),
        pytest.param({"score_threshold": None}, r"0\.1 \(now not given\)", id="no threshold"),
        pytest.param(
            {"formats": ["masks", "json"]},
            r"--format json\+overlay \(now json\+masks\)",
            id="formats",
        ),
        pytest.param({"every": 2}, r"--every 1 \(now 2\)", id="every"),
    ],
)
def test_other_options_are_no_continuation(
    interrupted: Path,
    predict: Callable[..., Prediction],
    photos: list[Path],
    options: dict[str, Any],
    message: str,
) -> None:
    journal = (interrupted / "detections.jsonl").read_bytes()
    with pytest.raises(InputError, match=message):
        predict(photos, resume=True, **options)
    assert (interrupted / "detections.jsonl").read_bytes() == journal


def test_another_artifact_is_no_continuation(
    interrupted: Path, fixed_path: Path, photos: list[Path]
) -> None:
    with (
        Segmenter.load(fixed_path, device="cpu") as other,
        pytest.raises(InputError, match=r"artifact [0-9a-f]{12} \(now [0-9a-f]{12}\)"),
    ):
        predict_files(other, photos, output=interrupted, score_threshold=0.1, resume=True)


def test_a_foreign_file_is_no_journal(
    predict: Callable[..., Prediction], photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "detections.jsonl").write_text('{"frame": 0}\n')
    with pytest.raises(InputError, match="expected the journal of a prediction"):
        predict(photos, resume=True)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_says_how_to_go_on(
    tiny_path: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (tiny_path, photos[0].parent, "--output", tmp_path / "out", "--batch-size", 2)
    read = Segmenter.read

    def stop(self: Segmenter, image: Path, name: str = "image") -> NDArray[np.uint8]:
        if isinstance(image, Path) and image.stem == "3":
            raise KeyboardInterrupt
        return read(self, image, name)

    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "read", stop)
        stopped = run(*command)
    assert stopped.exit_code == 1
    assert "stopped after 2 files; the same command with --resume goes on" in stopped.stderr
    going_on = run(*command, "--resume")
    assert going_on.exit_code == 0
    assert "5 images (CPUExecutionProvider), 2 files of them finished earlier" in going_on.stdout


def test_a_full_disk_keeps_what_is_finished(
    tiny_path: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Image.Image.save
    saved: list[object] = []

    def fill_up(self: Image.Image, *arguments: Any, **options: Any) -> None:
        saved.append(self)
        if len(saved) > 2:
            raise OSError(28, "No space left on device")
        save(self, *arguments, **options)

    command = (tiny_path, photos[0].parent, "--output", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fill_up)
        full = run(*command)
    assert full.exit_code == 1
    assert full.stderr.splitlines() == [
        "stopped after 2 files; the same command with --resume goes on",
        "Error: No space left on device",
    ]
    assert sorted(contents(tmp_path / "out")) == ["0.png", "1.png"]
    assert "2 files of them" in run(*command, "--resume").stdout


def entry(name: str, found: int = 0) -> Entry:
    return Entry(Fingerprint(f"/{name}", 1, 2), {}, {"detections": found})


def test_a_journal_cut_at_any_byte_yields_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    with Journal(path, SETTINGS, resume=False) as journal:
        for name in "ab":
            journal.add(entry(name))
    whole = path.read_bytes()
    ends = [position + 1 for position, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with Journal(path, SETTINGS, resume=True) as journal:
            known = [name for name in "abc" if journal.get(Path(f"/{name}"))]
            assert known == list("ab")[: max(0, sum(end <= size for end in ends) - 1)]
            journal.add(entry("c", size))
        with Journal(path, SETTINGS, resume=True) as journal:
            assert journal.get(Path("/c")) == entry("c", size)
            assert [name for name in "ab" if journal.get(Path(f"/{name}"))] == known


def test_the_latest_entry_of_a_file_counts(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.jsonl", SETTINGS, resume=False) as journal:
        journal.add(entry("a", 1))
        journal.add(entry("b", 2))
        journal.add(entry("a", 3))
        assert journal.get(Path("/a")) == entry("a", 3)
    with Journal(tmp_path / "a.jsonl", SETTINGS, resume=True) as journal:
        assert journal.get(Path("/a")) == entry("a", 3)
        assert list(journal.entries([Path("/b"), Path("/c")])) == [(Path("/b"), entry("b", 2))]


@pytest.mark.parametrize("line", [b"\x00\x00\n", b"{}\n", b"[]\n", b"{\n", b"\xff\n", b"7\n"])
def test_a_damaged_line_amid_others_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, SETTINGS, resume=False) as journal:
        journal.add(entry("a"))
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(InputError, match="found a damaged line; leave out --resume"):
        Journal(path, SETTINGS, resume=True)
    path.write_bytes(line)
    with pytest.raises(InputError, match="found another first line"):
        Journal(path, SETTINGS, resume=True)
