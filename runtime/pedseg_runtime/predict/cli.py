"""`pedseg-predict`: segment images and videos with an artifact."""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.markup import escape
from rich.progress import Progress, TaskID

from ..console import Choice, Command, next_commands, notes, output, progress_bar
from ..errors import PedsegError
from ..segmenter import Segmenter
from ..text import pluralize
from .inputs import count_left_out, describe_left_out, find_inputs
from .jobs import Prediction
from .label_tools import LOCAL_FILES
from .live.cli import run_live
from .live.sources import find_live_source
from .outputs import DEFAULT_FORMATS, FORMATS
from .run import predict_files
from .video.reading import is_video


@click.command(cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("predictions"),
    show_default=True,
    help="Folder for the results.",
)
@click.option(
    "--format",
    "formats",
    type=Choice(FORMATS),
    multiple=True,
    default=DEFAULT_FORMATS,
    show_default=True,
    metavar="|".join(FORMATS),
    help="What to write; give it several times for several.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N|openvino",
    help="Where to run; cuda fails if it is not what runs, auto falls back to the CPU.",
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    help="Keep detections above it.  [default: the artifact's own]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Most images or frames in one run.  [default: 1 on a CPU, which gains nothing, else 8]",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Of a video, segment every N-th frame; overlays repeat the latest detections between.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an output folder: leave out files that are finished there.",
)
@click.option(
    "--polygon-tolerance",
    type=click.FloatRange(min=0),
    metavar="PIXELS",
    help="For label tools: polygons, off the outlines by at most PIXELS.  [default: exact masks]",
)
@click.option(
    "--image-prefix",
    default=LOCAL_FILES,
    show_default=True,
    help="For Label Studio: what stands before an image's name in its address.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Of a live source: stop so long after its first frame.  [default: at Ctrl-C]",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Of a live source: give up after so long without a frame.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
@click.option(
    "--self-test/--no-self-test",
    default=True,
    show_default=True,
    help="First replay the samples in the artifact, on the device that is used.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
def main(
    artifact: Path,
    inputs: tuple[str, ...],
    folder: Path,
    formats: tuple[str, ...],
    device: str,
    score_threshold: float | None,
    batch_size: int | None,
    every: int,
    resume: bool,
    polygon_tolerance: float | None,
    image_prefix: str,
    duration: float | None,
    patience: float,
    threads: int | None,
    self_test: bool,
    as_json: bool,
) -> None:
    """Segment INPUTS with ARTIFACT, a file made by pedseg-export.

    INPUTS are images, videos, folders of both, and quoted patterns such as 'cams/**/*.jpg', in
    which ** stands for any depth of folders; or one live source: rtsp://..., another address of a
    stream, /dev/video0 or a camera's number. Videos and streams need pip install 'pedseg[video]'.

    \b
    --format overlay  images and videos with the detections drawn on them; videos lose their sound
             blurred  images and videos with what was found blurred, to show them to others
             masks    PedMasks/NAME_mask.png per image: instance ids 1..N, the best score first
             json     detections.json: all images, masks run-length encoded;
                      NAME.jsonl per video: a line per segmented frame
             coco     coco_results.json for COCO.loadRes, and coco_images.json to load it into
             coco-instances  coco_instances.json, which CVAT imports as "COCO 1.0"
             label-studio    label_studio.json to import, and label_studio.xml, the project's
                      labeling interface

    A file that cannot be read, or fails otherwise, is listed at the end, the others are segmented,
    and the exit code is 1. What a folder holds beside images and videos is left out, and counted by
    suffix. Of several frames or pages of an image the first is segmented. Finished files stay, also
    after a crash: --resume goes on from there.

    Of a live source the newest frame is segmented; those that come meanwhile are dropped, and
    counted. Results are written as they come, to files of new names. A lost connection is made
    anew, after waits that double up to 30 seconds.
    """  # noqa: D301 - click wants the backspace itself
    load = functools.partial(
        Segmenter.load, artifact, device=device, threads=threads, self_test=self_test
    )
    live = any(find_live_source(source) is not None for source in inputs)
    if live:
        _check_alone(inputs, resume)
        with load() as segmenter:
            run_live(
                segmenter,
                inputs[0],
                output=folder,
                formats=formats,
                score_threshold=score_threshold,
                every=every,
                duration=duration,
                patience=patience,
                facts={"artifact": str(artifact)},
                as_json=as_json,
            )
        return
    if duration is not None:
        raise click.UsageError("--duration is for a live source; --every N thins out a video")
    sources = [Path(source) for source in inputs]
    files, left_out = find_inputs(sources, output=folder)
    with load() as segmenter:
        facts = {
            "artifact": str(artifact),
            "provider": segmenter.provider,
            "self_test": segmenter.self_test,
        }
        with progress_bar() as bar, _hint_at_resume(bars := _Bars(bar, len(files))):
            prediction = predict_files(
                segmenter,
                files,
                output=folder,
                formats=formats,
                score_threshold=score_threshold,
                batch_size=batch_size,
                every=every,
                resume=resume,
                polygon_tolerance=polygon_tolerance,
                image_prefix=image_prefix,
                on_done=bars.advance,
                on_frames=bars.show_frames,
            )
    if as_json:
        document = {**facts, **prediction.to_dict(), "left_out": count_left_out(left_out)}
        # Escaped: a terminal or pipe may not know every character of a file's name.
        output.print_json(json.dumps(document), ensure_ascii=True)
    else:
        output.print(_summary(prediction, facts["provider"], folder), markup=False)
    for line in (
        *describe_left_out(left_out),
        *prediction.notes,
        *(f"failed: {failure.reason}" for failure in prediction.failed),
    ):
        notes.print(line, markup=False)
    _print_next(artifact, sources, files)
    if prediction.failed:
        raise click.exceptions.Exit(1)


def _check_alone(inputs: Sequence[str], resume: bool) -> None:
    """Refuse what a live source cannot be combined with."""
    if len(inputs) > 1:
        raise click.UsageError("a live source is followed alone; start a process for each input")
    if resume:
        raise click.UsageError("--resume is for files; a live source goes on in files of new names")


class _Bars:
    """A bar for the files, and one for the frames of the video under way."""

    def __init__(self, bar: Progress, total: int) -> None:
        self.done = 0
        self._bar = bar
        self._files = bar.add_task("Segmenting", total=total)
        self._frames: TaskID | None = None

    def advance(self, count: int) -> None:
        self.done += count
        self._bar.advance(self._files, count)
        if self._frames is not None:
            self._bar.remove_task(self._frames)
            self._frames = None

    def show_frames(self, file: Path, done: int, total: int | None) -> None:
        if self._frames is None:
            self._frames = self._bar.add_task(f"  {escape(file.name)}", total=total)
        self._bar.update(self._frames, completed=done)


@contextlib.contextmanager
def _hint_at_resume(bars: _Bars) -> Iterator[None]:
    """When a run is stopped or fails, say that its finished files are not lost."""
    try:
        yield
    except (KeyboardInterrupt, OSError, PedsegError):
        if bars.done:
            done = pluralize(bars.done, "file")
            notes.print(f"stopped after {done}; the same command with --resume goes on")
        raise


def _summary(prediction: Prediction, provider: str, folder: Path) -> str:
    """One line on what was found and where it lies."""
    images, videos = prediction.images, prediction.videos
    parts = []
    if images or not videos:
        found = sum(item.detections for item in images)
        parts.append(f"{pluralize(found, 'detection')} on {pluralize(len(images), 'image')}")
    if videos:
        found = sum(item.detections for item in videos)
        frames = sum(item.frames or 0 for item in videos)
        parts.append(
            f"{pluralize(found, 'detection')} on {pluralize(frames, 'frame')} of "
            f"{pluralize(len(videos), 'video')}"
        )
    resumed = sum(item.resumed for item in prediction.predicted)
    earlier = f", {pluralize(resumed, 'file')} of them finished earlier" if resumed else ""
    collected = ", ".join(path.name for path in prediction.results.values())
    place = f"{folder} ({collected})" if collected else f"{folder}"
    return f"{' and '.join(parts)} ({provider}){earlier}; results in {place}"


def _print_next(artifact: Path, inputs: Sequence[Path], files: Sequence[Path]) -> None:
    """What to type next, for the images that were given, if any."""
    named = [*(source for source in inputs if source.is_dir()), *files]
    images = next((str(path) for path in named if not is_video(path)), "IMAGES")
    model, source = shlex.quote(str(artifact)), shlex.quote(images)
    next_commands(
        [
            (
                "Compare with the checkpoint:",
                f"pedseg-verify {model} --checkpoint CHECKPOINT --images {source}",
            ),
            ("Measure its speed:", f"pedseg-bench run CHECKPOINT {model} --images {source}"),
        ]
    )


if __name__ == "__main__":
    main()
