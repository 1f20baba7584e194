"""Videos in, overlay videos and JSON lines out. The clips are made here, a few frames each."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from pedseg_runtime import InputError, Segmenter, read_image
from pedseg_runtime.predict import Prediction, cli, predict_files
from pedseg_runtime.predict.cli import main
from pedseg_runtime.predict.video.reading import VideoReader

av = pytest.importorskip("av", reason="needs PyAV: pip install 'pedseg[video]'")
Flags = pytest.importorskip("av.codec.context").Flags

RED = np.array([200, 0, 0])


def scene(x: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """A red person of 20x12 pixels at column x on a black street of `size` (height, width)."""
    image = np.zeros((*size, 3), np.uint8)
    image[10:30, x : x + 12, 0] = 200
    return image


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[Fraction] | None = None,
    codec: str = "libx264rgb",
    turned: int | None = None,
    options: dict[str, str] | None = None,
    **context: object,
) -> Path:
    """Write uint8 [H, W, 3] frames, without loss unless another codec is asked for.

    `times` in seconds replace the steps of `rate`; the last frame then stays for half a second.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        lossless = codec == "libx264rgb"
        stream = container.add_stream(codec, rate=rate, options={"qp": "0"} if lossless else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        stream.codec_context.gop_size = 4
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 10_000)
            stream.codec_context.flags |= Flags.frame_duration
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if turned is not None:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write rotations")
            stream.set_display_rotation(turned)
        for index, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            image.colorspace = stream.codec_context.colorspace
            image.time_base = 1 / rate if times is None else Fraction(1, 10_000)
            image.pts = index if times is None else round(times[index] * 10_000)
            if times is not None:
                ends = [*times[1:], times[-1] + Fraction(1, 2)]
                image.duration = round((ends[index] - times[index]) * 10_000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def read_video(path: Path) -> tuple[list[NDArray[np.uint8]], list[Fraction], Any]:
    """All frames uint8 [H, W, 3], their times in seconds, and the closed stream's facts."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        images = list(container.decode(stream))
        frames = [image.to_ndarray(format="rgb24") for image in images]
        times = [image.pts * image.time_base for image in images]
        return (
            frames,
            times,
            (stream.codec_context.name, stream.average_rate, len(container.streams)),
        )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def predict(segmenter: Segmenter, tmp_path: Path) -> Callable[..., Prediction]:
    """`predict_files` into tmp_path / "out", without what compression makes of black."""

    def call(*files: Path, **options: Any) -> Prediction:
        settings = {"score_threshold": 0.5, **options}
        return predict_files(segmenter, files, output=tmp_path / "out", **settings)

    return call


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_video_becomes_an_overlay_and_json_lines(
    predict: Callable[..., Prediction], segmenter: Segmenter, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", [scene(2 * n) for n in range(11)])
    progress: list[tuple[str, int, int | None]] = []
    result = predict(
        clip, batch_size=4, on_frames=lambda file, *counts: progress.append((file.name, *counts))
    )
    assert progress == [("clip.mp4", 4, 11), ("clip.mp4", 8, 11), ("clip.mp4", 11, 11)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("clip.jsonl", "clip.mp4", "detections.jsonl")
    ]
    lines = read_lines(tmp_path / "out" / "clip.jsonl")
    assert [line["frame"] for line in lines] == list(range(11))
    assert {line["file"] for line in lines} == {str(clip)}  # of vfr.mkv and vfr.mp4, which?
    assert [line["time"] for line in lines] == [n / 25 for n in range(11)]
    originals, times, _ = read_video(clip)
    frames, overlay_times, facts = read_video(tmp_path / "out" / "clip.mp4")
    assert overlay_times == times
    assert facts == ("h264", 25, 1)
    for line, original, frame in zip(lines, originals, frames, strict=True):
        expected = segmenter.predict([original], score_threshold=0.5)[0]
        assert line["detections"] == expected.to_coco(line["frame"])
        drawn = np.asarray(expected.draw(original)).astype(int)
        assert np.abs(frame - drawn).mean() < 6
        assert np.abs(frame - original.astype(int)).mean() > 12
    assert result.to_dict()["videos"] == [
        {
            "file": str(clip),
            "frames": 11,
            "detections": sum(len(line["detections"]) for line in lines),
            "overlay": str(tmp_path / "out" / "clip.mp4"),
            "lines": str(tmp_path / "out" / "clip.jsonl"),
        }
    ]


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".avi", ".MP4", ".mts"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001)], ids=["25", "29.97"])
def test_every_container_keeps_its_rate(
    predict: Callable[..., Prediction], tmp_path: Path, suffix: str, rate: Fraction
) -> None:
    made = write_video(tmp_path / f"made{suffix.lower()}", 6 * [scene(3)], rate=rate)
    clip = made.rename(tmp_path / f"clip{suffix}")
    result = predict(clip)
    assert result.failed == []
    frames, times, facts = read_video(result.predicted[0].outputs["overlay"])
    assert len(frames) == 6
    assert facts[1] == pytest.approx(rate, rel=1e-2 if "mkv" in suffix or "avi" in suffix else 1e-9)
    # Matroska has milliseconds.
    assert times == pytest.approx([n / rate for n in range(6)], abs=1e-3)


def test_uneven_times_are_kept(predict: Callable[..., Prediction], tmp_path: Path) -> None:
    times = [Fraction(n, 100) for n in (0, 4, 9, 10, 30, 31)]
    clip = write_video(tmp_path / "clip.mp4", 6 * [scene(3)], times=times)
    predict(clip)
    assert read_video(tmp_path / "out" / "clip.mp4")[1] == times
    with av.open(str(tmp_path / "out" / "clip.mp4")) as container:
        assert container.duration == pytest.approx(810_000, abs=1000)  # microseconds
    lines = read_lines(tmp_path / "out" / "clip.jsonl")
    assert [line["time"] for line in lines] == [float(time) for time in times]


@pytest.mark.parametrize("turned", [0, 90, 180, -90])
def test_a_turned_video_is_put_upright(
    predict: Callable[..., Prediction], tmp_path: Path, turned: int
) -> None:
    upright = scene(5, size=(80, 64))
    stored = np.rot90(upright, -turned // 90)  # turned counterclockwise it is upright
    clip = write_video(tmp_path / "clip.mov", 3 * [stored], turned=turned)
    predict(clip, score_threshold=0.7)
    frames, _, _ = read_video(tmp_path / "out" / "clip.mp4")
    assert frames[0].shape == upright.shape
    lines = read_lines(tmp_path / "out" / "clip.jsonl")
    assert lines[0]["detections"][0]["bbox"] == [5, 10, 12, 20]
    assert np.abs(frames[0][70:].astype(int)).max() < 20  # below the person the street is black


def test_an_odd_size_gains_a_row_and_a_column(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mkv", 3 * [scene(3, size=(47, 63))])
    predict(clip)
    assert read_video(tmp_path / "out" / "clip.mp4")[0][0].shape == (48, 64, 3)
    lines = read_lines(tmp_path / "out" / "clip.jsonl")
    assert lines[0]["detections"][0]["segmentation"]["size"] == [47, 63]


@pytest.mark.parametrize("colorspace", [1, 2, 6], ids=["BT.709", "unknown", "BT.601"])
def test_colors_stay_what_they_were(
    predict: Callable[..., Prediction], tmp_path: Path, colorspace: int
) -> None:
    colors = {"colorspace": colorspace, "color_primaries": colorspace, "color_trc": colorspace}
    plain = np.full((48, 64, 3), (180, 60, 120), np.uint8)
    clip = write_video(tmp_path / "clip.mp4", 2 * [plain], codec="libx264", **colors)
    predict(clip, score_threshold=0.99)
    before, _, _ = read_video(clip)
    after, _, _ = read_video(tmp_path / "out" / "clip.mp4")
    np.testing.assert_allclose(after[0][24, 32].astype(int), before[0][24, 32], atol=3)
    np.testing.assert_allclose(before[0][24, 32].astype(int), plain[24, 32], atol=3)
    assert tags(tmp_path / "out" / "clip.mp4") == tags(clip) == 3 * [colorspace]


def tags(path: Path) -> list[int]:
    """FFmpeg's numbers for the matrix, primaries and transfer curve of the colors."""
    with VideoReader(path) as reader:
        next(iter(reader))
        return list(reader.colors)


@pytest.mark.parametrize("codec", ["libx264", "libx264rgb"], ids=["untagged", "RGB"])
def test_hd_without_a_matrix_is_bt709_in_and_out(
    predict: Callable[..., Prediction], tmp_path: Path, codec: str
) -> None:
    plain = np.full((48, 1280, 3), (180, 60, 120), np.uint8)
    clip = write_video(tmp_path / "clip.mp4", [plain], codec=codec, colorspace=2)
    predict(clip, score_threshold=0.99)
    seen = []
    for path in (clip, tmp_path / "out" / "clip.mp4"):
        with VideoReader(path) as reader:
            seen.append(next(iter(reader)).pixels()[24, 32].astype(int))
    np.testing.assert_allclose(seen[1], seen[0], atol=3)
    assert tags(tmp_path / "out" / "clip.mp4") == [1, 2, 2]


def test_videos_of_one_name_and_links_have_results_of_their_own(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, count in (("vfr.mkv", 2), ("vfr.mp4", 3)):
        write_video(folder / name, count * [scene(3)])
    (folder / "link.mp4").symlink_to(folder / "vfr.mp4")
    files = sorted(folder.iterdir())
    result = predict(*files, formats=["json"])
    assert [(item.file.name, item.frames) for item in result.predicted] == [
        *(("link.mp4", 3), ("vfr.mkv", 2), ("vfr.mp4", 3))
    ]
    for item in result.predicted:
        lines = read_lines(item.outputs["lines"])
        assert [line["file"] for line in lines] == [str(item.file)] * (item.frames or 0)
    assert all(item.resumed for item in predict(*files, formats=["json"], resume=True).predicted)


def test_rgb_is_not_taken_for_a_matrix_of_yuv(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 2 * [scene(3)])
    assert tags(clip)[0] == 0
    predict(clip)
    assert tags(tmp_path / "out" / "clip.mp4") == [2, 2, 2]


def test_an_odd_size_is_not_stretched(predict: Callable[..., Prediction], tmp_path: Path) -> None:
    stripes = np.zeros((47, 63, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 120
    clip = write_video(tmp_path / "clip.mkv", 2 * [stripes])
    predict(clip, score_threshold=0.99)
    frame = read_video(tmp_path / "out" / "clip.mp4")[0][0].astype(int)
    assert np.abs(frame[:47, :63] - stripes).mean() < 8
    np.testing.assert_allclose(frame[47], frame[46], atol=16)


def test_pixels_that_are_not_square_stay_so(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    aspect = Fraction(4, 3)
    clip = write_video(tmp_path / "clip.mp4", 2 * [scene(3)], turned=90, sample_aspect_ratio=aspect)
    predict(clip)
    with VideoReader(tmp_path / "out" / "clip.mp4") as reader:
        assert reader.pixel_aspect == 1 / aspect


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_every_third_frame_is_segmented_and_the_others_show_it(
    predict: Callable[..., Prediction], tmp_path: Path, batch_size: int
) -> None:
    clip = write_video(tmp_path / "clip.mp4", [scene(2 * n) for n in range(8)])
    predict(clip, every=3, batch_size=batch_size)
    lines = read_lines(tmp_path / "out" / "clip.jsonl")
    assert [line["frame"] for line in lines] == [0, 3, 6]
    frames, _, _ = read_video(tmp_path / "out" / "clip.mp4")
    assert len(frames) == 8
    # The box's left edge stays where it was found: green light where the street is black.
    edges = [int(np.argmax(frame[20, :, 1] > 40)) for frame in frames]
    assert edges == pytest.approx([0, 0, 0, 6, 6, 6, 12, 12], abs=1)


def test_json_lines_alone_need_no_other_frames(
    predict: Callable[..., Prediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 8 * [scene(3)])
    converted: list[str] = []
    read = Segmenter.read

    def watched(self: Segmenter, image: Any, name: str = "image") -> NDArray[np.uint8]:
        converted.append(name)
        return read(self, image, name)

    monkeypatch.setattr(Segmenter, "read", watched)
    done: list[int] = []
    result = predict(
        clip, formats=["json"], every=3, on_frames=lambda file, count, total: done.append(count)
    )
    assert done == [1, 4, 7, 8]  # the last frame is done, though it is not segmented
    assert [name for name in converted if "frame" in name] == ["frame 0", "frame 3", "frame 6"]
    assert result.predicted[0].frames == 8
    assert not (tmp_path / "out" / "clip.mp4").exists()


def test_a_video_of_one_frame(predict: Callable[..., Prediction], tmp_path: Path) -> None:
    predict(write_video(tmp_path / "clip.mp4", [scene(3)]))
    assert len(read_video(tmp_path / "out" / "clip.mp4")[0]) == 1
    assert len(read_lines(tmp_path / "out" / "clip.jsonl")) == 1


def test_long_gaps_between_segmented_frames_hold_few_frames(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 70 * [scene(3)])
    done: list[int] = []
    predict(clip, every=50, batch_size=8, on_frames=lambda file, count, total: done.append(count))
    assert done == [32, 64, 70]
    done.clear()
    predict(
        clip,
        every=50,
        batch_size=8,
        formats=["json"],
        on_frames=lambda file, count, total: done.append(count),
    )
    assert done == [70]  # nothing waits for an image


def test_sound_is_dropped(predict: Callable[..., Prediction], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), layout="mono")
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(scene(3), format="rgb24")))
        container.mux(video.encode())
    result = predict(clip)
    assert result.failed == []  # the sound goes on for longer, which is no damage
    assert read_video(tmp_path / "out" / "clip.mp4")[2][2] == 1


def cut(clip: Path, part: float) -> Path:
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * part)])
    return clip


def spoil(clip: Path) -> Path:
    content = bytearray(clip.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 300] = bytes(300)
    clip.write_bytes(content)
    return clip


@pytest.mark.parametrize(
    ("name", "damage", "found"),
    [
        pytest.param(
            "clip.mp4", lambda clip: cut(clip, 0.97), "1 damaged packet;", id="MP4 cut at the end"
        ),
        pytest.param("clip.mkv", lambda clip: cut(clip, 0.6), "an end after", id="Matroska cut"),
        pytest.param("clip.mp4", spoil, "1 damaged packet, 1 damaged frame;", id="zeros in MP4"),
    ],
)
def test_of_a_damaged_video_the_rest_is_written(
    tiny_path: Path, tmp_path: Path, name: str, damage: Callable[[Path], Path], found: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 60, (30, 48, 64, 3), dtype=np.uint8)
    frames = [np.maximum(scene(n), grain) for n, grain in enumerate(noise)]
    clip = damage(
        write_video(
            tmp_path / name,
            frames,
            codec="libx264",
            options={"movflags": "+faststart"} if name.endswith("mp4") else None,
        )
    )
    output = tmp_path / "out"
    result = run(tiny_path, clip, "--output", output, "--score-threshold", 0.5, "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert [failure["file"] for failure in summary["failed"]] == [str(clip)]
    assert f"failed: {clip}: expected a whole video, found {found}" in result.stderr
    decoded = summary["videos"][0]["frames"]
    assert 5 < decoded <= 30
    assert f"hold the {decoded} frames that could be decoded" in result.stderr
    assert len(read_video(output / "clip.mp4")[0]) == decoded
    assert len(read_lines(output / "clip.jsonl")) == decoded
    again = run(tiny_path, clip, "--output", output, "--score-threshold", 0.5, "--resume", "--json")
    assert json.loads(again.stdout)["resumed"] == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"this is a text\n" * 99, "Invalid data", id="text"),
        pytest.param(b"ffconcat version 1.0\nfile other.mp4\n", "", id="list of other videos"),
        pytest.param(None, "No such file", id="missing"),
    ],
)
def test_a_file_that_is_no_video_fails_alone(
    predict: Callable[..., Prediction], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    other = write_video(tmp_path / "other.mp4", 2 * [scene(3)])
    broken = tmp_path / "broken.mp4"
    if content is not None:
        broken.write_bytes(content)
    result = predict(broken, other)
    assert [item.file for item in result.predicted] == [other]
    assert [item.file for item in result.failed] == [broken]
    assert result.failed[0].reason.startswith(f"{broken}: expected a")
    assert reason in result.failed[0].reason
    assert not (tmp_path / "out" / "broken.mp4").exists()
    assert not (tmp_path / "out" / "broken.jsonl").exists()


def test_sound_alone_is_no_video(predict: Callable[..., Prediction], tmp_path: Path) -> None:
    clip = tmp_path / "song.mkv"
    with av.open(str(clip), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
    result = predict(clip)
    assert "no images in it" in result.failed[0].reason


def test_a_video_without_frames_leaves_no_file(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 4 * [scene(3)], options={"movflags": "+faststart"})
    content = clip.read_bytes()
    clip.write_bytes(content[: content.index(b"mdat") + 4])
    result = predict(clip)
    assert "expected a video, found none that can be read" in result.failed[0].reason
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.jsonl"]


def test_a_video_of_another_size_than_the_artifact_takes(fixed_path: Path, tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.mp4", 3 * [scene(3, size=(40, 60))])
    wide = write_video(tmp_path / "wide.mp4", 3 * [scene(3)])
    result = run(fixed_path, wide, good, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert f"failed: {wide}: frame 0: expected 40x60" in result.stderr
    assert (tmp_path / "out" / "good.mp4").exists()
    assert not (tmp_path / "out" / "wide.mp4").exists()


def test_a_folder_of_images_and_videos(tiny_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_video(folder / "a.mp4", 3 * [scene(3)])
    for name in ("a.png", "b.gif"):
        Image.fromarray(scene(3)).save(folder / name)
    options = ("--output", tmp_path / "out", "--score-threshold", 0.5)
    result = run(tiny_path, folder, *options)
    assert result.exit_code == 0
    assert "2 images and 3 detections on 3 frames of 1 video (" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.jsonl", "a.mp4", "a.png", "b.png", "detections.json", "detections.jsonl")
    ]
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 2
    summary = json.loads(run(tiny_path, folder, *options, "--resume", "--json").stdout)
    assert summary["resumed"] == 3
    assert summary["videos"][0]["frames"] == summary["videos"][0]["detections"] == 3


def test_the_progress_shows_the_video_under_way(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Eager(Progress):
        """Shows every step, however fast."""

        def update(self, *arguments: Any, **options: Any) -> None:
            super().update(*arguments, **options, refresh=True)

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(cli, "progress_bar", lambda: Eager(console=console))
    clip = write_video(tmp_path / "[b]clip.mp4", 3 * [scene(3)])
    assert run(tiny_path, clip, "--output", tmp_path / "out").exit_code == 0
    assert "[b]clip.mp4" in screen.getvalue()
    assert "100%" in screen.getvalue()


def test_a_video_that_was_stopped_begins_anew(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clips = [write_video(tmp_path / f"{name}.mp4", 6 * [scene(3)]) for name in "ab"]

    def stop(file: Path, done: int, total: int | None) -> None:
        if (file, done) == (clips[1], 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(*clips, batch_size=2, on_frames=stop)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a.jsonl", "a.mp4", "detections.jsonl"]
    result = predict(*clips, resume=True)
    assert [item.resumed for item in result.predicted] == [True, False]
    assert len(read_lines(tmp_path / "out" / "b.jsonl")) == 6


def test_on_every_frame_of_a_blurred_video_nobody_is_recognised(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    stripes = np.zeros((48, 64, 3), np.uint8)
    stripes[10:34, 20:44, 0] = 200 * (np.arange(24) % 2)
    clip = write_video(tmp_path / "clip.mp4", [stripes] * 4)
    result = predict(clip, formats=["blurred"])
    assert result.videos[0].outputs == {"blurred": tmp_path / "out" / "clip_blurred.mp4"}
    frames, times, _ = read_video(tmp_path / "out" / "clip_blurred.mp4")
    assert len(frames) == len(times) == 4
    originals, _, _ = read_video(clip)
    for original, frame in zip(originals, frames, strict=True):
        middle = (slice(18, 26), slice(28, 36), 0)  # the soft mask of the artifact is a disc
        assert np.ptp(original[middle].astype(int)) > 150
        assert np.ptp(frame[middle].astype(int)) < 60
        assert np.abs(frame[:5].astype(int) - original[:5]).max() < 20


def test_a_frame_that_fails_is_blurred_all_over(
    predict: Callable[..., Prediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pedseg_runtime.backends.onnx import OnnxBackend

    run, runs = OnnxBackend.run, iter([True, False, True])

    def failing(self: Any, images: Any) -> Any:
        if next(runs):
            return run(self, images)
        raise InputError("frame: expected another one, found this")

    monkeypatch.setattr(OnnxBackend, "run", failing)
    stripes = np.zeros((48, 64, 3), np.uint8)
    stripes[:, ::2] = 100  # grey: its score is below the threshold
    clip = write_video(tmp_path / "clip.mp4", [stripes] * 3)
    predict(clip, formats=["blurred"], batch_size=1)
    frames, _, _ = read_video(tmp_path / "out" / "clip_blurred.mp4")
    spread = [np.ptp(frame[20, 20:40].astype(int)) for frame in frames]
    assert len(spread) == 3
    assert spread[1] < 30 < min(spread[0], spread[2])


def test_frames_between_would_not_be_blurred(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", [scene(3)])
    with pytest.raises(InputError, match="every: expected 1 for the format blurred of a video"):
        predict(clip, formats=["blurred"], every=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("formats", [["masks"], ["coco"], ["masks", "coco"]])
def test_formats_of_images_alone_are_refused_for_a_video(
    predict: Callable[..., Prediction], tmp_path: Path, formats: list[str]
) -> None:
    clip = write_video(tmp_path / "clip.mp4", [scene(3)])
    with pytest.raises(
        InputError, match="expected the format overlay, blurred or json for a video"
    ):
        predict(clip, formats=formats)
    assert not (tmp_path / "out").exists()


def test_without_an_h264_encoder_mpeg4_does(
    predict: Callable[..., Prediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 160, (5, 90, 160, 1), dtype=np.uint8)
    images = np.broadcast_to(coarse.repeat(8, 1).repeat(8, 2), (5, 720, 1280, 3))
    clip = write_video(tmp_path / "clip.mkv", images)
    monkeypatch.setattr(av, "codecs_available", {"mpeg4", "h264"})
    predict(clip, score_threshold=0.99)
    frames, times, facts = read_video(tmp_path / "out" / "clip.mp4")
    assert facts[0] == "mpeg4"
    assert times == [Fraction(n, 25) for n in range(5)]
    assert np.abs(frames[-1].astype(int) - images[-1]).mean() < 2


def test_a_frame_beyond_the_encoder_is_no_crash(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mkv", [np.zeros((16, 16_500, 3), np.uint8)], codec="ffv1")
    result = predict(clip)
    assert "expected frames that the encoder takes, found 16500x16" in result.failed[0].reason
    assert result.failed[0].reason.startswith(f"{clip}: overlay: ")
    assert predict(clip, formats=["json"]).failed == []


def test_a_full_disk_leaves_no_half_video(
    predict: Callable[..., Prediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 4 * [scene(3)])
    from pedseg_runtime.predict.video.writing import VideoWriter

    def fail(self: VideoWriter, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        predict(clip)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.jsonl"]


def test_a_frame_of_the_overlay_can_be_looked_at(
    predict: Callable[..., Prediction], tmp_path: Path
) -> None:
    """Mask, outline and box are on the person, and its caption is above it."""
    clip = write_video(tmp_path / "clip.mp4", 2 * [scene(20, size=(96, 128))])
    predict(clip)
    frame = read_video(tmp_path / "out" / "clip.mp4")[0][0].astype(int)
    assert np.abs(frame[20, 26] - (0.55 * RED + 0.45 * np.array([255, 140, 46]))).max() < 25
    Image.fromarray(frame.astype(np.uint8)).save(tmp_path / "frame.png")
    assert read_image(tmp_path / "frame.png").shape == (96, 128, 3)
