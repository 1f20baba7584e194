"""Learning-rate schedules: the factor of every step."""

from __future__ import annotations

import math

_WARMUP_START = 1 / 1000  # factor at the first step, as in torchvision


def step_factor(
    epoch: int, step: int, steps: int, *, every: int, gamma: float, warmup: int
) -> float:
    """StepLR with torchvision's warm-up, which ends within the first epoch.

    Args:
        epoch: counted from 0.
        step: within the epoch, counted from 0.
        steps: in the epoch.
        every: epochs between two decays.
        gamma: factor of a decay.
        warmup: steps of linear warm-up; at most those of the first epoch.
    """
    decayed: float = gamma ** (epoch // every)
    warmup = min(warmup, steps - 1)
    if epoch > 0 or step >= warmup:
        return decayed
    return decayed * _warmup_factor(step, warmup)


def cosine_factor(
    epoch: int, step: int, steps: int, *, epochs: int, final: float, warmup: int
) -> float:
    """Half a cosine from 1 to `final` over the whole run (Loshchilov and Hutter 2016).

    Args:
        epoch: counted from 0.
        step: within the epoch, counted from 0.
        steps: in the epoch.
        epochs: of the whole run.
        final: factor at the end.
        warmup: steps of linear warm-up over as many epochs as they take; at most half of the run.
    """
    total = epochs * steps
    done = epoch * steps + step
    warmup = min(warmup, total // 2)
    if done < warmup:
        return _warmup_factor(done, warmup)
    share = (done - warmup) / max(1, total - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2


def _warmup_factor(step: int, warmup: int) -> float:
    return _WARMUP_START + (1 - _WARMUP_START) * step / warmup
