"""Taking the times: warm-up apart, contenders interleaved, the device synchronised.

Every image is timed for all contenders before the next one comes (A B C, then B C A, ...), so that
a machine that grows hot or busy hits them alike, and nobody always follows the same neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError

Clock = Callable[[], float]
Image = NDArray[np.uint8]


class Running(Protocol):
    """A contender that is loaded and ready."""

    def infer(self, image: Image) -> Detections:
        """The timed work, on one image uint8 [H, W, 3] RGB."""


class Device(Protocol):
    """What the harness needs to know of the device all contenders share."""

    def synchronise(self) -> None:
        """Return once everything that was handed to the device is done."""

    def reset_peak_memory(self) -> None:
        """Start a new measurement of the highest memory use."""

    def peak_memory(self) -> int | None:
        """Bytes at the highest since the reset; None where it cannot be known."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the calls before the timed ones took, in seconds.

    Attributes:
        load: from file to ready.
        first_call: the very first image.
        first_of_size: (height, width) -> the first image of that size; the first call's included.
        peak_memory: highest use of the device's memory while loading and warming up, in bytes, as
            far as torch can see it; None elsewhere.
    """

    load: float
    first_call: float
    first_of_size: dict[tuple[int, int], float]
    peak_memory: int | None


def timed_call(running: Running, image: Image, device: Device, clock: Clock) -> float:
    """Seconds for one call, from an idle device to an idle device."""
    device.synchronise()
    start = clock()
    running.infer(image)
    device.synchronise()
    return clock() - start


def warm_up(
    running: Running,
    images: Sequence[Image],
    *,
    calls: int,
    device: Device,
    clock: Clock = time.perf_counter,
) -> dict[tuple[int, int], float]:
    """Call a contender `calls` times on the first image of every size.

    Returns:
        (height, width) -> seconds of the first call on that size, in order of appearance.
    """
    if calls < 1:
        raise InputError(f"warm-up: expected at least one call per image size, found {calls}")
    first: dict[tuple[int, int], float] = {}
    for image in images:
        size = (image.shape[0], image.shape[1])
        if size not in first:
            first[size] = timed_call(running, image, device, clock)
            for _ in range(calls - 1):
                running.infer(image)
    return first


def run_rounds(
    contenders: Sequence[Running],
    images: Sequence[Image],
    *,
    rounds: int,
    device: Device,
    clock: Clock = time.perf_counter,
    advance: Callable[[], object] = lambda: None,
) -> NDArray[np.float64]:
    """Time every contender on every image, `rounds` times.

    Args:
        contenders: warmed up on every image size.
        images: uint8 [H, W, 3] RGB each, in memory.
        rounds: repetitions.
        device: what to synchronise around every call.
        clock: monotonic seconds.
        advance: called after every timed call.

    Returns:
        Seconds, float64 [contenders, rounds, images].
    """
    if rounds < 1:
        raise InputError(f"rounds: expected a positive number, found {rounds}")
    seconds = np.empty((len(contenders), rounds, len(images)))
    turn = 0
    for repetition in range(rounds):
        for position, image in enumerate(images):
            for place in range(len(contenders)):
                index = (turn + place) % len(contenders)
                seconds[index, repetition, position] = timed_call(
                    contenders[index], image, device, clock
                )
                advance()
            turn += 1
    return seconds
