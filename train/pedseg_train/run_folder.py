"""The files of a training run, and whether a folder may be begun in or continued.

RUN/recipe.json        the settings, what was overridden, the dataset's digest
RUN/split.json         which pictures train and which test, by name
RUN/metrics.jsonl      one line per epoch: losses, learning rate, seconds, COCO numbers
RUN/best.safetensors   the checkpoint with the best mask AP
RUN/last.safetensors   the checkpoint of the last epoch
RUN/last.resume.pt     what `resume` continues from
RUN/test.json          the best checkpoint on the test pictures, where others chose it
RUN/curves.png         losses, learning rate and AP by epoch
RUN/report.html        data, recipe, curves, accuracy, best and worst pictures on one page
RUN/panel.png          test pictures: ground truth beside the best checkpoint's detections
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.errors import TrainingError
from pedseg_runtime.files import write_json

from .recipes import RECIPES, Recipe

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder.

    Attributes:
        root: the folder; the properties are its files, see the module's docstring.
    """

    root: Path

    @property
    def recipe(self) -> Path:
        """The settings."""
        return self.root / "recipe.json"

    @property
    def split(self) -> Path:
        """Which pictures train and which test."""
        return self.root / "split.json"

    @property
    def metrics(self) -> Path:
        """One line per epoch."""
        return self.root / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """The checkpoint with the best mask AP."""
        return self.root / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.root / "last.safetensors"

    @property
    def resume(self) -> Path:
        """What a resumed training continues from."""
        return self.root / "last.resume.pt"

    @property
    def test(self) -> Path:
        """The best checkpoint on the test pictures."""
        return self.root / "test.json"

    @property
    def curves(self) -> Path:
        """Losses, learning rate and AP by epoch."""
        return self.root / "curves.png"

    @property
    def panel(self) -> Path:
        """Ground truth beside detections."""
        return self.root / "panel.png"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.root / "report.html"

    def read_recipe(self) -> Recipe:
        """The recipe that the run began with."""
        return Recipe.from_dict(self._read_settings()["recipe"])

    def check_unused(self) -> None:
        """Raise TrainingError unless the folder is new or empty."""
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise TrainingError(
                f"{self.root}: expected a new or empty folder for the run, found one in use; "
                "choose another, or continue the run in it with --resume"
            )

    def check_writable(self) -> None:
        """Make the folder; raise TrainingError where nothing can be written into it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise TrainingError(
                f"{self.root}: expected a folder that can be written to, found "
                f"{error.strerror or error}; change its permissions or choose another --output"
            ) from error

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for leftover in self.root.glob(".*-????????.*"):  # the names that `replacing` gives
            leftover.unlink(missing_ok=True)

    def check_same(self, recipe: Recipe, digest: Mapping[str, str], processes: int = 1) -> None:
        """Raise TrainingError if the run began with other data or settings that decide its path."""
        settings = self._read_settings()
        begun = Recipe.from_dict(settings["recipe"])
        before: dict[str, str] = settings["dataset_digest"]
        differences = begun.breaks(recipe) + [
            f"content of {part}: {before.get(part, 'nothing')[:12]} -> {found[:12]}"
            for part, found in digest.items()
            if before.get(part) != found
        ]
        if settings["processes"] != processes:
            differences.append(f"processes: {settings['processes']} -> {processes}")
        if differences:
            raise TrainingError(
                f"{self.root}: expected the settings that the run began with, found "
                f"{'; '.join(differences)}; drop these options, or start another run"
            )

    def write_settings(self, recipe: Recipe, digest: Mapping[str, str], processes: int = 1) -> None:
        """Record recipe, what it overrides of its preset, the dataset's digest, the processes."""
        write_json(
            self.recipe,
            {
                "schema_version": SCHEMA_VERSION,
                "recipe": recipe.to_dict(),
                "overrides": RECIPES[recipe.preset].differences(recipe),
                "dataset_digest": dict(digest),
                "processes": processes,
            },
        )

    def _read_settings(self) -> dict[str, Any]:
        try:
            settings = json.loads(self.recipe.read_text(encoding="utf-8"))
            if settings["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema {settings['schema_version']}")
            return {name: settings[name] for name in ("recipe", "dataset_digest", "processes")}
        except FileNotFoundError as error:
            raise TrainingError(
                f"{self.root}: expected a training run to continue, found no {self.recipe.name}; "
                "start it without --resume"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{self.recipe}: expected the settings of a run of schema {SCHEMA_VERSION} "
                f"({error!r}); start another run"
            ) from error
