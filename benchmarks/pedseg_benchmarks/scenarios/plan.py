"""What to measure beyond one image at a time, and measuring it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ..contenders import Image
from ..contenders.registry import Conditions
from ..harness import LoadedContender
from ..results import NotRun
from ..scenario_results import ScenarioResults
from .cold_start import cold_start
from .offline import offline
from .server import Load, server
from .stages import stages
from .surfaces import Resize, fit, surface


@dataclass(frozen=True, kw_only=True)
class MeasurementPlan:
    """What to measure beyond one image at a time; nothing by default.

    Attributes:
        batches: images per call in the offline scenario; empty to leave it out.
        load: of the server scenario; None to leave it out.
        surface: measure latency over detections and image size.
        cold_starts: processes to start per contender; 0 for none.
        stages: measure the stages of a request.
        roofline: measure the machine's own rates, and the share of them that contenders reach.
        calls: timed calls per contender and batch size, point of the surface, or stage.
    """

    batches: tuple[int, ...] = ()
    load: Load | None = None
    surface: bool = False
    cold_starts: int = 0
    stages: bool = False
    roofline: bool = False
    calls: int = 5


def measure_scenarios(
    plan: MeasurementPlan,
    contenders: Sequence[LoadedContender],
    images: Sequence[Image],
    conditions: Conditions,
    resize: Resize,
) -> tuple[ScenarioResults, list[NotRun]]:
    """Measure the scenarios of a plan; the roofline, which needs the rows, is not among them.

    Args:
        plan: what to measure.
        contenders: that passed the correctness check, eager first.
        images: uint8 [H, W, 3] RGB each.
        conditions: of the benchmark.
        resize: the network's resize rule.

    Returns:
        The results, and the scenarios that some contenders were left out of.
    """
    found, calls = ScenarioResults(), plan.calls
    missing: list[NotRun] = []
    flexible = list(contenders)
    if plan.batches or plan.surface:
        reasons = {contender.name: _cost_of_new_shapes(contender) for contender in contenders}
        flexible = [contender for contender in contenders if not reasons[contender.name]]
        missing += [
            NotRun(f"{name}, other shapes", reason) for name, reason in reasons.items() if reason
        ]
    if plan.batches:
        rows, lacking = offline(flexible, images, batches=plan.batches, calls=calls)
        found = dataclasses.replace(found, offline=rows)
        missing += lacking
    if plan.load is not None:
        trials, lacking = server(contenders, images, plan.load)
        found = dataclasses.replace(found, server=trials)
        missing += lacking
    if plan.surface and flexible:
        points = surface(flexible, images, calls=calls)
        found = dataclasses.replace(found, surface=points, cost=fit(points, resize))
    if plan.cold_starts:
        starts = cold_start(contenders, images[0], conditions, processes=plan.cold_starts)
        found = dataclasses.replace(found, cold_start=starts)
    if plan.stages:
        times = stages(contenders, images[0], device=conditions.device, calls=calls)
        found = dataclasses.replace(found, stages=times)
    return found, missing


def _cost_of_new_shapes(contender: LoadedContender) -> str:
    """Why a contender is not run on shapes that it has not seen; empty if it can be."""
    if contender.warm_up.compile is not None:
        return "torch.compile would compile anew for them, which takes a minute each"
    if contender.worker.info.provider.startswith("Tensorrt"):
        return "TensorRT would build an engine for each, which takes minutes"
    return ""
