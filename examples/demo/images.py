"""Held-out images three times: as labelled, as found by the weights it began with, as found now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.data import SegmentationDataset, open_dataset, read_split
from pedseg_train.eager import EagerSegmenter
from pedseg_train.evaluation.analysis import Analysis, analyse
from pedseg_train.evaluation.recording import Recording, record
from pedseg_train.report.gallery import LONGEST, data_uri, draw_pair

SHOWN = 4
GAP = 8  # pixels between the drawings of a strip
MOST_PEOPLE = 4  # more hide each other at the size of the page


@dataclass(frozen=True, slots=True)
class HeldOutImage:
    """One image of the page.

    Attributes:
        name: of the image.
        drawings: by caption, all of one size.
    """

    name: str
    drawings: Mapping[str, Image.Image]

    @property
    def views(self) -> list[tuple[str, str]]:
        """Caption and data URI of each drawing, for the page."""
        return [(caption, data_uri(drawing)) for caption, drawing in self.drawings.items()]

    def strip(self) -> Image.Image:
        """The drawings side by side."""
        width, height = next(iter(self.drawings.values())).size
        strip = Image.new("RGB", ((width + GAP) * len(self.drawings) - GAP, height), "white")
        for place, drawing in enumerate(self.drawings.values()):
            strip.paste(drawing, (place * (width + GAP), 0))
        return strip


def held_out_images(
    data: Path, split: Path, artifact: Path, start: Path | None
) -> list[HeldOutImage]:
    """Draw some of the images that training never saw.

    Args:
        data: the dataset.
        split: the split file of the run.
        artifact: that was exported.
        start: checkpoint that training started from, if it was one of the demo's.
    """
    dataset = open_dataset(data)
    places = choose(dataset, read_split(split, dataset).test)
    with Segmenter.load(artifact, device="cpu") as segmenter:
        now = record(segmenter, dataset, places)
    before = None
    if start is not None:
        loaded = load_checkpoint(start)
        eager = EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device="cpu", paste=False
        )
        before = record(eager, dataset, places)
    return [
        HeldOutImage(dataset.names[place], draw(dataset, index, now, before))
        for index, place in enumerate(places)
    ]


def choose(dataset: SegmentationDataset, places: Sequence[int]) -> list[int]:
    """Images with many people, but few enough to tell them apart."""
    people = {place: len(dataset.labels(place)) for place in places}
    ranked = sorted(places, key=lambda place: (people[place] > MOST_PEOPLE, -people[place]))
    return sorted(ranked[:SHOWN])


def draw(
    dataset: SegmentationDataset, index: int, now: Recording, before: Recording | None
) -> dict[str, Image.Image]:
    """The drawings of one image, by caption."""
    outcomes = {"found by the artifact": analysed(dataset, now).outcomes["segm"][index]}
    if before is not None:
        outcomes = {
            "before fine-tuning": analysed(dataset, before).outcomes["segm"][index],
            **outcomes,
        }
    truth = now.by_image()[index][0]
    drawn: dict[str, Image.Image] = {}
    for caption, outcome in outcomes.items():
        image = dataset.image(outcome.image)
        labelled, found = draw_pair(image, truth, outcome, longest=LONGEST)
        drawn.setdefault("ground truth", labelled)
        drawn[caption] = found
    return drawn


def analysed(dataset: SegmentationDataset, recording: Recording) -> Analysis:
    """Which people were found, without intervals."""
    return analyse(recording, dataset.names, resamples=0)
