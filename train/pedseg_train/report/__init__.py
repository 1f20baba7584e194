"""What a run and a model look like: an HTML page, plots, pictures, TensorBoard.

writing      `write_report` of a run, `write_model_report` of any model
page         what the page says, in which order; templates/ how it looks
tables       its tables, as rows
gallery      the best and the worst pictures
drawing      a picture's truth beside its detections
plots        curves and bars, on axes that somebody else made
svg          a plot as a part of the page
data_facts   pictures and instances of every part of a dataset
run_facts    what the files of a run tell
environment  what it ran on
tensorboard  scalars and panels while a run goes on

Names are loaded when first used: the pages need what training does not wait for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tensorboard import TensorBoard, open_tensorboard
    from .writing import write_model_report, write_report

__all__ = ["TensorBoard", "open_tensorboard", "write_model_report", "write_report"]

_MODULES = {
    "TensorBoard": "tensorboard",
    "open_tensorboard": "tensorboard",
    "write_model_report": "writing",
    "write_report": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
