"""From contenders to rows: load and warm up everyone, prove parity, and only then take times."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.console import progress_bar
from pedseg_runtime.detections import Detections
from pedseg_runtime.files import sha256_of
from pedseg_runtime.parity import ParityReport, Settings, compare

from .contenders import Contender, Loaded
from .harness import Clock, Device, Image, WarmUp, run_rounds, warm_up
from .results import ContenderResult
from .statistics import speedup_over, summarise


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender that was loaded, warmed up and compared with eager.

    Attributes:
        contender: as it was given.
        loaded: ready to run.
        warm: times of loading and of the first calls.
        detections: one entry per image.
        parity: against eager; None for eager itself.
    """

    contender: Contender
    loaded: Loaded
    warm: WarmUp
    detections: list[Detections]
    parity: ParityReport | None

    @property
    def passed(self) -> bool:
        """Whether its answers are right, so that its times mean something."""
        return self.parity is None or self.parity.passed


def measure(
    contenders: Sequence[Contender],
    images: Sequence[Image],
    *,
    names: Sequence[str],
    settings: Settings,
    warmup: int,
    rounds: int,
    device: Device,
    clock: Clock = time.perf_counter,
) -> list[ContenderResult]:
    """Measure every contender whose detections agree with those of the first.

    Args:
        contenders: the reference (eager) first.
        images: uint8 [H, W, 3] RGB each.
        names: of the images, for the parity reports.
        settings: by which all contenders choose their detections.
        warmup: calls per contender and image size before the timed ones.
        rounds: timed calls per contender and image.
        device: shared by all contenders.
        clock: monotonic seconds.
    """
    with ExitStack() as stack, progress_bar() as bar:
        entrants: list[Entrant] = []
        for contender in bar.track(contenders, description="warm-up and parity"):
            loaded, warm = _start(contender, images, warmup, device, clock, stack)
            found = [loaded.infer(image) for image in images]
            parity = None
            if entrants:
                truth = entrants[0].detections
                parity = compare(truth, found, names=names, **dataclasses.asdict(settings))
            entrants.append(Entrant(contender, loaded, warm, found, parity))
        timed = [entrant for entrant in entrants if entrant.passed]
        task = bar.add_task("timed calls", total=len(timed) * rounds * len(images))
        seconds = run_rounds(
            [entrant.loaded for entrant in timed],
            images,
            rounds=rounds,
            device=device,
            clock=clock,
            advance=lambda: bar.advance(task),
        )
    times = dict(zip((entrant.contender.name for entrant in timed), seconds, strict=True))
    return [
        _row(entrant, times.get(entrant.contender.name), times[contenders[0].name])
        for entrant in entrants
    ]


def _start(
    contender: Contender,
    images: Sequence[Image],
    warmup: int,
    device: Device,
    clock: Clock,
    stack: ExitStack,
) -> tuple[Loaded, WarmUp]:
    """Load one contender and call it on every image size; `stack` closes it at the end."""
    device.reset_peak_memory()
    start = clock()
    loaded = contender.load()
    device.synchronise()
    load = clock() - start
    stack.callback(loaded.close)
    first = warm_up(loaded, images, calls=warmup, device=device, clock=clock)
    warm = WarmUp(
        load=load,
        first_call=next(iter(first.values())),
        first_of_size=first,
        peak_memory=device.peak_memory(),
    )
    return loaded, warm


def _row(
    entrant: Entrant, seconds: NDArray[np.float64] | None, eager: NDArray[np.float64]
) -> ContenderResult:
    """One row of the report; `seconds` [rounds, images] is None for who was not timed."""
    contender, loaded = entrant.contender, entrant.loaded
    warm, parity = entrant.warm, entrant.parity
    return ContenderResult(
        name=contender.name,
        format=loaded.format,
        precision=loaded.precision,
        provider=loaded.provider,
        placement=None,
        sha256=sha256_of(contender.path),
        size_bytes=contender.path.stat().st_size,
        detections=[len(found) for found in entrant.detections],
        parity=parity.to_dict() if parity is not None else None,
        accuracy=None,
        gate=None,
        judged_by="truth" if parity is None else "parity",
        passed=entrant.passed,
        load_ms=warm.load * 1e3,
        first_call_ms=warm.first_call * 1e3,
        first_of_size_ms={f"{h}x{w}": value * 1e3 for (h, w), value in warm.first_of_size.items()},
        peak_memory_bytes=warm.peak_memory,
        peak_rss_bytes=None,
        latency=summarise(seconds) if seconds is not None else None,
        speedup=(
            speedup_over(eager, seconds) if seconds is not None and parity is not None else None
        ),
        stable=None,
        samples_ms=(seconds * 1e3).tolist() if seconds is not None else [],
    )
