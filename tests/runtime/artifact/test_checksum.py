"""A file with its checksum is what was exported; others are refused, and the message says why."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime import ArtifactError, Manifest
from pedseg_runtime.artifact.checksum import CHECKSUM_KEY, append_checksum, verify_checksum
from pedseg_runtime.artifact.manifest import (
    MANIFEST_FILE,
    MANIFEST_KEY,
    SCHEMA_VERSION,
    SELF_TEST_FILE,
)
from pedseg_runtime.artifact.metadata import read_metadata
from pedseg_runtime.backends import open_backend

MANIFEST = Manifest(
    architecture="tiny",
    class_names=("background", "person"),
    checkpoint_sha256="0" * 64,
    format="torchscript",
)
CHANGED = "found it changed since"
NO_CHECKSUM = "expected an artifact that ends with its checksum, found none"
CUT_OFF = "cut off, damaged or of another kind"


@pytest.fixture(scope="session")
def archive_path(
    tmp_path_factory: pytest.TempPathFactory, write_archive: Callable[..., Path]
) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "tiny.pt", MANIFEST)


@pytest.fixture(scope="session", params=["onnx", "archive"])
def finished(request: pytest.FixtureRequest) -> bytes:
    """The bytes of a finished artifact, of each kind of file."""
    path = request.getfixturevalue("tiny_path" if request.param == "onnx" else "archive_path")
    content = path.read_bytes()
    assert isinstance(content, bytes)
    return content


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for files that are written and refused, one after the other."""
    return tmp_path_factory.mktemp("victim") / "artifact"


def refusal(path: Path, content: bytes) -> str:
    """The message with which the runtime refuses a file of this content."""
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        open_backend(path, device="cpu")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_the_digest_is_of_everything_before_it(finished: bytes) -> None:
    content, digest = finished[:-64], finished[-64:]
    assert hashlib.sha256(content).hexdigest().encode() == digest


def test_an_unchanged_file_passes(finished: bytes, victim: Path) -> None:
    victim.write_bytes(finished)
    verify_checksum(victim)


@given(st.data())
def test_no_bit_can_flip_unnoticed(finished: bytes, victim: Path, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(finished) - 1))
    flipped = bytearray(finished)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    message = refusal(victim, bytes(flipped))
    if (
        position < len(finished) - 100
    ):  # nearer to the end it may be the checksum itself that is lost
        assert CHANGED in message


def test_the_message_names_both_digests(finished: bytes, victim: Path) -> None:
    changed = finished.replace(b"person", b"perzon")
    message = refusal(victim, changed)
    assert f"sha256 {finished[-64:-52].decode()}..." in message
    assert f"sha256 {hashlib.sha256(changed[:-64]).hexdigest()[:12]}..." in message
    assert "copy it anew, or export" in message


@given(st.data())
def test_no_byte_can_be_missing(finished: bytes, victim: Path, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(finished) - 1))
    assert CHANGED not in refusal(victim, finished[:kept])


def test_a_file_that_ends_in_the_middle_is_cut_off(finished: bytes, victim: Path) -> None:
    assert CUT_OFF in refusal(victim, finished[: len(finished) // 2])


def test_a_file_that_never_got_its_checksum_says_so(finished: bytes, victim: Path) -> None:
    if finished.startswith(b"PK"):
        bare = finished[:-66] + b"\0\0"
    else:
        bare = finished[: finished.rindex(CHECKSUM_KEY.encode()) - 4]
    assert NO_CHECKSUM in refusal(victim, bare)
    append_checksum(victim)
    assert victim.read_bytes() == finished


def test_bytes_after_the_checksum_are_noticed(finished: bytes, victim: Path) -> None:
    refusal(victim, finished + b"\0")


def test_a_newer_schema_is_named_with_and_without_a_checksum(
    tiny_content: bytes, victim: Path, write_archive: Callable[..., Path]
) -> None:
    version = f'"schema_version": {SCHEMA_VERSION}'
    newer = version.replace("1", "9")
    write_archive(victim, MANIFEST.to_json().replace(version, newer))
    archive = victim.read_bytes()
    assert "upgrade pedseg" in refusal(victim, archive)
    assert "upgrade pedseg" in refusal(victim, archive[:-66] + b"\0\0")
    content = tiny_content.replace(version.encode(), newer.encode())
    assert "upgrade pedseg" in refusal(victim, content)
    append_checksum(victim)
    assert "upgrade pedseg" in refusal(victim, victim.read_bytes())


def test_no_file_gets_two_checksums(finished: bytes, victim: Path) -> None:
    victim.write_bytes(finished)
    with pytest.raises(ArtifactError, match="has it already"):
        append_checksum(victim)
    assert victim.read_bytes() == finished


def test_an_archive_with_a_comment_of_its_own_gets_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "commented.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("note.txt", "")
        archive.comment = b"made by hand"
    with pytest.raises(ArtifactError, match="ends without a comment"):
        append_checksum(path)


def test_a_manifest_edited_with_onnx_is_noticed(tiny_path: Path, victim: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_path)
    assert {entry.key for entry in model.metadata_props} >= {MANIFEST_KEY, CHECKSUM_KEY}
    for entry in model.metadata_props:
        if entry.key == MANIFEST_KEY:
            values = json.loads(entry.value)
            entry.value = json.dumps({**values, "score_threshold": 0.01})
    assert CHANGED in refusal(victim, model.SerializeToString())
    del model.metadata_props[:]
    assert "without its manifest" in refusal(victim, model.SerializeToString())


def test_an_archive_edited_with_zip_is_noticed(archive_path: Path, victim: Path) -> None:
    victim.write_bytes(archive_path.read_bytes())
    with zipfile.ZipFile(victim, "a") as archive:
        archive.writestr("tiny/extra/note.txt", "added later")
    assert CHANGED in refusal(victim, victim.read_bytes())


@pytest.mark.slow
def test_every_reader_of_an_archive_takes_one_with_a_checksum(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    image = torch.zeros(2, 3)
    extra = {MANIFEST_FILE: MANIFEST.to_json(), SELF_TEST_FILE: "[]"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own TorchScript deprecated
        script, program = tmp_path / "tiny.pt", tmp_path / "tiny.pt2"
        torch.jit.trace(torch.nn.ReLU(), image).save(str(script), _extra_files=extra)
        exported = torch.export.export(torch.nn.ReLU(), (image,))
        torch.export.save(exported, program, extra_files=extra)
        for path in (script, program):
            append_checksum(path)
            verify_checksum(path)
            metadata = read_metadata(path)
            assert (metadata.manifest, metadata.self_test) == (MANIFEST, "[]")
            assert zipfile.ZipFile(path).testzip() is None
        assert torch.jit.load(str(script))(image).shape == image.shape
        assert torch.export.load(program).module()(image).shape == image.shape


def test_the_manifest_is_read_without_onnxruntime(tiny_path: Path) -> None:
    metadata = read_metadata(tiny_path)
    assert metadata.manifest.architecture == "tiny_blobs"
    assert metadata.self_test is None


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"PK\x03\x04" + tail))
def test_any_other_bytes_are_refused_by_name(victim: Path, content: bytes) -> None:
    victim.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_metadata(victim)


def test_a_number_without_an_end_is_refused_by_name(victim: Path) -> None:
    """Protobuf's numbers take ten bytes at most; each of these says that another follows."""
    victim.write_bytes(b"\x72" + b"\xff" * 20)
    with pytest.raises(ArtifactError, match="no number ends at byte 11"):
        read_metadata(victim)


@given(st.data())
def test_damage_without_a_checksum_is_refused_by_name(
    finished: bytes, victim: Path, data: st.DataObject
) -> None:
    """The reader of the manifest meets damaged files as well, where their end is missing."""
    damaged = bytearray(finished[: data.draw(st.integers(1, len(finished)))])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    refusal(victim, bytes(damaged))
