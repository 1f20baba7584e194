from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from pedseg_runtime import InputError, Segmenter, read_image
from pedseg_runtime.predict import collect_inputs, predict_files
from pedseg_runtime.predict.cli import main


@pytest.fixture
def photos(tmp_path: Path, street: NDArray[np.uint8]) -> Path:
    """north/a.png, north/b.jpg and south/a.png: one scene, the last without the red person."""
    folder = tmp_path / "photos"
    for name in ("north/a.png", "north/b.jpg", "south/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = street.copy()
        image[..., 0] *= name != "south/a.png"
        Image.fromarray(image).save(folder / name)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# pycocotools' own decode does not know numpy 2's `copy` argument yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_images_and_detections_are_written(
    segmenter: Segmenter, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    files = collect_inputs([photos / "north", photos / "south"], output=output)
    done: list[int] = []
    result = predict_files(
        segmenter, files, output=output, score_threshold=0.1, batch_size=2, on_done=done.append
    )
    assert names_in(output) == ["a-2.png", "a.png", "b.jpg", "detections.json", "detections.jsonl"]
    assert done == [1, 1, 1]
    assert [item.outputs["overlay"].name for item in result.predicted] == [
        *("a.png", "b.jpg", "a-2.png")
    ]
    records = json.loads((output / "detections.json").read_text())
    assert [record["file"] for record in records] == [str(file) for file in files]
    assert [record["overlay"] for record in records] == ["a.png", "b.jpg", "a-2.png"]
    first = records[0]
    assert list(first) == ["file", "width", "height", "overlay", "detections"]
    assert (first["width"], first["height"]) == (60, 40)
    expected = segmenter.predict([files[0]], score_threshold=0.1)[0]
    assert first["detections"] == expected.to_coco(str(files[0]))
    assert list(first["detections"][0]) == list(expected.to_coco(str(files[0]))[0])
    np.testing.assert_array_equal(
        coco.decode(first["detections"][0]["segmentation"]).astype(bool), expected.masks()[0]
    )
    assert read_image(output / "a-2.png").shape == (40, 60, 3)


def test_a_broken_image_is_listed_and_the_others_go_on(
    tiny_path: Path, photos: Path, tmp_path: Path
) -> None:
    broken = photos / "north" / "aa.png"
    broken.write_bytes(b"not an image")
    output = tmp_path / "out"
    # The threshold leaves out what JPEG's rounding makes of black.
    result = run(
        tiny_path, photos / "north", "--output", output, "--score-threshold", 0.3, "--json"
    )
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert summary["images"] == 2
    assert summary["self_test"] == "not in the artifact"
    assert summary["detections"] == 4
    assert summary["provider"].endswith("ExecutionProvider")
    assert summary["detections_file"] == str(output / "detections.json")
    assert summary["overlays"] == [str(output / "a.png"), str(output / "b.jpg")]
    assert [failure["file"] for failure in summary["failed"]] == [str(broken)]
    assert f"failed: {broken}: expected an image" in result.stderr
    assert names_in(output) == ["a.png", "b.jpg", "detections.json", "detections.jsonl"]


def test_what_is_not_segmented_is_said(
    tiny_path: Path, photos: Path, tmp_path: Path, street: NDArray[np.uint8]
) -> None:
    """Files beside the images, and all but the first frame of an animation."""
    folder = photos / "north"
    (folder / "notes.txt").touch()
    frames = [Image.fromarray(street), Image.fromarray(street[::-1].copy())]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "link.png").symlink_to(folder / "a.png")
    result = run(tiny_path, folder, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0
    assert "left out 1 .txt: no suffix of an image or a video" in result.stderr
    note = f"{folder / 'moving.gif'}: holds several frames or pages, the first was segmented"
    assert note in result.stderr
    summary = json.loads(result.stdout)
    assert summary["notes"] == [note]
    assert [(item["suffix"], item["files"]) for item in summary["left_out"]] == [(".txt", 1)]
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [Path(record["file"]).name for record in records] == [
        *("a.png", "b.jpg", "link.png", "moving.gif")
    ]
    by_name = {Path(record["file"]).name: record["detections"] for record in records}
    boxes = {name: [found["bbox"] for found in entries] for name, entries in by_name.items()}
    assert boxes["a.png"] == boxes["link.png"] != []


def test_a_folder_of_broken_images_yields_an_empty_list(
    tiny_path: Path, photos: Path, tmp_path: Path
) -> None:
    broken = photos / "broken.png"
    broken.write_bytes(b"")
    result = run(tiny_path, broken, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "0 detections on 0 images" in result.stdout
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == []


def test_a_file_that_vanishes_after_the_listing_is_listed(
    segmenter: Segmenter, photos: Path, tmp_path: Path
) -> None:
    files = collect_inputs([photos / "north"], output=tmp_path / "out")
    files[0].unlink()
    result = predict_files(segmenter, files, output=tmp_path / "out")
    assert [item.file.name for item in result.predicted] == ["b.jpg"]
    assert "No such file" in result.failed[0].reason


def test_an_image_of_another_size_fails_alone(
    fixed_path: Path, photos: Path, tmp_path: Path
) -> None:
    odd = photos / "north" / "odd.png"
    Image.new("RGB", (50, 50)).save(odd)
    result = run(fixed_path, photos / "north", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert f"failed: {odd}: expected 40x60" in result.stderr
    assert {"a.png", "b.jpg", "detections.json"} <= set(names_in(tmp_path / "out"))


def test_nothing_is_left_half_written(
    segmenter: Segmenter, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    output = tmp_path / "out"
    with pytest.raises(OSError, match="disk full"):
        predict_files(segmenter, [photos / "north" / "a.png"], output=output)
    assert names_in(output) == ["detections.jsonl"]
    assert (output / "detections.jsonl").read_text().count("\n") == 1


def test_memory_holds_one_batch_of_results(
    segmenter: Segmenter, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch's overlays are there before the next batch is read."""
    files = collect_inputs([photos / "north", photos / "south"], output=tmp_path / "out")
    seen: list[list[str]] = []
    read = Segmenter.read

    def watched(self: Segmenter, image: Path, name: str = "image") -> NDArray[np.uint8]:
        seen.append(sorted(path.name for path in (tmp_path / "out").glob("*.[jp]*g")))
        return read(self, image, name)

    monkeypatch.setattr(Segmenter, "read", watched)
    predict_files(segmenter, files, output=tmp_path / "out", batch_size=1)
    assert [len(names) for names in seen[::2]] == [0, 1, 2]


def test_the_command_ends_with_what_to_do_next(
    tiny_path: Path, photos: Path, tmp_path: Path
) -> None:
    result = run(tiny_path, photos / "south", "--output", tmp_path / "my out")
    assert result.exit_code == 0
    assert "1 detection on 1 image (" in result.stdout
    assert f"results in {tmp_path / 'my out'} (detections.json)" in result.stdout
    assert f"pedseg-verify {tiny_path} --checkpoint CHECKPOINT --images {photos}" in result.stderr


def test_an_unwritable_output_folder_is_one_line(
    tiny_path: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run(tiny_path, photos / "north", "--output", tmp_path / "file" / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "Not a directory" in result.stderr


def test_names_that_are_no_unicode_are_bearable(
    tiny_path: Path, street: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    try:
        for name in (b"caf\xe9 [1].png", "é✓.png".encode()):
            Image.fromarray(street).save(folder / os.fsdecode(name))
    except OSError:
        pytest.skip("this filesystem takes no such name")
    result = run(tiny_path, folder, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 2
    assert "é✓.png" in names_in(tmp_path / "out")
    assert "caf� [1].png" in names_in(tmp_path / "out")
    records = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {Path(record["file"]).name for record in records} == {"caf\udce9 [1].png", "é✓.png"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--device", "cud"], 1, "did you mean 'cuda'", id="device"),
        pytest.param(["--score-threshold", "0.01"], 1, "built into the artifact", id="threshold"),
        pytest.param(["--score-threshold", "2"], 2, "range 0<=x<=1", id="threshold range"),
        pytest.param(["--batch-size", "0"], 2, "range x>=1", id="batch size"),
        pytest.param(["--every", "0"], 2, "range x>=1", id="every"),
        pytest.param(["--format", "cocoa"], 2, "did you mean 'coco'", id="format"),
        pytest.param(["--devise", "cpu"], 2, "--device", id="misspelt option"),
    ],
)
def test_wrong_arguments_are_one_line(
    tiny_path: Path, photos: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run(tiny_path, photos / "north", "--output", tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
    if code == 1:
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"formats": ["jsn"]}, "formats: .* found 'jsn'", id="format"),
        pytest.param({"formats": []}, "formats: .* found none", id="no format"),
        pytest.param({"batch_size": 0}, "batch_size: .* found 0", id="batch size"),
        pytest.param({"every": 0}, "every: .* found 0", id="every"),
    ],
)
def test_the_function_refuses_what_the_command_cannot_ask(
    segmenter: Segmenter, photos: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    call: Callable[..., object] = predict_files
    with pytest.raises(InputError, match=message):
        call(segmenter, [photos / "north" / "a.png"], output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_missing_image_and_a_foreign_artifact_are_one_line(photos: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "none.onnx", photos / "north", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    result = run(tmp_path / "none.onnx", photos / "west", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_the_package_runs_as_a_module(tiny_path: Path, photos: Path, tmp_path: Path) -> None:
    """Its JSON is plain ASCII, so that any terminal and pipe takes the names of files."""
    image = (photos / "south" / "a.png").rename(photos / "✓.png")
    command = [sys.executable, "-m", "pedseg_runtime", tiny_path, image]
    done = subprocess.run(
        [*command, "--output", tmp_path / "out", "--device", "cpu", "--json"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    summary = json.loads(done.stdout.decode("ascii"))
    assert summary["detections"] == 1
    assert summary["overlays"] == [str(tmp_path / "out" / "✓.png")]
