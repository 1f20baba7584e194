"""The files of a training run, and the checks before a run starts or resumes in a folder.

RUN/recipe.json        the settings, what was overridden, the dataset's digest
RUN/split.json         images of train, val and test, by name
RUN/metrics.jsonl      one line per epoch: losses, learning rate, seconds, COCO numbers
RUN/best.safetensors   the checkpoint with the best mask AP
RUN/last.safetensors   the checkpoint of the last epoch
RUN/last.resume.pt     the training state for --resume
RUN/test.json          accuracy of the best checkpoint on the test images, if val selected it
RUN/curves.png         losses, learning rate and AP by epoch
RUN/report.html        data, recipe, curves, accuracy, best and worst images on one page
RUN/panel.png          test images: ground truth beside the best checkpoint's detections
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.errors import TrainingError
from pedseg_runtime.files import write_json

from .recipes import RECIPES, Recipe

SCHEMA_VERSION = 1


def _is_leftover(path: Path, settings: Collection[str]) -> bool:
    """Whether a run that saved no state leaves such a file."""
    return path.is_file() and (
        path.name in settings
        or path.name.startswith("events.out.tfevents.")
        or path.match(".*-????????.*")
    )


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
        """The images of train, val and test."""
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
        """The training state that a resumed run continues from."""
        return self.root / "last.resume.pt"

    @property
    def test(self) -> Path:
        """Accuracy of the best checkpoint on the test images."""
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
        """The HTML report."""
        return self.root / "report.html"

    def read_recipe(self) -> Recipe:
        """The recipe that the run began with."""
        return Recipe.from_dict(self._read_settings()["recipe"])

    def check_unused(self) -> None:
        """Raise TrainingError unless the folder is new, empty, or of a run that saved nothing.

        A run that failed before its first state has left its settings only; they are replaced.
        """
        settings = {self.recipe.name, self.split.name}
        if self.root.exists() and (
            not self.root.is_dir()
            or any(not _is_leftover(path, settings) for path in self.root.iterdir())
        ):
            raise TrainingError(
                f"{self.root}: expected a new or empty folder for the run, found one in use; "
                "choose another, or continue the run in it with --resume"
            )

    def check_writable(self) -> None:
        """Make the folder; raise TrainingError unless it is writable."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise TrainingError(
                f"{self.root}: expected a folder that can be written to, found "
                f"{error.strerror or error}; change its permissions or choose another --output"
            ) from error

    def remove_leftovers(self) -> None:
        """Remove the partial files of a killed process."""
        for leftover in self.root.glob(".*-????????.*"):  # the names that `replacing` gives
            leftover.unlink(missing_ok=True)

    def check_resumable(
        self, recipe: Recipe, digest: Mapping[str, str], processes: int = 1
    ) -> None:
        """Raise TrainingError if other data or settings would change the run's weights."""
        settings = self._read_settings()
        original = Recipe.from_dict(settings["recipe"])
        original_digest: dict[str, str] = settings["dataset_digest"]
        differences = original.resume_conflicts(recipe) + [
            f"content of {part}: {original_digest.get(part, 'nothing')[:12]} -> {found[:12]}"
            for part, found in digest.items()
            if original_digest.get(part) != found
        ]
        if settings["processes"] != processes:
            differences.append(f"processes: {settings['processes']} -> {processes}")
        if differences:
            raise TrainingError(
                f"{self.root}: expected the settings that the run began with, found "
                f"{'; '.join(differences)}; drop these options, or start another run"
            )

    def write_settings(self, recipe: Recipe, digest: Mapping[str, str], processes: int = 1) -> None:
        """Write recipe, overrides of its preset, dataset digest and number of processes."""
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
