"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .engine import Record, best_record
from .run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """The result of a finished run.

    Attributes:
        folder: its files.
        history: one record per epoch, as in metrics.jsonl.
        chosen_by: the part of the split that selected the best epoch, "val" or "test".
        test: the best checkpoint's numbers on the test images.
    """

    folder: RunFolder
    history: tuple[Record, ...]
    chosen_by: str
    test: dict[str, Any]

    @property
    def best(self) -> Record:
        """The record of the epoch that `best.safetensors` is from."""
        return best_record(self.history)

    def to_dict(self) -> dict[str, Any]:
        """Paths and the best epoch's numbers, as JSON types."""
        return {
            "run": str(self.folder.root),
            "best": str(self.folder.best),
            "last": str(self.folder.last),
            "epochs": len(self.history),
            "best_epoch": self.best["epoch"],
            "chosen_by": self.chosen_by,
            "bbox": self.best["bbox"],
            "segm": self.best["segm"],
            "test": self.test,
            "seconds": sum(r["seconds"] + r["evaluation_seconds"] for r in self.history),
        }
