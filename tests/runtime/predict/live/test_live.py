"""Live sources: streams that this test serves on the loopback, lost and found again."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pedseg_runtime import InputError, Segmenter
from pedseg_runtime.predict import predict_live
from pedseg_runtime.predict.cli import main
from pedseg_runtime.predict.live import cli as live_cli
from pedseg_runtime.predict.live import reading as live_reading
from pedseg_runtime.predict.live.reading import LiveReader
from pedseg_runtime.predict.live.sources import find_live_source
from pedseg_runtime.predict.video.reading import VideoReader

av = pytest.importorskip("av", reason="needs PyAV: pip install 'pedseg[video]'")

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n"
)


def encode(count: int, format_: str) -> list[bytes]:
    """What a camera sends per frame: a red person of 12x20 pixels at (x, 10), x = 0, 2, ..."""
    stream = io.BytesIO()
    chunks = []
    options = {"qp": "1", "tune": "zerolatency"}
    with av.open(stream, "w", format=format_, options={"flush_packets": "1"}) as container:
        video = container.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.gop_size = 5
        for index in range(count):
            image = np.zeros((48, 64, 3), np.uint8)
            x = 2 * (index % 25)
            image[10:30, x : x + 12, 0] = 200
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
            chunks.append(stream.getvalue()[sum(map(len, chunks)) :])
    return chunks


@pytest.fixture(scope="module")
def chunks() -> list[bytes]:
    return encode(40, "mpegts")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_reading, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(live_reading, "SILENCE", 2.0)


@contextlib.contextmanager
def served(*sessions: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port of the loopback that treats its first connection so, its second so; then it closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for session in sessions:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    session(connection)
            server.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
    thread.join(5)


def sending(chunks: Sequence[bytes], interval: float = 0.0) -> Callable[[socket.socket], None]:
    def session(connection: socket.socket) -> None:
        for chunk in chunks:
            connection.sendall(chunk)
            time.sleep(interval)

    return session


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_lost_stream_is_found_again_until_patience_ends(
    segmenter: Segmenter, tmp_path: Path, chunks: list[bytes]
) -> None:
    notes: list[str] = []
    cut = [*chunks[:20], chunks[20][:100]]
    with served(sending(cut, 0.01), sending(b""), sending(chunks, 0.01)) as port:
        result = predict_live(
            segmenter,
            f"tcp://127.0.0.1:{port}",
            output=tmp_path,
            formats=["overlay", "blurred", "json"],
            score_threshold=0.5,
            patience=1.5,
            on_note=notes.append,
        )
    assert 55 <= result.received <= 60
    assert result.connections == 2
    assert result.failed is not None
    assert result.failed.startswith(f"tcp://127.0.0.1:{port}: expected a live stream, found no fra")
    assert "Connection refused" in result.failed
    waits = [float(re.findall(r"anew in ([0-9.]+) s", note)[0]) for note in notes]
    assert max(waits) > 4 * min(waits)  # they double
    lines = read_lines(tmp_path / "127.0.0.1.jsonl")
    assert len(lines) == result.segmented >= 2
    assert result.segmented + result.dropped == result.received
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert lines[0]["file"] == f"tcp://127.0.0.1:{port}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00", lines[0]["received"])
    assert sum(len(line["detections"]) for line in lines) == result.detections > 0
    for name in ("127.0.0.1.mp4", "127.0.0.1_blurred.mp4"):
        with VideoReader(tmp_path / name) as reader:
            assert len(list(reader)) == result.segmented


def test_the_latest_frame_wins_and_memory_holds_one(
    segmenter: Segmenter,
    tmp_path: Path,
    chunks: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = Segmenter.predict

    def slow(self: Segmenter, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.25)
        return predict(self, *arguments, **options)

    monkeypatch.setattr(Segmenter, "predict", slow)
    with served(sending(chunks, 0.02)) as port:
        result = predict_live(
            segmenter, f"tcp://127.0.0.1:{port}", output=tmp_path, formats=["json"], patience=0.2
        )
    assert result.received >= 39
    assert result.dropped == result.received - result.segmented > 10
    assert read_lines(tmp_path / "127.0.0.1.jsonl")[-1]["frame"] == result.received - 1


def test_what_nobody_takes_is_dropped(chunks: list[bytes]) -> None:
    with served(sending(chunks)) as port:
        source = find_live_source(f"tcp://127.0.0.1:{port}")
        assert source is not None
        with LiveReader(source, every=3, patience=0.2) as reader:
            while not reader._has_ended:
                time.sleep(0.01)
            taken = reader.take(0)
            assert taken is not None
            assert taken.frame.index == (reader.received - 1) // 3 * 3
            assert reader.dropped == (reader.received - 1) // 3
            with pytest.raises(InputError, match=r"no frame for 0\.2 s"):
                reader.take(0)


def test_a_stream_that_falls_silent_is_connected_to_anew(
    chunks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reading, "SILENCE", 0.2)
    over = threading.Event()

    def falling_silent(connection: socket.socket) -> None:
        sending(chunks)(connection)
        over.wait(10)

    notes: list[str] = []
    with served(falling_silent, falling_silent) as port:
        source = find_live_source(f"tcp://127.0.0.1:{port}")
        assert source is not None
        with LiveReader(source, patience=5, on_note=notes.append) as reader:
            while not notes:
                reader.take(0.02)
            over.set()
            while reader.connections < 2:
                reader.take(0.02)
    assert notes[0].startswith(f"tcp://127.0.0.1:{port}: no more data; connecting anew in 0.0 s")


def rtsp_session(frames: list[list[bytes]]) -> Callable[[socket.socket], None]:
    """A camera of RTSP over TCP (RFC 2326) that sends H.264 (RFC 6184), a NAL unit per packet."""

    def session(connection: socket.socket) -> None:
        requests = connection.makefile("rb")
        while True:
            method, url, _ = requests.readline().decode().split()
            headers = {}
            while line := requests.readline().strip().decode():
                name, _, value = line.partition(": ")
                headers[name] = value
            extra, body = "", ""
            if method == "DESCRIBE":
                extra, body = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n", SDP
            elif method == "SETUP":
                assert "RTP/AVP/TCP" in headers["Transport"]
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            connection.sendall(
                f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\n{extra}"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            if method == "PLAY":
                break
        number = 0
        for index, units in enumerate(frames):
            for unit in units:
                marker = 0x80 if unit is units[-1] else 0
                header = struct.pack(">BBHII", 0x80, marker | 96, number, 3600 * index, 7)
                connection.sendall(struct.pack(">cBH", b"$", 0, 12 + len(unit)) + header + unit)
                number += 1
            time.sleep(0.02)

    return session


def test_a_camera_of_rtsp_is_followed_beyond_its_restart(tiny_path: Path, tmp_path: Path) -> None:
    frames = [
        [unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", chunk) if unit.strip(b"\0")]
        for chunk in encode(30, "h264")
    ]
    with served(rtsp_session(frames), rtsp_session(frames)) as port:
        address = f"rtsp://admin:secret@127.0.0.1:{port}/live/1?token=secret"
        options = ("--output", tmp_path, "--patience", 1.5, "--score-threshold", 0.5, "--json")
        result = CliRunner().invoke(main, [str(part) for part in (tiny_path, address, *options)])
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert summary["source"] == f"rtsp://127.0.0.1:{port}/live/1"
    assert summary["connections"] == 2
    assert 40 <= summary["received"] <= 60
    assert "secret" not in result.output
    lines = read_lines(Path(summary["lines"]))
    assert Path(summary["lines"]).name == "127.0.0.1-live-1.jsonl"
    assert "secret" not in Path(summary["lines"]).read_text()
    assert len(lines) == summary["segmented"] >= 5
    assert {line["height"] for line in lines} == {48}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(
    tiny_path: Path,
    tmp_path: Path,
    chunks: list[bytes],
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*arguments: Any, on_frames: Callable[[int], object], **options: Any) -> Any:
        def count(done: int) -> None:
            on_frames(done)
            if done == 3:
                os.kill(os.getpid(), number)

        return predict_live(*arguments, on_frames=count, **options)

    monkeypatch.setattr(live_cli, "predict_live", killed)
    handler = signal.getsignal(number)
    with served(sending(500 * chunks, 0.01)) as port:
        command = [str(tiny_path), f"tcp://127.0.0.1:{port}", "--output", str(tmp_path)]
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert re.search(r"on 3 frames of tcp://127.0.0.1:\d+ in .* s \(CPU", result.stdout)
    assert signal.getsignal(number) is handler
    assert len(read_lines(tmp_path / "127.0.0.1.jsonl")) == 3
    with VideoReader(tmp_path / "127.0.0.1.mp4") as reader:
        assert len(list(reader)) == 3


def test_a_duration_ends_it_and_a_recording_replaces_none(
    segmenter: Segmenter, tmp_path: Path, chunks: list[bytes]
) -> None:
    for name in ("127.0.0.1.jsonl", "127.0.0.1-2.jsonl"):
        with served(sending(100 * chunks, 0.01)) as port:
            result = predict_live(
                segmenter,
                f"tcp://127.0.0.1:{port}",
                output=tmp_path,
                formats=["json"],
                duration=0.2,
                every=2,
            )
        assert result.failed is None
        assert result.outputs == {"lines": tmp_path / name}
        assert all(line["frame"] % 2 == 0 for line in read_lines(tmp_path / name))
    assert len(list(tmp_path.iterdir())) == 2


class Web(http.server.BaseHTTPRequestHandler):
    """Serves a stream without an end, a file, and nothing else."""

    content: tuple[bytes, ...] = ()

    def do_GET(self) -> None:
        content = b"".join(self.content)
        self.send_response(404 if self.path == "/nothing" else 200)
        if self.path == "/file":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content if self.path in ("/file", "/live") else b"")

    def log_message(self, *_: object) -> None:
        pass


def test_streams_of_the_web_are_followed_and_its_files_refused(
    segmenter: Segmenter, tmp_path: Path, chunks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Web, "content", tuple(chunks))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        stop, notes = threading.Event(), []
        result = predict_live(
            segmenter,
            f"{root}/live",
            output=tmp_path,
            formats=["json"],
            stop=stop,
            on_note=lambda line: notes.append(line) or (len(notes) == 2 and stop.set()),
        )
        assert result.connections >= 2  # each ends after 40 frames
        assert result.received >= 80
        for path, found in (("file", "found a file, .*; download it"), ("nothing", ".*404")):
            with pytest.raises(InputError, match=f"{root}/{path}: expected a live stream, {found}"):
                predict_live(segmenter, f"{root}/{path}", output=tmp_path / "none")
        server.shutdown()
    assert not (tmp_path / "none").exists()


def test_frames_that_fail_are_told_and_do_not_go_on_for_ever(
    fixed_path: Path, tmp_path: Path, chunks: list[bytes]
) -> None:
    with (
        served(sending(100 * chunks, 0.01)) as port,
        Segmenter.load(fixed_path, device="cpu") as fixed,
        pytest.raises(InputError, match=r"tcp://127.0.0.1:\d+: frame \d+: expected 40x60"),
    ):
        predict_live(fixed, f"tcp://127.0.0.1:{port}", output=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rtsp://"], 1, "found no host"),
        (["rtsp://u:p@cam:x/"], 1, "cam:x/: expected scheme://host"),
        (["rtsp://cam/", "a.png"], 2, "a live source is followed alone"),
        (["rtsp://cam/", "--resume"], 2, "--resume is for files"),
        (["a.mp4", "--duration", "3"], 2, "--duration is for a live source"),
        (["rtsp://cam/", "--format", "masks"], 1, "expected the format overlay, blurred or json"),
        (["/dev/video9", "--patience", "0.1"], 1, "/dev/video9: expected a live stream, found no"),
        (["tcp://127.0.0.1:1", "--patience", "0.1"], 1, "Connection refused"),
    ],
)
def test_what_cannot_be_followed_is_told_in_a_line(
    tiny_path: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    output = tmp_path / "out"
    result = CliRunner().invoke(main, [str(tiny_path), *arguments, "--output", str(output)])
    assert result.exit_code == code
    assert message in result.stderr
    assert not output.exists()
