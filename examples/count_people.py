"""Who crosses a line, and how many are in a zone: tracking over a video with supervision.

    python examples/count_people.py pedseg.onnx street.mp4 counted --line 160,0,160,240

writes counted/street.mp4 (masks, numbers, paths, line and zone), counted/street.png (its frame with
the most people in the zone) and counted/street.json (who crossed when, and the zone's counts).

ByteTrack, of the package trackers, gives each person a number that lasts from frame to frame; the
line and the zone are supervision's. Needs pip install 'pedseg[supervision,video]'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import supervision as sv
from numpy.typing import NDArray
from PIL import Image
from trackers import ByteTrackTracker

from pedseg_runtime import InputError, Segmenter
from pedseg_runtime.console import Command, output, progress_bar
from pedseg_runtime.files import replacing, write_json
from pedseg_runtime.predict.video import VideoReader, VideoWriter

WEAKEST = 0.1  # score of a detection that may continue a track: who is half hidden scores low
DUPLICATES = 0.3  # two masks with more IoU are one person, who shall not be counted twice


class Counter:
    """Follows people from frame to frame and counts them at a line and in a zone.

    Args:
        rate: frames a second.
        line: x1 y1 x2 y2 in pixels; who crosses it towards the left of its direction comes in.
        zone: x y of each corner, in pixels.
        threshold: detections that score less start no track, but may continue one.
    """

    def __init__(
        self, *, rate: float, line: list[float], zone: list[float], threshold: float
    ) -> None:
        self.tracker = ByteTrackTracker(
            frame_rate=rate,
            track_activation_threshold=threshold,
            high_conf_det_threshold=threshold,
        )
        # A person counts by the middle of the feet: boxes touch a line long before and after.
        feet = (sv.Position.BOTTOM_CENTER,)
        start, end = sv.Point(*line[:2]), sv.Point(*line[2:])
        self.line = sv.LineZone(start, end, triggering_anchors=feet)
        corners = np.array(zone).reshape(-1, 2).round().astype(int)
        self.zone = sv.PolygonZone(corners, triggering_anchors=feet)
        self.events: list[dict[str, Any]] = []
        self.counts: list[int] = []
        self._painters = (
            sv.MaskAnnotator(color_lookup=sv.ColorLookup.TRACK),
            sv.TraceAnnotator(color_lookup=sv.ColorLookup.TRACK, trace_length=round(2 * rate)),
        )
        self._labels = sv.LabelAnnotator(
            color_lookup=sv.ColorLookup.TRACK, text_scale=0.35, text_padding=2
        )
        self._line_painter = sv.LineZoneAnnotator(
            thickness=1, text_scale=0.35, text_thickness=1, text_padding=3
        )
        self._zone_painter = sv.PolygonZoneAnnotator(
            self.zone, thickness=1, text_scale=0.5, text_thickness=1, opacity=0.15
        )

    def add(self, detections: sv.Detections, frame: int, time: float) -> sv.Detections:
        """Take the detections of the next frame; returns those that have a number."""
        tracked = self.tracker.update(detections.with_nms(DUPLICATES))
        tracked = tracked[tracked.tracker_id >= 0]
        inward, outward = self.line.trigger(tracked)
        for direction, crossed in (("in", inward), ("out", outward)):
            for number in tracked.tracker_id[crossed].tolist():
                event = {"frame": frame, "time": time, "track": number, "direction": direction}
                self.events.append(event)
        self.counts.append(int(self.zone.trigger(tracked).sum()))
        return tracked

    def draw(self, pixels: NDArray[np.uint8], tracked: sv.Detections) -> NDArray[np.uint8]:
        """A copy of a frame [H, W, 3] with all of it drawn."""
        scene = self._zone_painter.annotate(pixels.copy())
        for painter in self._painters:
            scene = painter.annotate(scene, tracked)
        captions = [f"#{number}" for number in tracked.tracker_id]
        scene = self._labels.annotate(scene, tracked, captions)
        return np.asarray(self._line_painter.annotate(scene, self.line))


def count(
    segmenter: Segmenter,
    video: Path,
    folder: Path,
    *,
    line: list[float] | None = None,
    zone: list[float] | None = None,
    threshold: float = 0.6,
) -> dict[str, Any]:
    """Count people on a video and write video, image and summary into `folder`.

    Without a line it stands in the middle of the image; without a zone it is the image's lower
    left quarter.
    """
    best, most = None, -1
    with VideoReader(video) as reader, progress_bar() as bar:
        task = bar.add_task("Counting", total=reader.total)
        with (
            replacing(folder / f"{video.stem}.mp4") as temporary,
            VideoWriter(temporary, like=reader) as writer,
        ):
            counter = None
            for frame in reader:
                pixels = frame.pixels()
                if counter is None:
                    height, width = pixels.shape[:2]
                    corners = [0, height / 2, width / 2, height / 2]
                    counter = Counter(
                        rate=float(reader.rate),
                        line=line or [width / 2, 0, width / 2, height],
                        zone=zone or [*corners, width / 2, height, 0, height],
                        threshold=threshold,
                    )
                found = segmenter(pixels).above(WEAKEST).to_supervision(compact=True)
                tracked = counter.add(found, frame.index, float(frame.time))
                drawn = counter.draw(pixels, tracked)
                writer.write(drawn, frame)
                if counter.counts[-1] > most:
                    best, most = drawn, counter.counts[-1]
                bar.advance(task)
    with replacing(folder / f"{video.stem}.png") as temporary:
        Image.fromarray(best).save(temporary)
    summary = {
        "video": str(video),
        "in": counter.line.in_count,
        "out": counter.line.out_count,
        "crossings": counter.events,
        "in_zone": counter.counts,
    }
    write_json(folder / f"{video.stem}.json", summary)
    return summary


def numbers(text: str | None, name: str, least: int) -> list[float] | None:
    """Numbers with commas between, an even count of them."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) < least or len(values) % 2:
        raise InputError(f"--{name}: expected x,y,x,y,... in pixels, found {text!r}")
    return values


@click.command(cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--line", metavar="X1,Y1,X2,Y2", help="In pixels.  [default: the middle]")
@click.option("--zone", metavar="X1,Y1,...", help="In pixels.  [default: the lower left quarter]")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.6, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(
    artifact: Path,
    video: Path,
    folder: Path,
    line: str | None,
    zone: str | None,
    threshold: float,
    device: str,
) -> None:
    """Count people on VIDEO with ARTIFACT; the results go into FOLDER."""
    corners = {"line": numbers(line, "line", 4), "zone": numbers(zone, "zone", 6)}
    with Segmenter.load(artifact, device=device) as segmenter:
        summary = count(segmenter, video, folder, **corners, threshold=threshold)
    output.print(
        f"{summary['in']} in, {summary['out']} out, at most {max(summary['in_zone'])} in the zone; "
        f"results in {folder}",
        markup=False,
    )


if __name__ == "__main__":
    main()
