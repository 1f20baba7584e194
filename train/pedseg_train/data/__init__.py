"""Datasets in the Penn-Fudan layout: reading, splitting, checking, making and fetching them.

The names below are loaded when first used: `pedseg-data` needs no torch and must not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contact_sheet import draw_contact_sheet
    from .digests import combined_digest, dataset_digest
    from .integrity import CheckReport, check_dataset
    from .pennfudan import PennFudanDataset
    from .splits import Split, read_split, tutorial_split, write_split
    from .transforms import evaluation_transform

__all__ = [
    "CheckReport",
    "PennFudanDataset",
    "Split",
    "check_dataset",
    "combined_digest",
    "dataset_digest",
    "draw_contact_sheet",
    "evaluation_transform",
    "read_split",
    "tutorial_split",
    "write_split",
]

_MODULES = {
    "CheckReport": "integrity",
    "PennFudanDataset": "pennfudan",
    "Split": "splits",
    "check_dataset": "integrity",
    "combined_digest": "digests",
    "dataset_digest": "digests",
    "draw_contact_sheet": "contact_sheet",
    "evaluation_transform": "transforms",
    "read_split": "splits",
    "tutorial_split": "splits",
    "write_split": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
