"""The same training with several seeds: mean and spread of the results."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import write_json

from ..recipes import Recipe
from ..run_folder import RunFolder
from .train import TrainedRun, train
from .writer import Notify

NUMBERS = (("bbox", "AP"), ("bbox", "AP50"), ("segm", "AP"), ("segm", "AP50"))
_TITLES = {"bbox": "box", "segm": "mask"}


@dataclass(frozen=True, slots=True)
class SeededRuns:
    """Runs that differ only in their seed.

    Attributes:
        root: the folder that holds theirs.
        seeds: one per run.
        runs: in the order of seeds.
    """

    root: Path
    seeds: tuple[int, ...]
    runs: tuple[TrainedRun, ...]

    @property
    def best(self) -> TrainedRun:
        """The run with the highest mask AP in its best epoch, the first of equals."""
        return max(self.runs, key=lambda run: run.best["segm"]["AP"] or 0.0)

    def spread(self) -> dict[str, dict[str, float | None]]:
        """Mean, standard deviation (n - 1), least and greatest of each number on the test images.

        None where a run lacks the number, and for the deviation of a single run.
        """
        return {
            f"{kind}_{name}": _spread([run.test[kind][name] for run in self.runs])
            for kind, name in NUMBERS
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {
            "run": str(self.root),
            "seeds": list(self.seeds),
            "spread": self.spread(),
            "runs": [run.to_dict() for run in self.runs],
        }

    def table(self) -> Table:
        """A row per seed, then mean and standard deviation; test images, for a terminal."""
        table = Table(title=f"test images, {len(self.runs)} seeds")
        table.add_column("seed")
        for kind, name in NUMBERS:
            table.add_column(f"{_TITLES[kind]} {name}", justify="right")
        for seed, run in zip(self.seeds, self.runs, strict=True):
            table.add_row(str(seed), *(_format(run.test[kind][name]) for kind, name in NUMBERS))
        table.add_section()
        spread = self.spread().values()
        table.add_row("mean", *(_format(numbers["mean"]) for numbers in spread))
        table.add_row("deviation", *(_format(numbers["deviation"]) for numbers in spread))
        return table


def train_seeds(
    count: int,
    *,
    output: Path,
    recipe: Recipe,
    resume: bool = False,
    split_file: Path | None = None,
    notify: Notify = lambda _line: None,
    **train_arguments: Any,
) -> SeededRuns:
    """Train with `count` seeds from the recipe's on, each in a folder of its own in `output`.

    All runs share the split of the first, so that the spread is that of training alone. The
    result is also written to `output`/seeds.json.

    Args:
        count: number of seeds, at least 1.
        output: new or empty, unless `resume`.
        recipe: its seed is the first.
        resume: resume the started runs and start the others.
        split_file: as for `train`.
        notify: called with one line per event.
        train_arguments: further arguments of `train`.

    Raises:
        InputError: a count below 1.
        PedsegError: as `train`.
    """
    if count < 1:
        raise InputError(f"seeds: expected at least 1, found {count}")
    seeds = tuple(range(recipe.seed, recipe.seed + count))
    runs: list[TrainedRun] = []
    for seed in seeds:
        folder = RunFolder(Path(output) / f"seed{seed}")
        notify(f"seed {seed}, {len(runs) + 1} of {count}: {folder.root}")
        started = resume and folder.resume.is_file()
        runs.append(
            train(
                output=folder.root,
                recipe=dataclasses.replace(recipe, seed=seed),
                resume=started,
                split_file=runs[0].folder.split if runs else split_file,
                notify=notify,
                **train_arguments,
            )
        )
    result = SeededRuns(Path(output), seeds, tuple(runs))
    write_json(Path(output) / "seeds.json", result.to_dict())
    return result


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return dict.fromkeys(("mean", "deviation", "least", "greatest"))
    return {
        "mean": statistics.fmean(known),
        "deviation": statistics.stdev(known) if len(known) > 1 else None,
        "least": min(known),
        "greatest": max(known),
    }


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
