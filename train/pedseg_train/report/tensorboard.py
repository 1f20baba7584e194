"""Scalars and panels for TensorBoard while a run goes on, where the package is installed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from .facts import Record

FOLDER = "tensorboard"
HINT = (
    "TensorBoard is not installed, so that nothing is written for it; get it by "
    'pip install "pedseg[tensorboard]"'
)


class State(Protocol):
    """What an observer of training is shown."""

    @property
    def history(self) -> list[Record]:
        """One record per finished epoch."""


class TensorBoard:
    """Writes each epoch's numbers; an observer of training.

    Args:
        folder: for the event files.
        done: epochs that are finished already; what an earlier process wrote of later ones, before
            it was interrupted, is dropped.
    """

    def __init__(self, folder: Path, *, done: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def __call__(self, state: State) -> None:
        """Write the last finished epoch."""
        self.after_epoch(state.history[-1])

    def after_epoch(self, record: Record, *, panel: Path | None = None) -> None:
        """Write one epoch's record.

        Args:
            record: losses, learning rate, AP and times of the epoch.
            panel: an image of truth beside detections, to be shown with it.
        """
        epoch = int(record["epoch"])
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, epoch)
        if panel is not None:
            self.add_panel(panel, epoch)
        self._writer.flush()

    def add_panel(self, path: Path, epoch: int) -> None:
        """Show an image under `panel`."""
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image("panel", pixels, epoch, dataformats="HWC")

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()


def open_tensorboard(
    folder: Path, *, done: int = 0, notify: Callable[[str], object]
) -> TensorBoard | None:
    """A `TensorBoard` that writes into `folder`/tensorboard; None without the package.

    Args:
        folder: of the run.
        done: epochs that are finished already.
        notify: is told how to look at it, or how to get it.
    """
    if importlib.util.find_spec("tensorboard") is None:
        notify(HINT)
        return None
    notify(f"to watch: tensorboard --logdir {folder / FOLDER}")
    return TensorBoard(folder / FOLDER, done=done)


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """What is drawn of an epoch's record, by TensorBoard's name.

    Numbers without meaning are left out.
    """
    values = {
        **{f"loss/{_loss(name)}": value for name, value in record["losses"].items()},
        **{
            f"{title}/{number}": record[kind][number]
            for kind, title in (("bbox", "box"), ("segm", "mask"))
            for number in record[kind]
        },
        "learning_rate": record["lr"],
        "time/training_seconds": record["seconds"],
        "time/measuring_seconds": record["evaluation_seconds"],
        "time/images_per_second": record.get("images_per_second"),
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _loss(name: str) -> str:
    return "sum" if name == "loss" else re.sub(r"^loss_", "", name)
