"""The pictures that say most of a model: those it did worst on, and those it did best on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.analysis import Analysis
from ..evaluation.image_rows import ImageRow
from ..evaluation.recording import Annotated, Recording
from .drawing import data_uri, draw_pair

WORST, BEST = 6, 3
LONGEST = 560  # pixels of a picture's longer side


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One picture for the page.

    Attributes:
        row: how the model did on it.
        truth, found: data URIs of the two drawings.
    """

    row: ImageRow
    truth: str
    found: str


def choose(rows: Sequence[ImageRow]) -> tuple[list[int], list[int]]:
    """Places of the worst rows, worst first, and of the best ones, best first; none in both.

    Most errors are worst, then the loosest masks. Best are the fewest errors, then most people,
    then the tightest masks; a picture on which nothing was to be found and nothing was is neither.
    """
    places = [place for place, row in enumerate(rows) if row.f1 is not None]
    by_errors = sorted(places, key=lambda at: (-rows[at].errors, rows[at].mean_iou or 0.0))
    worst = by_errors[:WORST]
    best = sorted(
        (place for place in by_errors[WORST:] if rows[place].matched),
        key=lambda at: (rows[at].errors, -rows[at].matched, -(rows[at].mean_iou or 0.0)),
    )
    return worst, best[:BEST]


def exhibit(
    places: Sequence[int], dataset: Annotated, recording: Recording, analysis: Analysis
) -> list[Exhibit]:
    """Draw the pictures at some places of the recording."""
    truths = recording.by_image()
    exhibits = []
    for place in places:
        outcome = analysis.outcomes["segm"][place]
        image = dataset.image(outcome.image)
        truth, found = draw_pair(image, truths[place][0], outcome, longest=LONGEST)
        exhibits.append(
            Exhibit(
                row=analysis.rows[place],
                truth=data_uri(truth),
                found=data_uri(found),
            )
        )
    return exhibits
