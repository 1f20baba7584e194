"""Datasets in the Penn-Fudan layout and in COCO JSON: read, split, check, convert and make them.

The names below are imported on first use, so that `pedseg-data` starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import check_dataset
    from .check_report import CheckReport
    from .contact_sheet import draw_contact_sheet
    from .conversion import Layout, convert
    from .dataset import CocoDataset, InstanceDataset, PennFudanDataset, open_dataset
    from .digests import combined_digest, dataset_digest
    from .loading import open_images
    from .protocol import Dropped, Instances, LabelledImages, SegmentationDataset
    from .similarity import Leak, find_leaks
    from .splits import Split, fraction_split, read_split, tutorial_split, write_split
    from .transforms import evaluation_transform

__all__ = [
    "CheckReport",
    "CocoDataset",
    "Dropped",
    "InstanceDataset",
    "Instances",
    "LabelledImages",
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
    "open_images",
    "read_split",
    "tutorial_split",
    "write_split",
]

_MODULES = {
    "CheckReport": "check_report",
    "CocoDataset": "dataset",
    "Dropped": "protocol",
    "InstanceDataset": "dataset",
    "Instances": "protocol",
    "LabelledImages": "protocol",
    "Layout": "conversion",
    "Leak": "similarity",
    "PennFudanDataset": "dataset",
    "SegmentationDataset": "protocol",
    "Split": "splits",
    "check_dataset": "check",
    "combined_digest": "digests",
    "convert": "conversion",
    "dataset_digest": "digests",
    "draw_contact_sheet": "contact_sheet",
    "evaluation_transform": "transforms",
    "find_leaks": "similarity",
    "fraction_split": "splits",
    "open_dataset": "dataset",
    "open_images": "loading",
    "read_split": "splits",
    "tutorial_split": "splits",
    "write_split": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
