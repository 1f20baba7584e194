"""The records of finished epochs, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]


def best_record(history: Sequence[Record]) -> Record:
    """The record with the highest mask AP, the earliest of equals."""
    return max(history, key=lambda record: record["segm"]["AP"] or 0.0)


def is_exhausted(history: Sequence[Record], patience: int) -> bool:
    """Whether `patience` epochs have passed without a better mask AP; 0 has no end."""
    if not patience or not history:
        return False
    return bool(history[-1]["epoch"] - best_record(history)["epoch"] >= patience)
