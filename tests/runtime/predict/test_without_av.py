"""What videos say where PyAV is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.predict.cli import main


def test_a_video_without_pyav_names_the_extra(
    tiny_path: Path,
    street: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "clip.mp4").touch()
    Image.fromarray(street).save(tmp_path / "in" / "a.png")
    arguments = [str(tiny_path), str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "clip.mp4: expected PyAV" in result.stderr
    assert "pip install 'pedseg[video]'" in result.stderr
    assert not (tmp_path / "out").exists()
    arguments[1] = str(tmp_path / "in" / "*.png")
    assert CliRunner().invoke(main, arguments).exit_code == 0
