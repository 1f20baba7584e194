"""What can be asked beyond one image at a time, and who answers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from .contenders import Image
from .contenders.roster import Conditions
from .measuring import Entrant
from .results import NotRun
from .scenarios.coldstart import cold_start
from .scenarios.offline import offline
from .scenarios.server import Load, server
from .scenarios.stages import stages
from .sections import Sections
from .surfaces.latency import Resize, fit, surface


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What to measure beyond one image at a time; nothing by default.

    Attributes:
        batches: images per call in the offline scenario; empty for none.
        load: of the server scenario; None for none.
        is_surface: whether latency is wanted over detections and image size.
        cold_starts: processes to start per contender; 0 for none.
        is_staged: whether the stages of a request are wanted.
        is_limited: whether the machine's own rates are wanted, and the share of them reached.
        calls: timed calls per contender and batch size, point of the surface, or stage.
    """

    batches: tuple[int, ...] = ()
    load: Load | None = None
    is_surface: bool = False
    cold_starts: int = 0
    is_staged: bool = False
    is_limited: bool = False
    calls: int = 5


def answer(
    questions: Questions,
    entrants: Sequence[Entrant],
    images: Sequence[Image],
    conditions: Conditions,
    resize: Resize,
) -> tuple[Sections, list[NotRun]]:
    """Measure what was asked, on contenders whose answers were judged right.

    Returns:
        The answers, and what could not be had.
    """
    sections, calls = Sections(), questions.calls
    missing: list[NotRun] = []
    ready = list(entrants)
    if questions.batches or questions.is_surface:
        reasons = {entrant.name: _cost_of_new_shapes(entrant) for entrant in entrants}
        ready = [entrant for entrant in entrants if not reasons[entrant.name]]
        missing += [
            NotRun(f"{name}, other shapes", reason) for name, reason in reasons.items() if reason
        ]
    if questions.batches:
        rows, lacking = offline(ready, images, batches=questions.batches, calls=calls)
        sections = dataclasses.replace(sections, offline=rows)
        missing += lacking
    if questions.load is not None:
        trials, lacking = server(entrants, images, questions.load)
        sections = dataclasses.replace(sections, server=trials)
        missing += lacking
    if questions.is_surface and ready:
        points = surface(ready, images, calls=calls)
        sections = dataclasses.replace(sections, surface=points, cost=fit(points, resize))
    if questions.cold_starts:
        starts = cold_start(entrants, images[0], conditions, processes=questions.cold_starts)
        sections = dataclasses.replace(sections, cold_start=starts)
    if questions.is_staged:
        times = stages(entrants, images[0], device=conditions.device, calls=calls)
        sections = dataclasses.replace(sections, stages=times)
    return sections, missing


def _cost_of_new_shapes(entrant: Entrant) -> str:
    """Why a contender is not asked about shapes that it has not seen; empty if it can be."""
    if entrant.warm.compile is not None:
        return "torch.compile would compile anew for them, which takes a minute each"
    if entrant.seat.facts.provider.startswith("Tensorrt"):
        return "TensorRT would build an engine for each, which takes minutes"
    return ""
