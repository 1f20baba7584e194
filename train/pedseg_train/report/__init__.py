"""What a run and a model look like: an HTML page, plots, images, TensorBoard.

page         `write_report` of a run, `write_model_report` of any model; templates/ its looks
tables       its tables, as rows
plots        curves and bars, on given axes
gallery      the best and the worst images, truth beside detections
facts        of a run's files, of every part of a dataset, of the machine
tensorboard  scalars and panels while a run goes on

Names are loaded when first used: the pages need what training does not wait for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .page import write_model_report, write_report
    from .tensorboard import TensorBoard, open_tensorboard

__all__ = ["TensorBoard", "open_tensorboard", "write_model_report", "write_report"]

_MODULES = {
    "TensorBoard": "tensorboard",
    "open_tensorboard": "tensorboard",
    "write_model_report": "page",
    "write_report": "page",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
