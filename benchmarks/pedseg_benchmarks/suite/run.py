"""The suite from the first step to its report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import InputError
from pedseg_train.eager import resolve_device

from .layout import Layout
from .plan import Plan
from .runner import Budget, Outcome, Runner
from .summary import SuiteResult, write


def run_suite(
    folder: Path,
    *,
    device: str,
    minutes: float,
    threads: int | None = None,
    artifacts: Path | None = None,
    notify: Callable[[str], object] = lambda _line: None,
    on_outcome: Callable[[Outcome], object] = lambda _outcome: None,
) -> SuiteResult:
    """Run all steps that fit, and write the report; what an earlier run has done is reused.

    Args:
        folder: for everything that is made.
        device: "cpu", "cuda" or "cuda:N".
        minutes: the budget.
        threads: CPU threads of the contenders; None for torch's default.
        artifacts: the folder of another machine's suite, whose models are taken over.
        notify: is told which step begins.
        on_outcome: is told what became of each step.

    Raises:
        DeviceError: the device is not there.
        InputError: the budget is not positive, or `artifacts` has nothing to take.
    """
    place = parse_device(device)
    if place.kind not in ("cpu", "cuda"):
        raise InputError(f"device: expected cpu, cuda or cuda:N, found {device}")
    resolve_device(str(place))
    if minutes <= 0:
        raise InputError(f"budget: expected a positive number of minutes, found {minutes:g}")
    layout = Layout(folder)
    if artifacts is not None:
        layout.take_over(artifacts)
    plan = Plan(layout, str(place), threads)
    budget = Budget(total=60 * minutes)
    runner = Runner(folder, budget, notify)
    outcomes = []
    for step in plan.steps():
        outcome = runner(step)
        outcomes.append(outcome)
        on_outcome(outcome)
    made = runner.succeeded
    result = SuiteResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        device=str(place),
        budget_minutes=minutes,
        seconds=budget.spent,
        steps=outcomes,
        parts={
            name: str(layout.part(name).relative_to(folder)) for name in plan.parts if name in made
        },
    )
    write(result, folder)
    return result
