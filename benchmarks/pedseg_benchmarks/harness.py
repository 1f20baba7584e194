"""Taking the times: warm-up apart, contenders interleaved, the device synchronised.

Every contender is first loaded, warmed up and checked for correctness. Then every image is timed
for all contenders before the next image (A B C, then B C A, ...), so that a machine that grows hot
or busy affects them alike, and no contender always follows the same neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.console import progress_bar
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError, InputError, PedsegError, first_line, summarize

from .contenders import Contender, Image
from .correctness import CorrectnessCheck, Verdict
from .results import NotRun
from .statistics import is_stable, window_length
from .workers import Worker, WorkerContext, peak_rss

DEFAULT_STABILITY = 5.0  # percent
SAVING = 10.0  # seconds


class ImagesFailedError(PedsegError):
    """A contender cannot run some of the images, but others.

    Attributes:
        reasons: position of the image -> why.
    """

    def __init__(self, contender: str, reasons: Mapping[int, str]) -> None:
        first = next(iter(reasons.values()))
        super().__init__(
            f"{contender}: expected to run every image, found {len(reasons)} that fail: {first}"
        )
        self.reasons = {at: f"{contender}: {reason}" for at, reason in reasons.items()}


@dataclass(frozen=True, slots=True)
class Timing:
    """One timed call.

    Attributes:
        seconds: by the host's clock, from an idle device to an idle device.
        device_seconds: by the device's own clock; None where it has none.
    """

    seconds: float
    device_seconds: float | None


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the calls before the timed ones took, in seconds.

    Attributes:
        first_call: the very first image.
        first_of_size: (height, width) -> the first image of that size; the first call's included.
        compile: of the calls in which a compiler ran, loading included; None where there is none.
        peak_memory: highest use of the device's memory while loading and warming up, in bytes, as
            far as torch can see it; None elsewhere.
    """

    first_call: float
    first_of_size: dict[tuple[int, int], float]
    compile: float | None
    peak_memory: int | None


@dataclass(frozen=True, slots=True)
class Rounds:
    """All timed calls.

    Attributes:
        seconds: float64 [contenders, rounds, images].
        device_seconds: the same by the device's clock; None where it has none.
        stable: per contender, whether its last three windows agree.
    """

    seconds: NDArray[np.float64]
    device_seconds: NDArray[np.float64] | None
    stable: list[bool]


def infer(context: WorkerContext, images: Sequence[Image]) -> list[Detections]:
    """Runs in a worker: detections of images, untimed."""
    return context.model.infer(images)


def timed_call(context: WorkerContext, images: Sequence[Image]) -> Timing:
    """Runs in a worker: one call, from an idle device to an idle device."""
    device, clock = context.device, context.clock
    device.synchronise()
    begin = device.mark()
    start = clock()
    context.model.infer(images)
    end = device.mark()
    device.synchronise()
    seconds = clock() - start
    return Timing(seconds, device.elapsed(begin, end))


def warm_up(context: WorkerContext, images: Sequence[Image], calls: int) -> WarmUp:
    """Runs in a worker: call a contender `calls` times on the first image of every size."""
    if calls < 1:
        raise InputError(f"warm-up: expected at least one call per image size, found {calls}")
    first: dict[tuple[int, int], float] = {}
    for image in images:
        size = (image.shape[0], image.shape[1])
        if size not in first:
            first[size] = timed_call(context, [image]).seconds
            for _ in range(calls - 1):
                context.model.infer([image])
    return WarmUp(
        first_call=next(iter(first.values())),
        first_of_size=first,
        compile=context.model.compile_seconds,
        peak_memory=context.device.peak_memory(),
    )


@dataclass(frozen=True, slots=True)
class LoadedContender:
    """A contender that was loaded, warmed up and checked.

    Attributes:
        name: of the contender.
        worker: runs it.
        warm_up: times of the first calls.
        detections: one entry per image.
        verdict: on its detections.
        peak_rss: most bytes of its own process, None if it has none.
    """

    name: str
    worker: Worker
    warm_up: WarmUp
    detections: list[Detections]
    verdict: Verdict
    peak_rss: int | None


def load_contenders(
    contenders: Sequence[Contender],
    images: Sequence[Image],
    *,
    check: CorrectnessCheck,
    warmup: int,
    start_worker: Callable[[Contender], Worker],
    stack: ExitStack,
) -> tuple[list[LoadedContender], list[NotRun]]:
    """Load, warm up and check one contender after the other.

    Args:
        contenders: the reference (eager) first.
        images: uint8 [H, W, 3] RGB each.
        check: that has no reference yet.
        warmup: calls per contender and image size before the timed ones.
        start_worker: loads a contender.
        stack: closes all of them at its end.

    Returns:
        The contenders, and the optional ones that are not available here.

    Raises:
        ImagesFailedError: a contender that is not optional fails on some of the images.
        PedsegError: a contender that is not optional is not available.
    """
    loaded: list[LoadedContender] = []
    missing: list[NotRun] = []
    with progress_bar() as bar:
        for contender in bar.track(contenders, description="warm-up and verdict"):
            try:
                loaded.append(_load(contender, images, check, warmup, start_worker, stack))
            except DatasetError:
                raise
            except Exception as error:  # an optional contender may fail in any way it can
                if not contender.optional:
                    raise
                missing.append(NotRun(contender.name, first_line(summarize(error))))
    return loaded, missing


def _load(
    contender: Contender,
    images: Sequence[Image],
    check: CorrectnessCheck,
    warmup: int,
    start_worker: Callable[[Contender], Worker],
    stack: ExitStack,
) -> LoadedContender:
    with ExitStack() as own:
        worker = start_worker(contender)
        own.callback(worker.close)
        try:
            warm = worker.run(warm_up, images, warmup)
        except Exception as error:
            _blame_images(contender.name, worker, images, error)
            warm = worker.run(warm_up, images, warmup)  # it was none of them
        found = _infer_each(contender.name, worker, images)
        verdict = check(contender.name, worker.info.precision, found, partial(_infer_one, worker))
        rss = worker.run(peak_rss) if worker.isolated else None
        stack.push(own.pop_all())
    return LoadedContender(contender.name, worker, warm, found, verdict, rss)


def _infer_each(name: str, worker: Worker, images: Sequence[Image]) -> list[Detections]:
    """Detections of each image; raises ImagesFailedError if only some of them fail."""
    found: list[Detections] = []
    errors: dict[int, Exception] = {}
    for position, image in enumerate(images):
        try:
            found.append(_infer_one(worker, image))
        except Exception as error:  # any: it is this image's
            errors[position] = error
    if not errors:
        return found
    first = next(iter(errors.values()))
    if len(errors) == len(images):
        raise first
    reasons = {position: first_line(summarize(error)) for position, error in errors.items()}
    raise ImagesFailedError(name, reasons) from first


def _blame_images(name: str, worker: Worker, images: Sequence[Image], error: Exception) -> None:
    """Raise ImagesFailedError after `error` if some images fail, `error` itself if all do."""
    try:
        _infer_each(name, worker, images)
    except ImagesFailedError:
        raise
    except Exception:  # all of them: the contender is at fault
        raise error from None


def time_contenders(
    contenders: Sequence[LoadedContender],
    images: Sequence[Image],
    *,
    rounds: int,
    stability: float | None = None,
    between: Callable[[], object] | None = None,
    save: Callable[[Rounds], object] | None = None,
) -> Rounds:
    """Time contenders in turn, with a progress bar.

    Args:
        contenders: that passed the check, eager first.
        images: uint8 [H, W, 3] RGB each, the ones of the check.
        rounds: most timed calls per contender and image.
        stability: see `run_rounds`.
        between: see `run_rounds`.
        save: see `run_rounds`.
    """
    with progress_bar() as bar:
        task = bar.add_task("timed calls", total=len(contenders) * rounds * len(images))
        return run_rounds(
            [contender.worker for contender in contenders],
            images,
            rounds=rounds,
            stability=stability,
            advance=lambda: bar.advance(task),
            between=between,
            save=save,
        )


def run_rounds(
    workers: Sequence[Worker],
    images: Sequence[Image],
    *,
    rounds: int,
    stability: float | None = None,
    advance: Callable[[], object] = lambda: None,
    between: Callable[[], object] | None = None,
    save: Callable[[Rounds], object] | None = None,
) -> Rounds:
    """Time every contender on every image, at most `rounds` times.

    Args:
        workers: of contenders, warmed up on every image size.
        images: uint8 [H, W, 3] RGB each, in memory.
        rounds: most repetitions.
        stability: stop early when the medians of the last three windows of rounds agree within
            so many percent, for every contender; None runs all rounds and judges by 5 %.
        advance: called after every timed call.
        between: called after every round, while no contender runs.
        save: given the rounds so far after the first and then every `SAVING` seconds.
    """
    if rounds < 1:
        raise InputError(f"rounds: expected a positive number, found {rounds}")
    seconds = np.full((len(workers), rounds, len(images)), np.nan)
    device = np.full_like(seconds, np.nan)
    window, percent = window_length(rounds), DEFAULT_STABILITY if stability is None else stability
    done, turn, saved = 0, 0, float("-inf")
    stable = [False] * len(workers)
    for repetition in range(rounds):
        for position, image in enumerate(images):
            for offset in range(len(workers)):
                index = (turn + offset) % len(workers)
                try:
                    timing = workers[index].run(timed_call, [image])
                except Exception as error:  # any: it is this image's
                    reasons = {position: first_line(summarize(error))}
                    raise ImagesFailedError(f"contender {index + 1}", reasons) from error
                seconds[index, repetition, position] = timing.seconds
                if timing.device_seconds is not None:
                    device[index, repetition, position] = timing.device_seconds
                advance()
            turn += 1
        if between is not None:
            between()
        done = repetition + 1
        stable = [is_stable(own[:done], window=window, percent=percent) for own in seconds]
        if stability is not None and all(stable):
            break
        if save is not None and time.monotonic() - saved > SAVING:
            save(_rounds(seconds, device, done, stable))
            saved = time.monotonic()
    return _rounds(seconds, device, done, stable)


def _rounds(
    seconds: NDArray[np.float64], device: NDArray[np.float64], done: int, stable: list[bool]
) -> Rounds:
    """The first `done` rounds."""
    seen = device[:, :done]
    return Rounds(seconds[:, :done], None if np.isnan(seen).any() else seen, stable)


def _infer_one(worker: Worker, image: Image) -> Detections:
    return worker.run(infer, [image])[0]
