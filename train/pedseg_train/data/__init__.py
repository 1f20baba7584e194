"""Datasets in the Penn-Fudan layout and in COCO JSON: read, split, check, convert and make them.

The names below are imported on first use, so that `pedseg-data` starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contact_sheet import draw_contact_sheet
    from .conversion import Layout, convert
    from .dataset import CocoDataset, InstanceDataset, PennFudanDataset, open_dataset
    from .digests import combined_digest, dataset_digest
    from .integrity import check_dataset
    from .opening import open_pictures
    from .protocol import Dropped, Instances, LabelledPictures, SegmentationDataset
    from .report import CheckReport
    from .similarity import Leak, find_leaks
    from .splits import Split, read_split, tutorial_split, write_split
    from .splitting import fraction_split
    from .transforms import evaluation_transform

__all__ = [
    "CheckReport",
    "CocoDataset",
    "Dropped",
    "InstanceDataset",
    "Instances",
    "LabelledPictures",
    "Layout",
    "Leak",
    "PennFudanDataset",
    "SegmentationDataset",
    "Split",
    "check_dataset",
    "combined_digest",
    "convert",
    "dataset_digest",
    "draw_contact_sheet",
    "evaluation_transform",
    "find_leaks",
    "fraction_split",
    "open_dataset",
    "open_pictures",
    "read_split",
    "tutorial_split",
    "write_split",
]

_MODULES = {
    "CheckReport": "report",
    "CocoDataset": "dataset",
    "Dropped": "protocol",
    "InstanceDataset": "dataset",
    "Instances": "protocol",
    "LabelledPictures": "protocol",
    "Layout": "conversion",
    "Leak": "similarity",
    "PennFudanDataset": "dataset",
    "SegmentationDataset": "protocol",
    "Split": "splits",
    "check_dataset": "integrity",
    "combined_digest": "digests",
    "convert": "conversion",
    "dataset_digest": "digests",
    "draw_contact_sheet": "contact_sheet",
    "evaluation_transform": "transforms",
    "find_leaks": "similarity",
    "fraction_split": "splitting",
    "open_dataset": "dataset",
    "open_pictures": "opening",
    "read_split": "splits",
    "tutorial_split": "splits",
    "write_split": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
