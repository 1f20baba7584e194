"""What the files of a run tell: its settings, its history, what it has cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pedseg_runtime.errors import TrainingError

from ..run_folder import RunFolder
from .plots import Record


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as its recipe.json and metrics.jsonl have it.

    Attributes:
        recipe: setting -> value.
        overrides: lines `name: preset's -> the run's`.
        history: one record per epoch, at least one.
    """

    recipe: dict[str, Any]
    overrides: list[str]
    history: list[Record]

    @classmethod
    def read(cls, folder: RunFolder) -> RunFacts:
        """Read a run's folder.

        Raises:
            TrainingError: it is none, or no epoch of it has finished.
        """
        try:
            settings = json.loads(folder.recipe.read_text(encoding="utf-8"))
            lines = folder.metrics.read_text(encoding="utf-8").splitlines()
            history = [json.loads(line) for line in lines]
            facts = cls(dict(settings["recipe"]), list(settings["overrides"]), history)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{folder.root}: expected a run with {folder.recipe.name} and "
                f"{folder.metrics.name}, found none that can be read ({error}); train it first"
            ) from error
        if not history:
            raise TrainingError(
                f"{folder.metrics}: expected the record of an epoch, found none; train one first"
            )
        return facts

    @property
    def best_epoch(self) -> int:
        """The epoch whose checkpoint was kept: the highest mask AP, the earliest of equals."""
        best = max(self.history, key=lambda record: record["segm"]["AP"] or 0.0)
        return int(best["epoch"])

    @property
    def overridden(self) -> set[str]:
        """The settings that are not the preset's."""
        return {line.split(":", 1)[0] for line in self.overrides}

    @property
    def seconds(self) -> float:
        """Of all epochs, measuring included."""
        return float(sum(one["seconds"] + one["evaluation_seconds"] for one in self.history))

    def images_per_second(self, pictures: int) -> float:
        """In training, over all epochs of `pictures` pictures each."""
        seconds = float(sum(one["seconds"] for one in self.history))
        return pictures * len(self.history) / max(seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a page is about.

    Attributes:
        title: of the page: a run's or a file's name.
        model: the file that was measured.
        part: the pictures it was measured on.
        provider: what ran it; empty if unknown.
        seconds: that took; None if unknown.
        run: what trained it; None if unknown.
    """

    title: str
    model: str
    part: str
    provider: str
    seconds: float | None
    run: RunFacts | None
