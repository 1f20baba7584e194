"""What a command line stands for, and what the results are called."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime import InputError
from pedseg_runtime.images import readable_suffixes
from pedseg_runtime.predict import collect_inputs, find_inputs
from pedseg_runtime.predict.inputs import count_left_out, describe_left_out
from pedseg_runtime.predict.outputs import FORMATS, Names, plan_outputs

TREE = (
    *("a.png", "b.JPG", "clip.mp4", "notes.txt", ".hidden.png"),
    *("deep/c.png", "deep/er/d.webp", "deep/.secret/e.png", "empty/readme.md"),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in TREE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root: Path, *sources: str, output: str = "out") -> list[str]:
    found = collect_inputs([root / source for source in sources], output=root / output)
    return [file.relative_to(root).as_posix() for file in found]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("", ["a.png", "b.JPG", "clip.mp4"], id="folder"),
        pytest.param("notes.txt", ["notes.txt"], id="named file"),
        pytest.param(".hidden.png", [".hidden.png"], id="named hidden file"),
        pytest.param("*.png", ["a.png"], id="star"),
        pytest.param("?.*", ["a.png", "b.JPG"], id="question mark"),
        pytest.param("[ab].[pJ]*", ["a.png", "b.JPG"], id="brackets"),
        pytest.param("**/*.png", ["a.png", "deep/c.png"], id="any depth"),
        pytest.param(
            "**", ["a.png", "b.JPG", "clip.mp4", "deep/c.png", "deep/er/d.webp"], id="everything"
        ),
        pytest.param("d*", ["deep/c.png"], id="folder by pattern"),
        pytest.param(
            "*", ["a.png", "b.JPG", "clip.mp4", "deep/c.png"], id="as the shell would have it"
        ),
    ],
)
def test_sources_stand_for_files(tree: Path, source: str, expected: list[str]) -> None:
    assert names(tree, source) == expected


def test_a_relative_pattern_is_looked_up_in_the_working_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    assert collect_inputs([Path("deep/**/*.webp")], output=Path("out")) == [Path("deep/er/d.webp")]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "[ab].png").touch()
    assert names(tree, "[ab].png") == ["[ab].png"]


@pytest.mark.parametrize("twice", ["a.png", "deep/../a.png", "*.png"])
def test_a_file_named_twice_is_taken_once(tree: Path, twice: str) -> None:
    assert names(tree, "a.png", twice) == ["a.png"]


def test_a_link_is_a_file_of_its_own(tree: Path) -> None:
    (tree / "link.png").symlink_to(tree / "a.png")
    assert names(tree, "*.png", "link.png") == ["a.png", "link.png"]
    (tree / "linked").symlink_to(tree / "deep")
    assert names(tree, "deep", "linked") == ["deep/c.png"]


@pytest.mark.parametrize("output", ["", "elsewhere"])
def test_neither_a_link_nor_its_target_is_overwritten(tree: Path, output: str) -> None:
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere" / "a.png").touch()
    (tree / "link.png").symlink_to(tree / "elsewhere" / "a.png")
    with pytest.raises(InputError, match="so that none is overwritten"):
        names(tree, "link.png", output=output)


SUFFIXES = ("avif", "jfif", "jpe", "mpo", "apng", "pgm", "pbm", "pnm", "JPEG", "tif", "webp", "gif")


def test_every_format_that_is_read_is_found_in_a_folder(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"x.{suffix}").touch()
    assert names(tmp_path, "") == sorted(f"x.{suffix}" for suffix in SUFFIXES)


def test_what_is_left_out_of_a_folder_is_counted_by_suffix(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable = readable_suffixes() - {".heic"}
    monkeypatch.setattr("pedseg_runtime.predict.inputs.readable_suffixes", lambda: readable)
    for name in ("b.txt", "Thumbs.db", "Makefile", "phone.HEIC"):
        (tree / name).touch()
    (tree / "gone.jpg").symlink_to(tree / "nowhere.jpg")
    found = find_inputs([tree], output=tree / "out")
    assert [file.name for file in found.files] == ["a.png", "b.JPG", "clip.mp4"]
    assert describe_left_out(found.left_out) == [
        "left out 1 .png: hidden",
        "left out 1 without suffix, 1 .db, 2 .txt: no suffix of an image or a video; name the "
        "file to have it read",
        "left out 2 without suffix: a folder in a folder; name it, or use a pattern of **",
        "left out 1 .jpg: a link to nothing, or no regular file",
        "left out 1 .heic: pip install 'pedseg[heic]' to read HEIC, and Pillow 11.3 or later for "
        "AVIF",
    ]
    counted = count_left_out(found.left_out)
    assert {"reason": "hidden", "suffix": ".png", "files": 1} in counted
    assert sum(item["files"] for item in counted) == len(found.left_out) == 9


def test_a_file_that_is_named_besides_its_folder_is_not_left_out(tree: Path) -> None:
    found = find_inputs([tree, tree / "notes.txt"], output=tree / "out")
    assert tree / "notes.txt" in found.files
    assert all(item.file.name != "notes.txt" for item in found.left_out)


def test_a_folder_of_nothing_that_is_read_says_what_is_there(tree: Path) -> None:
    with pytest.raises(InputError, match=r"found none; left out 1 \.md: no suffix of an image"):
        names(tree, "empty")


def test_names_that_differ_in_case_alone_are_different_files(tree: Path) -> None:
    (tree / "A.png").touch()
    if (tree / "A.png").samefile(tree / "a.png"):
        pytest.skip("letter case does not count on this filesystem")
    assert names(tree, "*.png") == ["A.png", "a.png"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("none.png", "found nothing; check the path", id="missing file"),
        pytest.param("*.bmp", r"\*.bmp: expected images or videos .* found none", id="no match"),
        pytest.param("*.txt", "found none", id="matches of other kinds"),
        pytest.param("empty", "empty: expected images or videos", id="folder without any"),
    ],
)
def test_a_source_without_files_is_refused(tree: Path, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        names(tree, "a.png", source)


@pytest.mark.parametrize("output", [".", "deep/..", "PedMasks/.."])
def test_the_inputs_own_folder_is_no_output_folder(tree: Path, output: str) -> None:
    with pytest.raises(InputError, match="so that none is overwritten"):
        names(tree, "a.png", output=output)


def test_the_folder_of_masks_is_no_input_of_its_own_output(tree: Path) -> None:
    (tree / "out" / "PedMasks").mkdir(parents=True)
    (tree / "out" / "PedMasks" / "a_mask.png").touch()
    with pytest.raises(InputError, match="so that none is overwritten"):
        names(tree, "out/PedMasks")


def test_patterns_leave_out_what_an_earlier_prediction_wrote(tree: Path) -> None:
    for name in ("out/a.png", "out/PedMasks/a_mask.png", "out/detections.jsonl"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert names(tree, "**/*.png") == ["a.png", "deep/c.png"]
    assert names(tree, "out", output="elsewhere") == ["out/a.png"]


stems = st.sampled_from(["a", "A", "a-2", "a-3", "b", "é", unicodedata.normalize("NFD", "é")])
suffixes = st.sampled_from([".png", ".jpg", ".JPEG", ".bmp", ".mp4", ".MOV"])


@given(st.lists(st.tuples(st.sampled_from("xyz"), stems, suffixes), max_size=12, unique=True))
def test_outputs_never_collide(parts: list[tuple[str, str, str]]) -> None:
    namer = Names()
    files = [Path(folder) / f"{stem}{suffix}" for folder, stem, suffix in parts]
    planned = [plan_outputs(file, FORMATS, namer) for file in files]
    found = [name for outputs in planned for name in outputs.values()]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in found}) == len(found)
    for file, outputs in zip(files, planned, strict=True):
        assert all(Path(name).name.startswith(file.stem) for name in outputs.values())


@pytest.mark.parametrize(
    ("file", "formats", "expected"),
    [
        pytest.param("a.png", ["overlay", "json", "coco"], {"overlay": "a.png"}, id="PNG"),
        pytest.param("a.JPEG", ["overlay"], {"overlay": "a.jpg"}, id="JPEG"),
        pytest.param("a.tiff", ["overlay"], {"overlay": "a.png"}, id="other image"),
        pytest.param("a.gif", ["overlay"], {"overlay": "a.png"}, id="GIF is an image"),
        pytest.param("a.jpg", ["masks"], {"mask": "PedMasks/a_mask.png"}, id="masks"),
        pytest.param(
            "a.MOV",
            FORMATS,
            {"overlay": "a.mp4", "blurred": "a_blurred.mp4", "lines": "a.jsonl"},
            id="video",
        ),
        pytest.param("{}.png", ["overlay"], {"overlay": "{}.png"}, id="braces"),
    ],
)
def test_outputs_are_called_after_their_input(
    file: str, formats: list[str], expected: dict[str, str]
) -> None:
    assert plan_outputs(Path(file), formats, Names()) == expected


def test_the_files_that_collect_all_are_nobodys_output() -> None:
    assert plan_outputs(Path("detections.mp4"), ["json"], Names()) == {
        "lines": "detections-2.jsonl"
    }


def test_numbers_go_on_behind_names_that_are_taken() -> None:
    namer = Names(["a.png", "A-2.png"])
    assert [namer.take("{}.png", "a") for _ in range(2)] == ["a-3.png", "a-4.png"]


@pytest.mark.parametrize("letter", ["x", "é", "✓"])
def test_long_names_are_cut_to_what_a_filesystem_takes(letter: str) -> None:
    stem = letter * (250 // len(letter.encode()))
    name = Names().take("PedMasks/{}_mask.png", stem)
    assert len(name.encode()) <= 230
    assert name.startswith(f"PedMasks/{letter}")
