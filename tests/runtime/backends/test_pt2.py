from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pedseg_runtime import ArtifactError, InputError, Manifest, Segmenter
from pedseg_runtime.artifact.checksum import append_checksum
from pedseg_runtime.artifact.manifest import MANIFEST_FILE
from pedseg_runtime.backends.torch import register_suppression

pytestmark = pytest.mark.slow

MANIFEST = Manifest(
    architecture="tiny_program",
    class_names=("background", "person"),
    checkpoint_sha256="0" * 64,
    format="pt2",
    versions={"torch": "1.2.3"},
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of `torch.export` that finds one box, the better of two, on any image."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    register_suppression(torch)

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, images: Any) -> tuple[Any, ...]:
            boxes = images.new_tensor([[[1, 2, 9, 8], [1, 2, 9, 9]]], dtype=torch.float32)
            scores = torch.ops.pedseg.suppress(
                boxes, images.new_tensor([[0.5, 0.75]], dtype=torch.float32), 0.5, 0.0
            )
            order = scores.argmax(1)
            return (
                boxes[0][order],
                torch.ones_like(order),
                scores[0][order],
                images.new_ones((1, 28, 28), dtype=torch.float32),
                torch.zeros_like(order),
            )

    path = tmp_path_factory.mktemp("program") / "tiny.pt2"
    exported = torch.export.export(Model(), (torch.zeros(1, 10, 12, 3, dtype=torch.uint8),))
    torch.export.save(exported, path, extra_files={MANIFEST_FILE: MANIFEST.to_json()})
    append_checksum(path)
    return path


def test_a_program_runs_like_any_artifact(program: Path) -> None:
    with Segmenter.load(program, device="cpu", threads=1) as segmenter:
        assert segmenter.provider == "torch:cpu"
        assert segmenter.manifest == MANIFEST
        found = segmenter(np.zeros((10, 12, 3), np.uint8))
    assert found.boxes.tolist() == [[1, 2, 9, 9]]
    assert found.scores.tolist() == [0.75]


def test_a_program_is_nothing_for_tensorrt(program: Path) -> None:
    with pytest.raises(InputError, match="which torch runs, found 'tensorrt'"):
        Segmenter.load(program, device="tensorrt")


def test_an_archive_that_is_no_program_names_both_versions_of_torch(
    tmp_path: Path, write_archive: Callable[..., Path]
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    empty = write_archive(tmp_path / "empty.pt2", MANIFEST)
    with pytest.raises(ArtifactError, match=r"that torch .* can load") as caught:
        Segmenter.load(empty, device="cpu")
    message = str(caught.value)
    assert f"torch {torch.__version__} can load" in message
    assert "it was exported by torch 1.2.3" in message
