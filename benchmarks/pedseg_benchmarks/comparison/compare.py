"""Pairs the contenders of two benchmarks by name and says which became slower."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.errors import InputError

from ..results import BenchmarkResult, ContenderResult
from ..statistics import FEW_ROUNDS, Change, change_between
from .differences import Comparison, Row, differences

RELATIVE, ABSOLUTE = "relative", "absolute"
RULER = "the ruler"
TOO_FEW = f"fewer than {FEW_ROUNDS} rounds, no verdict"
SAME, SLOWER, FASTER = "no difference shown", "slower", "faster"


def compare(
    old: BenchmarkResult,
    new: BenchmarkResult,
    *,
    threshold: float = 0.05,
    judge_by: str | None = None,
    allow_mismatch: bool = False,
) -> Comparison:
    """Compare two benchmarks of the same contenders on the same images.

    Something is slower only if the whole interval of its change lies beyond the threshold, so that
    noise and small drifts of the machine do not stop a pipeline.

    Args:
        old: the one to be compared with.
        new: the one to be judged.
        threshold: share, e.g. 0.05 for five percent; not negative.
        judge_by: `relative` or `absolute`; None for `relative` if both were measured beside eager.
        allow_mismatch: compare although machine, images or settings differ.

    Raises:
        InputError: the threshold is negative, the two cannot be compared, or no contender is in
            both.
    """
    if not threshold >= 0:
        raise InputError(f"threshold: expected a share of 0 or more, found {threshold}; try 5%")
    found = differences(old, new)
    decisive = [str(difference) for difference in found if difference.decisive]
    if decisive and not allow_mismatch:
        raise InputError(
            "expected two benchmarks of the same images and settings on the same kind of machine, "
            f"found {'; '.join(decisive)}; measure again, or compare them with --allow-mismatch"
        )
    rulers = _ruler(old), _ruler(new)
    judged_by = judge_by or (RELATIVE if None not in rulers else ABSOLUTE)
    if judged_by == RELATIVE and None in rulers:
        raise InputError(
            "judge_by: expected eager's times in both benchmarks to judge relative to them, found "
            "none; use --judge-by absolute"
        )
    after = {row.name: row for row in new.contenders}
    rows = [
        _row(row, after[row.name], rulers, threshold, judged_by)
        if row.name in after
        else _missing(row, new)
        for row in old.contenders
    ]
    if all(row.verdict == "missing" for row in rows):
        raise InputError(
            f"expected contenders of the same names in both, found "
            f"{', '.join(row.contender for row in rows)} and {', '.join(after)}; name them alike"
        )
    known = {row.name for row in old.contenders}
    rows += [
        Row(row.name, "new", regression=False, new_ms=_median(row))
        for row in new.contenders
        if row.name not in known
    ]
    return Comparison(old.created, new.created, threshold, judged_by, found, rows)


def _row(
    old: ContenderResult,
    new: ContenderResult,
    rulers: tuple[ContenderResult | None, ContenderResult | None],
    threshold: float,
    judged_by: str,
) -> Row:
    before, after = _times(old), _times(new)
    if before is None or after is None:
        return _without_times(old, new)
    is_ruler = old.judged_by == "truth"
    relative = None if is_ruler else _relative(before, after, rulers)
    absolute = change_between(*_alike(before, after))
    # A contender that was not measured in eager's rounds can only be judged by its own times.
    judged = relative if judged_by == RELATIVE and relative else absolute
    is_unit = is_ruler and judged_by == RELATIVE
    if is_unit:
        verdict = RULER
    elif min(len(before), len(after)) < FEW_ROUNDS:
        verdict = TOO_FEW
    else:
        verdict = _verdict(judged, threshold)
    return Row(
        old.name,
        verdict,
        regression=verdict == SLOWER,
        old_ms=_median(old),
        new_ms=_median(new),
        absolute=absolute,
        relative=relative,
        reason="its times never settled" if False in (old.stable, new.stable) else "",
    )


def _verdict(change: Change, threshold: float) -> str:
    if change.low > 1 + threshold:
        return SLOWER
    if change.high < 1 / (1 + threshold):
        return FASTER
    if change.low <= 1 <= change.high:
        return SAME
    return f"{SLOWER if change.ratio > 1 else FASTER}, not surely by {100 * threshold:g} %"


def _relative(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    rulers: tuple[ContenderResult | None, ContenderResult | None],
) -> Change | None:
    sides = []
    for own, ruler in zip((before, after), rulers, strict=True):
        eager = _times(ruler) if ruler else None
        if eager is None or eager.shape != own.shape:
            return None
        sides.append(own / eager)
    return change_between(*_alike(*sides))


def _alike(
    old: NDArray[np.float64], new: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as [rounds, images]; where the numbers of images differ, their geometric mean as one."""
    if old.shape[1] == new.shape[1]:
        return old, new
    one, other = (np.exp(np.log(values).mean(axis=1, keepdims=True)) for values in (old, new))
    return one, other


def _without_times(old: ContenderResult, new: ContenderResult) -> Row:
    """The row of a contender that at least one side did not time."""
    if old.passed and not new.passed:
        return Row(
            old.name, "newly failed", regression=True, old_ms=_median(old), reason=_reason(new)
        )
    if new.passed and not old.passed:
        return Row(old.name, "passes now", regression=False, new_ms=_median(new))
    if not new.passed:
        return Row(old.name, "failed in both", regression=False, reason=_reason(new))
    return Row(
        old.name, "not timed in both", regression=False, old_ms=_median(old), new_ms=_median(new)
    )


def _missing(row: ContenderResult, new: BenchmarkResult) -> Row:
    reasons = {missing.name: missing.reason for missing in new.not_run}
    reason = reasons.get(row.name, "not in the new benchmark")
    return Row(row.name, "missing", regression=False, old_ms=_median(row), reason=reason)


def _reason(row: ContenderResult) -> str:
    for verdict in (row.gate, row.parity):
        if row.reason:
            return row.reason
        if verdict and verdict.get("reason"):
            return str(verdict["reason"])
    return ""


def _ruler(result: BenchmarkResult) -> ContenderResult | None:
    """Eager, if it was timed."""
    return next(
        (row for row in result.contenders if row.judged_by == "truth" and row.samples_ms), None
    )


def _times(row: ContenderResult) -> NDArray[np.float64] | None:
    """Milliseconds [rounds, images]; None where there are none."""
    return np.array(row.samples_ms, float) if row.passed and row.samples_ms else None


def _median(row: ContenderResult) -> float | None:
    times = _times(row)
    return None if times is None else float(np.median(times))
