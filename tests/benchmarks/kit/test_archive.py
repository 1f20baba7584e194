from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest

from pedseg_benchmarks.kit.archive import (
    LISTING,
    MOST_PART_BYTES,
    check_parts,
    extract,
    read_listing,
    writing,
)
from pedseg_runtime.errors import InputError

NOISE = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()


@pytest.fixture
def kit(tmp_path):
    """A kit in parts of 1000 bytes."""
    facts = {"created": "now"}
    with writing(tmp_path / "kit", part_bytes=1000, facts=facts) as archive:
        archive.add("noise.bin", NOISE)
        archive.add("folder/empty", b"")
        facts["known"] = "at the end"
    return tmp_path / "kit"


def test_what_was_packed_comes_out_of_all_parts(kit, tmp_path):
    listing = read_listing(kit)
    assert listing["known"] == "at the end"
    sizes = [part["bytes"] for part in listing["parts"]]
    assert len(sizes) > 4
    assert max(sizes) == 1000
    assert sum(sizes) == listing["packed_bytes"]
    assert listing["unpacked_bytes"] == len(NOISE)
    extract(check_parts(kit, listing), tmp_path / "out")
    assert (tmp_path / "out/noise.bin").read_bytes() == NOISE
    assert (tmp_path / "out/folder/empty").read_bytes() == b""


def test_the_joined_parts_are_a_plain_tar(kit, tmp_path):
    joined = tmp_path / "joined.tar.xz"
    joined.write_bytes(b"".join(path.read_bytes() for path in sorted(kit.glob("kit.tar.xz.*"))))
    with tarfile.open(joined) as tar:
        assert tar.getnames() == ["noise.bin", "folder/empty"]


def test_all_parts_that_are_missing_or_damaged_are_named(kit):
    (kit / "kit.tar.xz.01").unlink()
    with (kit / "kit.tar.xz.03").open("r+b") as stream:
        stream.write(b"damage")
    with pytest.raises(InputError, match=r"01 \(missing\), kit\.tar\.xz\.03 \(damaged\)"):
        check_parts(kit, read_listing(kit))


def test_packing_anew_leaves_no_part_of_the_old_kit(kit):
    with writing(kit, part_bytes=10**6, facts={}) as archive:
        assert not (kit / LISTING).exists(), "an unfinished kit is none"
        archive.add("small", b"x")
    assert sorted(path.name for path in kit.iterdir()) == [LISTING, "kit.tar.xz.00"]


@pytest.mark.parametrize("size", [0, MOST_PART_BYTES + 1])
def test_a_part_that_would_not_travel_is_refused(tmp_path, size):
    with (
        pytest.raises(InputError, match="part size"),
        writing(tmp_path, part_bytes=size, facts={}),
    ):
        pass


@pytest.mark.parametrize("text", [None, "[]", '{"schema": "other", "schema_version": 1}'])
def test_a_folder_without_a_listing_is_no_kit(tmp_path, text):
    if text is not None:
        (tmp_path / LISTING).write_text(text)
    with pytest.raises(InputError, match="make one with pedseg-bench pack"):
        read_listing(tmp_path)


def test_a_newer_kit_is_refused(kit):
    listing = json.loads((kit / LISTING).read_text())
    (kit / LISTING).write_text(json.dumps({**listing, "schema_version": 2}))
    with pytest.raises(InputError, match="found version 2"):
        read_listing(kit)
