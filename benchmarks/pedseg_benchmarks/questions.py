"""What can be asked beyond one image at a time, and who answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pedseg_train.checkpoint import CheckpointHeader

from .contenders import Image
from .contenders.roster import Conditions
from .measuring import Entrant
from .sections import Sections


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What to measure beyond one image at a time; nothing by default."""


def answer(
    questions: Questions,
    entrants: Sequence[Entrant],
    images: Sequence[Image],
    conditions: Conditions,
    header: CheckpointHeader,
) -> Sections:
    """Measure what was asked, on contenders whose answers were judged right."""
    return Sections()
