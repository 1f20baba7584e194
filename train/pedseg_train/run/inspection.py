"""A look at the data before a training: what would fail later, and what is left out."""

from __future__ import annotations

import shlex

import numpy as np

from pedseg_runtime.console import progress_bar
from pedseg_runtime.errors import DatasetError

from ..data import Split
from ..data.check import Look, look_at
from ..data.coco.check import only_crowds
from .dataset import RunData, selection_part
from .writer import Notify

MOST = 1000  # images; of more, as many are looked at, spread evenly
_WARNINGS = 3


def inspect_run(data: RunData, split: Split, notify: Notify) -> None:
    """Look at a run's images and masks, and say in a line what is left out.

    Args:
        data: the dataset.
        split: its parts.
        notify: called with a line for what is left out, and one for each kind of warning.

    Raises:
        DatasetError: an image or a mask that cannot be used, or nothing to learn from.
    """
    positions = sorted({*split.train, *split.val, *split.test})
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(len(positions), MOST)).astype(int))
    looked = [positions[place] for place in chosen]
    with progress_bar() as bar:
        task = bar.add_task("Looking at the data", total=len(looked))
        look = look_at(
            data.dataset.labelled_images,
            looked,
            progress=lambda done, _total: bar.update(task, completed=done),
        )
    command = f"`{shlex.join(['pedseg-data', 'check', str(data.root)])}`"
    _refuse_errors(data, look, command)
    _refuse_nothing(data, split, look)
    part, selecting = selection_part(split)
    if selecting and not any(look.learnable.get(position) for position in selecting):
        notify(f"no labelled instance in the {part} images: their AP cannot be measured")
    _tell(look, command, notify)


def _refuse_errors(data: RunData, look: Look, command: str) -> None:
    errors = look.report.errors
    if not errors:
        return
    more = f" (and {len(errors) - 1} more; {command} lists them)" if len(errors) > 1 else ""
    first = errors[0]
    at = data.root if data.root.name == first.file else data.root / first.file
    raise DatasetError(f"{at}: {first.message}{more}")


def _refuse_nothing(data: RunData, split: Split, look: Look) -> None:
    looked = [position for position in split.train if position in look.learnable]
    if any(look.learnable[position] for position in looked) or len(looked) < len(split.train):
        return
    if look.report.crowds and not look.report.instances:
        raise DatasetError(f"{data.root}: {only_crowds(look.report.crowds)}")
    where = "all masks are empty" if not look.report.instances else "none of their masks has one"
    raise DatasetError(
        f"{data.root}: expected instances to learn from in the {len(split.train)} training images, "
        f"found none: {where}; label some, or split anew"
    )


def _tell(look: Look, command: str, notify: Notify) -> None:
    parts = [f"{look.report.crowds} crowd regions"] if look.report.crowds else []
    parts += [f"{count} instances ({reason})" for reason, count in look.dropped.values()]
    if parts:
        notify(f"left out: {', '.join(parts)}; {command} lists them")
    told = [
        (problem, more)
        for problem, more in look.report.grouped()
        if "not used" not in problem.message and "not trained on" not in problem.message
    ]
    for problem, more in told[:_WARNINGS]:
        alike = f" (and {more} more like it)" if more else ""
        notify(f"warning: {problem.file}: {problem.message}{alike}")
