"""What a comparison returns: statistics, explained differences and the verdict."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..text import pluralize
from .tolerances import Tolerances

if TYPE_CHECKING:
    from rich.table import Table


UNEXPLAINED = "unexplained"
"""The kind of a detection that only one side has and that no margin explains."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The rules by which both sides chose their detections; they decide which flips are benign.

    Attributes:
        score_threshold: detections have a higher score than this.
        nms_threshold: boxes with a higher IoU than this were suppressed.
        detections_per_image: at most so many were kept.
        min_size, max_size: of the sides of the resized image; None if that is not known.
    """

    score_threshold: float
    nms_threshold: float
    detections_per_image: int
    min_size: int | None = None
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class FieldStatistics:
    """Differences of one field over all matched pairs.

    Each pair counts once, with the largest absolute difference among its values.

    Attributes:
        name: `scores`, `boxes`, `roi_masks` or `masks`.
        unit: unit of the four numbers that follow.
        max, mean, p99: over the pairs; 0 where there is no pair.
        limit: the tolerance.
        count: number of pairs.
        within: whether `max` is at most `limit`.
        worst: name of the image with the largest difference, None where there is no pair.
    """

    name: str
    unit: str
    max: float
    mean: float
    p99: float
    limit: float
    count: int
    within: bool
    worst: str | None


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A detection that only one side has, with the margins that may explain it.

    A pair that agrees but for its masks, since RoIAlign jumps there (see `flip_margins.py`), stands
    here too, once and as the reference's: its masks were left out of the comparison.

    Attributes:
        image: name of the image.
        side: `reference` or `candidate`: the side that has the detection.
        index: its position among the detections of that side.
        label: class name.
        score: its score; None if not finite.
        box: x1 y1 x2 y2 in pixels; None if not finite.
        kind: what explains it: `score threshold`, `nms threshold`, `nms tie`, `nms suppression`,
            `detection cap`, `sampling edge`, `proposal flip`; for defects `unexplained` or
            `not finite`.
        benign: True for a benign flip, False for a defect.
        score_margin: |score - score threshold|; None if not finite, or both sides have it.
        nms_margin: smallest |IoU - NMS threshold| to a detection of the other side that could
            suppress it; None if there is none.
        rank_margin: score above the lowest kept score of the other side (negative: below) if that
            side is at the cap on detections per image, else None.
        edge_margin: distance in pixels of a sampling point of the mask from the edge of the
            feature map; None unless that is what explains it.
        noise_margin: standard deviation of the noise on the RPN's logits and box deltas with which
            the reference agrees with the candidate on all of the image; None unless that is what
            explains it.
    """

    image: str
    side: str
    index: int
    label: str
    score: float | None
    box: tuple[float, float, float, float] | None
    kind: str
    benign: bool
    score_margin: float | None
    nms_margin: float | None
    rank_margin: float | None
    edge_margin: float | None = None
    noise_margin: float | None = None


@dataclass(frozen=True, slots=True)
class LowPaste:
    """A matched pair whose pasted masks overlap badly.

    Attributes:
        image: name of the image.
        index: position among the detections of the reference.
        iou: IoU of the two pasted masks.
        kind: `one-pixel paste shift` if the expanded boxes truncate to different integers, else
            `soft values at the threshold`; `unexplained` where the pixels are part of the verdict
            and neither explains them.
        benign: where soft masks were compared, whether it is such a shift with a margin within the
            box tolerance; where pixels were compared, whether they are explained.
        margin: distance in pixels to an integer, of the coordinates that truncate differently;
            None if none does.
    """

    image: str
    index: int
    iou: float
    kind: str
    benign: bool
    margin: float | None


@dataclass(frozen=True, slots=True)
class PastedMasks:
    """IoU of pasted masks over matched pairs; reported beside the verdict, never part of it.

    Where a side has no soft masks, the verdict rests on the field `masks`, which knows what
    explains a low IoU; these are the bare numbers.

    Attributes:
        count: number of pairs.
        min_iou, mean_iou: over the pairs; 1 where there is no pair.
        low: the pairs with a low IoU.
    """

    count: int
    min_iou: float
    mean_iou: float
    low: tuple[LowPaste, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was compared.

    Attributes:
        images: image pairs.
        empty_images: image pairs without a detection on either side.
        reference, candidate: detections per side.
        matched: pairs of detections that were compared field by field.
        benign_flips: unmatched detections that a margin explains, and pairs whose masks cannot be
            compared; where masks were compared as pixels, also pairs whose low IoU is explained.
        defects: unmatched detections that none explains, and matched pairs beyond a limit.
    """

    images: int
    empty_images: int
    reference: int
    candidate: int
    matched: int
    benign_flips: int
    defects: int


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The verdict of `compare` and everything it rests on; true if the two sides agree.

    Attributes:
        passed: no defect, every field within its limit, and something was compared.
        reason: one clause that says why.
        counts: how much was compared.
        fields: statistics of scores, boxes, and roi_masks or masks.
        pasted: IoU of pasted masks, for information.
        unmatched: every detection that only one side has, and pairs whose masks cannot be compared.
        tolerances: the limits that were applied.
        settings: the thresholds that were assumed.
    """

    passed: bool
    reason: str
    counts: Counts
    fields: tuple[FieldStatistics, ...]
    pasted: PastedMasks
    unmatched: tuple[Unmatched, ...]
    tolerances: Tolerances
    settings: Settings

    def __bool__(self) -> bool:
        return self.passed

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON; all numbers are finite."""
        return dataclasses.asdict(self)

    def summary(self) -> str:
        """The verdict as one line."""
        verdict = "parity passed" if self.passed else "parity FAILED"
        pairs = pluralize(self.counts.matched, "pair")
        images = pluralize(self.counts.images, "image")
        worst = ", ".join(f"{f.name} {f.max:.2g} (limit {f.limit:g} {f.unit})" for f in self.fields)
        return (
            f"{verdict}: {self.reason}; {pairs} on {images}; "
            f"largest differences: {worst}; pasted masks IoU >= {self.pasted.min_iou:.4f}"
        )

    def table(self) -> Table:
        """The statistics as a rich table."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="Parity", caption=Text(self.reason), title_justify="left")
        table.add_column("field")
        for heading in ("max", "mean", "p99", "limit", "pairs"):
            table.add_column(heading, justify="right")
        table.add_column("unit")
        table.add_column("verdict")
        for field in self.fields:
            numbers = (f"{value:.3g}" for value in (field.max, field.mean, field.p99, field.limit))
            verdict = "[green]within[/]" if field.within else "[red]beyond[/]"
            table.add_row(field.name, *numbers, str(field.count), field.unit, verdict)
        lowest, mean = f"min {self.pasted.min_iou:.4f}", f"{self.pasted.mean_iou:.4f}"
        table.add_row("pasted masks", lowest, mean, "", "", str(self.pasted.count), "IoU", "")
        flips, defects = self.counts.benign_flips, self.counts.defects
        table.add_row("benign flips", *[""] * 4, str(flips), "", "")
        table.add_row("defects", *[""] * 4, str(defects), "", "[red]defect[/]" if defects else "")
        return table
