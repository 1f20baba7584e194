"""Whatever a COCO file says: no traceback, nothing written outside of the target."""

import json
import random
import tempfile
import unicodedata
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pedseg_train.commands.data import main

NAMES = [
    "..", ".", "", "/", "../../victim.png", "..\\..\\victim.png", "/etc/passwd", "C:\\x\\a.png",
    "A.PNG", "sub/../../victim.png", "a.png/b.png", "x" * 300 + ".png", "\x00.png", "\ud800.png",
    "é.png", unicodedata.normalize("NFD", "é.png"), "CON", "http://host/a.png", "~/a.png", "a.png ",
    "\n", "[red]a.png[/red]", "-rf", ".hidden.png", "b.jpg",
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1, 3.5, 1e308, float("nan"), float("inf"), 2**63, 2**130, -(2**70),
    "", "1", "0x1", "person", "\ud800", [], {}, [[]], [None], {"size": [20, 30]}, [[1, 2, 3]],
    {"size": [20, 30], "counts": [600]}, {"size": [20, 30], "counts": "52203"}, "x" * 10_000,
    {"size": None, "counts": [-1]}, {"counts": "é"}, [[1e300] * 6], [["a"] * 6], [[[[1, 2]] * 3]],
    [[[3, 2], [8, 2], [8, 10]]], [[3, 2], [8, 2], [8, 10]], [3, 2, 8, 2, 8, 10], 10**9, 10**400,
    [[3, 2, 8, 2, 8, 10], [1, 2, 3], 7], [{"x": 1}], [[{"x": 1}] * 6], [True] * 4, [1, 2, -3, 4],
    {"size": [20, 30], "counts": [10**30, 600]}, {"size": ["20", "30"], "counts": ["600"]},
]  # fmt: skip


def mutated(document, rng):
    """The document with one to three damages, such as exports have."""
    document = deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        key = rng.choice([*document, "images"])
        entries = document[key]
        if rng.random() < 0.05:
            document[key] = rng.choice([[], {}, None, "x", [None], [[]], [3]])
            continue
        if not isinstance(entries, list) or not entries:
            continue
        place = rng.randrange(len(entries))
        entry = entries[place]
        if rng.random() < 0.1 or not isinstance(entry, dict) or not entry:
            entries.append(deepcopy(entry) if rng.random() < 0.5 else rng.choice(VALUES))
            continue
        field = rng.choice([*entry, "file_name"] if "file_name" in entry else [*entry])
        targets = entries if rng.random() < 0.3 else [entry]
        value = rng.choice(NAMES if field in ("file_name", "name") else VALUES)
        for target in targets:
            if isinstance(target, dict):
                target[field] = deepcopy(value)
        if rng.random() < 0.1:
            entry.pop(field, None)
    return document


def write(root, document, seed):
    source = root / "inner" / "source"
    (source / "images").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png", "A.png", "é.png"):
        noise = np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(noise).save(source / "images" / name)
    for victim in (root / "victim.png", root / "inner" / "victim.png"):
        Image.new("RGB", (30, 20)).save(victim)
    file = source / "instances.json"
    file.write_text(json.dumps(document))
    return file


def attack(document, seed):
    """Run the commands on a mutation of the document; the exit codes."""
    return run_commands(mutated(document, random.Random(seed)), seed)


def run_commands(document, seed):
    """The exit codes of the commands that read a file and convert it."""
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        file = write(root, document, seed)
        target = root / "inner" / "out"
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for command in (
            ["check", file],
            ["check", file, "--json"],
            ["check", file, "--images", root / "inner"],
            ["convert", file, target / "coco", "--to", "coco"],
            ["convert", file, target / "linked", "--to", "coco", "--link"],
            ["convert", file, target / "pf", "--to", "pennfudan", "--overlap", "first"],
            ["check", target / "coco"],
            ["check", target / "pf"],
        ):
            done = CliRunner().invoke(main, [str(word) for word in command])
            assert done.exception is None or isinstance(done.exception, SystemExit), (
                seed, command, done.exception,
            )  # fmt: skip
            assert all(len(line) < 2000 for line in done.stderr.splitlines()), (seed, command)
            codes.append(done.exit_code)
        after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert all(target in path.parents for path in after.keys() - before.keys()), seed
        assert all(after[path] == content for path, content in before.items()), seed
        for made, again in ((3, 6), (5, 7)):  # what convert has made, check can read
            if codes[made] == 0:
                assert codes[again] in (0, 1)
    return codes


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 10**9))
def test_hostile_files_are_answered_in_lines_and_stay_in_their_place(seed):
    attack(DOCUMENT, seed)


PREFIXES = ["", "images/", "../source/images/", "/gone/", "C:\\x\\", "..\\..\\q\\", "https://h/x/",
            "./", "//", "images/../images/", "~/../", "\\\\server\\share\\"]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=10)
@given(prefixes=st.lists(st.sampled_from(PREFIXES), min_size=3, max_size=3))
def test_foreign_names_of_real_files_are_converted_within_the_target(prefixes):
    document = deepcopy(DOCUMENT)
    names = ("a.png", "A.png", "é.png")
    for image, prefix, name in zip(document["images"], prefixes, names, strict=True):
        image["file_name"] = prefix + name
    assert run_commands(document, 0) == [0, 0, 1, 0, 0, 0, 0, 0]


DOCUMENT = {
    "images": [
        {"id": 70, "file_name": "c.png", "width": 30, "height": 20},
        {"id": 9, "file_name": "a.png", "width": 30, "height": 20},
        {"id": 12, "file_name": "b.png", "width": 30, "height": 20},
    ],
    "categories": [{"id": 3, "name": "person", "supercategory": "none"}],
    "annotations": [
        {"id": 5, "image_id": 9, "category_id": 3, "segmentation": [[3, 2, 8, 2, 8, 10, 3, 10]],
         "bbox": [3, 2, 5, 8], "area": 40, "iscrowd": 0},
        {"id": 6, "image_id": 9, "category_id": 3, "bbox": [15, 0, 15, 20], "area": 300,
         "segmentation": {"size": [20, 30], "counts": [300, 300]}, "iscrowd": 1},
        {"id": 1, "image_id": 70, "category_id": 3, "bbox": [2, 5, 2, 5], "area": 10,
         "segmentation": {"size": [20, 30], "counts": [45, 5, 15, 5, 530]}, "iscrowd": 0},
    ],
}  # fmt: skip
