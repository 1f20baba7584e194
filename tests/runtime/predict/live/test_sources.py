"""What is a live source, by how it is spelt."""

from __future__ import annotations

from pathlib import Path

import pytest

from pedseg_runtime import InputError
from pedseg_runtime.predict.live.sources import find_live_source


@pytest.mark.parametrize(
    ("text", "name", "stem", "address"),
    [
        ("RTSP://u:p@cam.local/a/b", "rtsp://cam.local/a/b", "cam.local-a-b", None),
        ("http://cam:8080/video?key=1", "http://cam:8080/video", "cam-video", None),
        ("udp://[::1]:5000", "udp://[::1]:5000", "1", None),
        ("/dev/video2", "/dev/video2", "video2", None),
        ("3", "/dev/video3", "video3", "/dev/video3"),
    ],
)
def test_a_live_source_is_known_by_its_spelling(
    text: str, name: str, stem: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    source = find_live_source(text)
    assert source is not None
    assert (source.name, source.stem, source.address) == (name, stem, address or text)


@pytest.mark.parametrize("text", ["a.mp4", "cams/*.jpg", "ftp://host/a.mp4", "C:\\a.png", "", "²"])
def test_all_else_is_no_live_source(text: str) -> None:
    assert find_live_source(text) is None


def test_a_number_is_a_camera_unless_it_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").touch()
    assert find_live_source("7") is None
    monkeypatch.setattr("sys.platform", "darwin")
    camera = find_live_source("0")
    assert camera is not None
    assert (camera.format, camera.address) == ("avfoundation", "0:none")
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(InputError, match="serve the camera as a stream"):
        find_live_source("0")
