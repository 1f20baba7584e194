"""Files of tensors are written whole or not at all, and read without running code."""

from __future__ import annotations

import resource

import pytest
import torch

from pedseg_runtime.errors import CheckpointError
from pedseg_runtime.files import sha256_of
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.tensor_files import load_resume_state, save_resume_state


@pytest.fixture
def small_disk():
    """The operating system refuses files above 100 kB, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_the_old_checkpoint(tmp_path, tiny_model, request):
    saved = tmp_path / "model.safetensors"
    header = CheckpointHeader.of(
        tiny_model, architecture="maskrcnn_resnet18_fpn", class_names=("background", "person")
    )
    save_checkpoint(saved, tiny_model, header)
    before = sha256_of(saved)
    request.getfixturevalue("small_disk")
    with pytest.raises(CheckpointError, match=r"could not be written .* continue with --resume"):
        save_checkpoint(saved, tiny_model, header)
    assert sha256_of(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_full_disk_leaves_the_old_resume_state(tmp_path, small_disk):
    path = tmp_path / "resume.pt"
    save_resume_state(path, {"history": []})
    with pytest.raises(CheckpointError, match=r"could not be written \(File too large") as caught:
        save_resume_state(path, {"tensor": torch.zeros(100_000)})
    assert "\n" not in str(caught.value)
    assert load_resume_state(path) == {"history": []}
    assert [file.name for file in tmp_path.iterdir()] == ["resume.pt"]


def test_resume_state_round_trip(tmp_path):
    state = {"tensor": torch.arange(3), "history": [{"epoch": 1, "segm": {"AP": None}}]}
    save_resume_state(tmp_path / "resume.pt", state)
    found = load_resume_state(tmp_path / "resume.pt")
    assert torch.equal(found["tensor"], state["tensor"])
    assert found["history"] == state["history"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("text"),
        lambda path: torch.save(torch.nn.Linear(1, 1), path),
        lambda path: torch.save([1], path),
        lambda path: None,
    ],
    ids=["text", "code", "a list", "missing"],
)
def test_other_resume_file_is_refused(tmp_path, write):
    write(tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match=r"resume\.pt: .*(expected|no such file)"):
        load_resume_state(tmp_path / "resume.pt")
