"""The files written during training: checkpoints, metrics and the state to resume from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pedseg_runtime.files import replacing

from ..checkpoint import CheckpointHeader, save_checkpoint
from ..engine import Record, TrainingState, best_record
from ..recipes import Recipe
from ..report import run_images
from ..run_folder import RunFolder
from ..tensor_files import save_resume_state

Notify = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class RunWriter:
    """Writes into a run's folder.

    Attributes:
        folder: of the run.
        facts: the fields of a checkpoint's header besides model and accuracy.
        recipe: the settings.
        notify: called with one line per event.
    """

    folder: RunFolder
    facts: Mapping[str, Any]
    recipe: Recipe
    notify: Notify

    def save_epoch(self, state: TrainingState) -> None:
        """Write checkpoints and metrics, and last the resume state, which says what is finished."""
        record = state.history[-1]
        header = self._header(state)
        if best_record(state.history) is record:
            save_checkpoint(self.folder.best, state.measured, header)
        save_checkpoint(self.folder.last, state.measured, header)
        with replacing(self.folder.metrics) as temporary:
            lines = [json.dumps(entry, allow_nan=False) for entry in state.history]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.save_state(state)

    def save_state(self, state: TrainingState) -> None:
        """Write the state to resume from, also within an epoch."""
        save_resume_state(
            self.folder.resume, {"header": self._header(state).to_json(), **state.state_dict()}
        )

    def save_curves(self, state: TrainingState) -> None:
        """Draw the curves of all finished epochs."""
        run_images.save_curves(self.folder.curves, state.history)

    def notify_epoch(self, state: TrainingState) -> None:
        """Describe the last epoch in one line."""
        self.notify(_describe_epoch(state.history[-1], self.recipe))

    def _header(self, state: TrainingState) -> CheckpointHeader:
        record = state.history[-1] if state.history else None
        return CheckpointHeader.of(
            state.measured,
            epoch=len(state.history),
            metrics={kind: record[kind] for kind in ("bbox", "segm")} if record else {},
            **self.facts,
        )


def _describe_epoch(record: Record, recipe: Recipe) -> str:
    seconds = record["seconds"] + record["evaluation_seconds"]
    remaining = (recipe.epochs - record["epoch"]) * seconds
    numbers = ", ".join(
        f"{title} AP {'-' if record[kind]['AP'] is None else format(record[kind]['AP'], '.3f')}"
        for title, kind in (("box", "bbox"), ("mask", "segm"))
    )
    eta = f", about {remaining / 60:.1f} min left" if remaining else ""
    return (
        f"epoch {record['epoch']}/{recipe.epochs}: loss {record['losses']['loss']:.3f}, "
        f"{numbers}, {record['images_per_second']:.1f} img/s, {seconds:.0f} s{eta}"
    )
