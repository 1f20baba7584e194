"""Taking the times: warm-up apart, contenders interleaved, the device synchronised.

Every image is timed for all contenders before the next one comes (A B C, then B C A, ...), so that
a machine that grows hot or busy hits them alike, and nobody always follows the same neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError

from .contenders import Image as Image
from .seats import Place, Seat
from .stability import is_stable, window_length

DEFAULT_STABILITY = 5.0  # percent


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


def infer(place: Place, images: Sequence[Image]) -> list[Detections]:
    """Work for a seat: detections of images, untimed."""
    return place.loaded.infer(images)


def timed_call(place: Place, images: Sequence[Image]) -> Timing:
    """Work for a seat: one call, from an idle device to an idle device."""
    device, clock = place.device, place.clock
    device.synchronise()
    begin = device.mark()
    start = clock()
    place.loaded.infer(images)
    end = device.mark()
    device.synchronise()
    seconds = clock() - start
    return Timing(seconds, device.elapsed(begin, end))


def warm_up(place: Place, images: Sequence[Image], calls: int) -> WarmUp:
    """Work for a seat: call a contender `calls` times on the first image of every size."""
    if calls < 1:
        raise InputError(f"warm-up: expected at least one call per image size, found {calls}")
    first: dict[tuple[int, int], float] = {}
    for image in images:
        size = (image.shape[0], image.shape[1])
        if size not in first:
            first[size] = timed_call(place, [image]).seconds
            for _ in range(calls - 1):
                place.loaded.infer([image])
    return WarmUp(
        first_call=next(iter(first.values())),
        first_of_size=first,
        compile=place.loaded.compile_seconds,
        peak_memory=place.device.peak_memory(),
    )


def run_rounds(
    seats: Sequence[Seat],
    images: Sequence[Image],
    *,
    rounds: int,
    stability: float | None = None,
    advance: Callable[[], object] = lambda: None,
    between: Callable[[], object] | None = None,
) -> Rounds:
    """Time every contender on every image, at most `rounds` times.

    Args:
        seats: contenders, warmed up on every image size.
        images: uint8 [H, W, 3] RGB each, in memory.
        rounds: most repetitions.
        stability: stop early when the medians of the last three windows of rounds agree within
            so many percent, for every contender; None runs all rounds and judges by 5 %.
        advance: called after every timed call.
        between: called after every round, while no contender works.
    """
    if rounds < 1:
        raise InputError(f"rounds: expected a positive number, found {rounds}")
    seconds = np.full((len(seats), rounds, len(images)), np.nan)
    device = np.full_like(seconds, np.nan)
    window, percent = window_length(rounds), DEFAULT_STABILITY if stability is None else stability
    done, turn = 0, 0
    stable = [False] * len(seats)
    for repetition in range(rounds):
        for position, image in enumerate(images):
            for place in range(len(seats)):
                index = (turn + place) % len(seats)
                timing = seats[index].do(timed_call, [image])
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
    seen = device[:, :done]
    return Rounds(seconds[:, :done], None if np.isnan(seen).any() else seen, stable)
