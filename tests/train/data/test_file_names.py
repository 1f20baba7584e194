import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_train.data.coco.files import locate, plain_names
from pedseg_train.data.file_names import folded, portable

PARTS = st.sampled_from(
    ["a.png", "A.png", "..", ".", "", "x", "X", "C:", "con.png", "é.png", "e\u0301.png", "a:b",
     "nul", ".hid", "q?*.jpg", "tail. ", "\x00", "\ud800", "ü" * 200 + ".png", "-rf", "~"]
)  # fmt: skip
NAMES = st.lists(
    st.one_of(st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.text(max_size=12)),
    max_size=8,
    unique=True,
)


@given(names=NAMES)
def test_names_are_made_safe_and_differ_on_any_file_system(names):
    found = portable(plain_names(names))
    assert len({folded(name) for name in found}) == len(names)
    folders = {folded(str(folder)) for name in found for folder in PurePosixPath(name).parents}
    for name in found:
        assert not PurePosixPath(name).is_absolute()
        assert not PureWindowsPath(name).drive
        assert folded(name) not in folders
        for part in name.split("/"):
            assert part not in ("", ".", "..")
            assert 0 < len(part.encode()) < 240
            assert not set(part) & set('<>:"\\|?*\x00')
            assert not part.startswith(".")


@given(names=NAMES)
def test_plain_names_never_step_up_and_are_each_once(names):
    found = plain_names(names)
    assert len(set(found)) == len(found)
    assert not any(part == ".." for name in found for part in name.split("/"))


def test_names_that_are_plain_stay_and_others_lose_what_they_share():
    names = ["night/a.png", "/home/me/day/b.png", "/home/me/dusk/b.png"]
    assert plain_names(names) == ["night/a.png", "day/b.png", "dusk/b.png"]
    assert plain_names(["../p/a.png", "a.png"]) == ["a-2.png", "a.png"]
    assert plain_names(["C:/x/a.png", "C:/x/b/a.png"]) == ["a.png", "b/a.png"]


def test_twins_of_case_and_unicode_get_a_number():
    composed = unicodedata.normalize("NFC", "é.png")
    assert portable(["a.png", "A.png", composed, unicodedata.normalize("NFD", composed)]) == [
        "a.png", "A-2.png", composed, unicodedata.normalize("NFD", "é-2.png"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "b.png",
        "/home/annotator/x/a/b.png",
        "C:/Users/me/a/b.png",
        "https://host/upload/b.png",
        "../../a/b.png",
        "a/B.PNG",
    ],
)
def test_a_file_is_found_by_the_end_of_its_name(tmp_path, name):
    file = tmp_path / ("b.png" if name in ("b.png", "https://host/upload/b.png") else "a/b.png")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    assert locate(tmp_path, [name]) == [file]


def test_the_longest_end_decides_and_nothing_is_guessed(tmp_path):
    for name in ("b.png", "a/b.png", "e\u0301.png", "t.png", "T.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = ["/x/a/b.png", "/x/c/b.png", "é.png", "T.PNG", "\x00", "n" * 4000, "/gone.png"]
    assert locate(tmp_path, names) == [
        tmp_path / "a/b.png", tmp_path / "b.png", tmp_path / "e\u0301.png", None, None, None, None,
    ]  # fmt: skip
