"""MPEG transport streams: known by their content, and joined without regard to what they hold."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pedseg_runtime import Segmenter
from pedseg_runtime.content import TRANSPORT_HEAD, is_transport_stream
from pedseg_runtime.predict import find_inputs, predict_files
from pedseg_runtime.predict.cli import main
from pedseg_runtime.predict.inputs import NO_STREAM
from pedseg_runtime.predict.video.reading import VideoReader

av = pytest.importorskip("av", reason="needs PyAV: pip install 'pedseg[video]'")

SCRIPT = "import {Pixel} from 'images';\nexport const G: Pixel = new Pixel(0, 1, 2);\n" * 40


def transport_stream(
    count: int, size: tuple[int, int] = (64, 48), pix_fmt: str = "yuv420p", red: int = 200
) -> bytes:
    """Frames of `size` (width, height) with a red person of 12x20 pixels at (5, 10)."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "1", "bf": "0"})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        image = np.zeros((size[1], size[0], 3), np.uint8)
        image[10:30, 5:17, 0] = red
        for _ in range(count):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(video.encode())
    return stream.getvalue()


@pytest.fixture(scope="module")
def stream() -> bytes:
    return transport_stream(5)


def test_the_content_tells_a_stream_from_typescript(
    stream: bytes, tiny_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.ts", "b.MTS", "recording"):
        (folder / name).write_bytes(stream)
    for name in ("index.ts", "module.mts"):
        (folder / name).write_text(SCRIPT)
    (folder / "empty.ts").touch()
    found = find_inputs([folder], output=tmp_path / "out")
    assert [file.name for file in found.files] == ["a.ts", "b.MTS", "recording"]
    assert {(item.file.name, item.reason) for item in found.left_out} == {
        (name, NO_STREAM) for name in ("index.ts", "module.mts", "empty.ts")
    }
    arguments = [folder, folder / "index.ts", "--output", tmp_path / "out", "--json"]
    result = CliRunner().invoke(main, [str(tiny_path), *map(str, arguments)])
    summary = json.loads(result.stdout)
    assert [video["frames"] for video in summary["videos"]] == [5, 5, 5]
    assert [Path(item["file"]).name for item in summary["failed"]] == ["index.ts"]


@pytest.mark.parametrize("size", [188, 192, 204])
def test_packets_of_each_size_are_known_from_their_middle(size: int) -> None:
    packets = b"".join(b"\x47" + bytes([n]) * (size - 1) for n in range(8))
    for start in (0, 1, size - 1):
        assert is_transport_stream(packets[start : start + TRANSPORT_HEAD])
    assert not is_transport_stream(packets[: 4 * size])
    assert not is_transport_stream(b"")


@settings(max_examples=50)
@given(st.text(alphabet="G{}();: \n", min_size=TRANSPORT_HEAD, max_size=TRANSPORT_HEAD))
def test_a_text_is_no_stream_even_with_many_a_g(text: str) -> None:
    has_g = any(text[n : n + 5 * m : m] == "GGGGG" for m in (188, 192, 204) for n in range(m))
    assert is_transport_stream(text.encode()) == has_g


def test_size_and_pixel_format_may_change_on_the_way(segmenter: Segmenter, tmp_path: Path) -> None:
    """Joined recordings, as broadcast and dashboard cameras write them; clocks start anew."""
    parts = [(4, (64, 48), "yuv420p"), (3, (32, 64), "yuv420p"), (3, (64, 48), "yuv444p")]
    clip = tmp_path / "joined.ts"
    clip.write_bytes(b"".join(transport_stream(*part) for part in parts))
    output = tmp_path / "out"
    for every in (1, 3):
        result = predict_files(
            segmenter, [clip], output=output, score_threshold=0.5, every=every, batch_size=8
        )
        assert result.failed == []
        assert result.predicted[0].frames == 10
        lines = [json.loads(line) for line in (output / "joined.jsonl").read_text().splitlines()]
        assert [line["frame"] for line in lines] == list(range(0, 10, every))
        assert [line["time"] for line in lines] == [n / 25 for n in range(0, 10, every)]
        for line in lines:
            width, height = (32, 64) if 4 <= line["frame"] < 7 else (64, 48)
            assert (line["width"], line["height"]) == (width, height)
            found = max(line["detections"], key=lambda detection: detection["score"])
            assert found["segmentation"]["size"] == [height, width]
            np.testing.assert_allclose(found["bbox"], [5, 10, 12, 20], atol=4)  # red spreads
    with VideoReader(output / "joined.mp4") as reader:
        frames = [frame.pixels() for frame in reader]
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert len(frames) == 10
    narrow = frames[5].astype(int)  # 32x64 becomes 24x48 in the middle, on black
    assert narrow[:, :18].max() < 30
    assert narrow[:, 46:].max() < 30
    assert narrow[12:18, 26:30, 0].min() > 60


def test_a_frame_without_rgb_costs_only_itself(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bytes
) -> None:
    clip = tmp_path / "clip.ts"
    clip.write_bytes(stream)
    frames = VideoReader._decoded_frames

    def with_a_strange_matrix(self: VideoReader) -> object:
        for index, frame in enumerate(frames(self)):
            if index == 2:
                frame.colorspace = 8  # YCgCo, which FFmpeg does not convert
            yield frame

    monkeypatch.setattr(VideoReader, "_decoded_frames", with_a_strange_matrix)
    for every, formats in ((1, ["json"]), (1, ["json", "overlay"]), (3, ["overlay"])):
        output = tmp_path / f"{every}{len(formats)}"
        result = predict_files(segmenter, [clip], output=output, formats=formats, every=every)
        assert (
            "1 failed, the first is frame 2: expected pixels that conv" in result.failed[0].reason
        )
        assert result.predicted[0].frames == 5
        if "json" in formats:
            assert len((output / "clip.jsonl").read_text().splitlines()) == 4


def test_lost_packets_are_told_from_joins(tmp_path: Path) -> None:
    part = transport_stream(12, size=(640, 480))
    clip = tmp_path / "lost.ts"
    middle = len(part) // 188 // 2 * 188
    clip.write_bytes(part[:middle] + part[middle + 188 :] + part)
    with VideoReader(clip) as reader:
        assert len(list(reader)) >= 22
        assert reader.damage == "1 damaged packet"
