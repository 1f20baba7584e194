from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from pedseg_runtime import InputError, Segmenter, read_image
from pedseg_runtime.predict import collect_images, overlay_names, predict_files
from pedseg_runtime.predict_cli import main


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
def test_pictures_and_detections_are_written(
    segmenter: Segmenter, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    files = collect_images([photos / "north", photos / "south"], output=output)
    done: list[int] = []
    result = predict_files(
        segmenter, files, output=output, score_threshold=0.1, batch_size=2, on_done=done.append
    )
    assert names_in(output) == ["a-2.png", "a.png", "b.jpg", "detections.json"]
    assert done == [2, 1]
    records = json.loads((output / "detections.json").read_text())
    assert [record["file"] for record in records] == [str(file) for file in files]
    assert [record["overlay"] for record in records] == ["a.png", "b.jpg", "a-2.png"]
    first = records[0]
    assert (first["width"], first["height"]) == (60, 40)
    best = first["detections"][0]
    assert best["bbox"] == [10, 5, 20, 15]
    assert best["image_id"] == str(files[0])
    np.testing.assert_array_equal(
        coco.decode(best["segmentation"]).astype(bool), result.predicted[0].detections.masks()[0]
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
    assert [failure["file"] for failure in summary["failed"]] == [str(broken)]
    assert f"failed: {broken}: expected an image" in result.stderr
    assert names_in(output) == ["a.png", "b.jpg", "detections.json"]


def test_nothing_is_left_half_written(
    segmenter: Segmenter, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    output = tmp_path / "out"
    with pytest.raises(OSError, match="disk full"):
        predict_files(segmenter, [photos / "north" / "a.png"], output=output)
    assert names_in(output) == []


def test_an_image_named_twice_is_segmented_once(photos: Path, tmp_path: Path) -> None:
    picture = photos / "north" / "a.png"
    files = collect_images([picture, photos / "north"], output=tmp_path / "out")
    assert [file.name for file in files] == ["a.png", "b.jpg"]


def test_the_images_own_folder_is_no_output_folder(photos: Path) -> None:
    with pytest.raises(InputError, match="so that none is overwritten"):
        collect_images([photos / "north"], output=photos / "south" / ".." / "north")


stems = st.sampled_from(["a", "A", "a-2", "a-3", "b"])
suffixes = st.sampled_from([".png", ".jpg", ".JPEG", ".bmp"])


@given(st.lists(st.tuples(st.sampled_from("xyz"), stems, suffixes), max_size=12, unique=True))
def test_overlay_names_never_collide(parts: list[tuple[str, str, str]]) -> None:
    files = [Path(folder) / f"{stem}{suffix}" for folder, stem, suffix in parts]
    names = overlay_names(files)
    assert len({name.lower() for name in names}) == len(files)
    for file, name in zip(files, names, strict=True):
        assert name.startswith(file.stem)
        assert (name.endswith(".jpg")) == (file.suffix.lower() in (".jpg", ".jpeg"))


def test_the_command_ends_with_what_to_do_next(
    tiny_path: Path, photos: Path, tmp_path: Path
) -> None:
    result = run(tiny_path, photos / "south", "--output", tmp_path / "my out")
    assert result.exit_code == 0
    assert "1 detections on 1 images" in result.stdout
    assert "pedseg-verify" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--device", "cud"], 1, "did you mean 'cuda'", id="device"),
        pytest.param(["--score-threshold", "0.01"], 1, "built into the artifact", id="threshold"),
        pytest.param(["--score-threshold", "2"], 2, "range 0<=x<=1", id="threshold range"),
        pytest.param(["--batch-size", "0"], 2, "range x>=1", id="batch size"),
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


def test_a_missing_image_and_a_foreign_artifact_are_one_line(photos: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "none.onnx", photos / "north", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    result = run(tmp_path / "none.onnx", photos / "west", "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_the_package_runs_as_a_module(tiny_path: Path, photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pedseg_runtime", tiny_path, photos / "south"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "out", "--device", "cpu", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["detections"] == 1
