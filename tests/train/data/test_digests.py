import hashlib

import pytest

from pedseg_runtime.errors import DatasetError
from pedseg_train.data import combined_digest, dataset_digest, digests


def test_the_digest_is_the_documented_one(dataset):
    total = hashlib.sha256()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        content = (dataset / "PNGImages" / name).read_bytes()
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    assert dataset_digest(dataset)["PNGImages"] == total.hexdigest()
    assert len(combined_digest(dataset)) == 64


@pytest.mark.parametrize("file", ["PNGImages/a.png", "PedMasks/d_mask.png"])
def test_one_changed_byte_changes_the_digest_of_its_folder_alone(dataset, file):
    before, combined = dataset_digest(dataset), combined_digest(dataset)
    with (dataset / file).open("ab") as stream:
        stream.write(b"x")
    after = dataset_digest(dataset)
    assert {folder for folder in after if after[folder] != before[folder]} == {file.split("/")[0]}
    assert combined_digest(dataset) != combined


def test_a_renamed_image_changes_the_digest(dataset):
    before = dataset_digest(dataset)["PNGImages"]
    (dataset / "PNGImages" / "a.png").rename(dataset / "PNGImages" / "e.png")
    assert dataset_digest(dataset)["PNGImages"] != before


def test_files_that_are_no_part_of_the_dataset_do_not_count(dataset):
    before = dataset_digest(dataset)
    (dataset / "readme.txt").write_text("x")
    (dataset / "PNGImages" / ".hidden.png").write_text("x")
    assert dataset_digest(dataset) == before


@pytest.mark.parametrize("as_text", [False, True], ids=["raw digests", "hex digests"])
def test_the_official_dataset_is_known_by_either_spelling(dataset, monkeypatch, as_text):
    assert not digests.is_official(dataset)
    official = {
        folder: digests.digest_of_files(digests.file_digests(dataset / folder), as_text=as_text)
        for folder in digests.OFFICIAL
    }
    monkeypatch.setattr(digests, "OFFICIAL", official)
    assert digests.is_official(dataset)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="found no PNGImages"):
        dataset_digest(tmp_path)
