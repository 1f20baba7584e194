"""Masks that are no maps of instance ids: what they are instead, and how to repair them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .protocol import Extents, extent_of

_VOID = 255  # PASCAL VOC marks the borders of objects by it
_FEWEST_EDGES = 3
_REPAIR = "docs/data.md shows how"


def id_extents(ids: NDArray[np.integer], label: int = 1) -> Extents:
    """Ids [H, W] -> where each instance is, ascending, one mask after the other in memory."""
    values = used_values(ids)
    values = values[values != 0]
    measured = [extent_of(ids == value) for value in values]
    return Extents(
        ids=values.astype(np.int64),
        labels=np.full(len(values), label, np.int64),
        crowd=np.zeros(len(values), np.bool_),
        boxes=np.array([box for box, _ in measured], np.int64).reshape(-1, 4),
        pixels=np.array([pixels for _, pixels in measured], np.int64),
    )


def used_values(ids: NDArray[np.integer]) -> NDArray[np.integer]:
    """The values in a mask, ascending; quicker than sorting where there are few."""
    if ids.dtype in (np.uint8, np.uint16):
        return np.flatnonzero(np.bincount(ids.ravel())).astype(ids.dtype)
    return np.unique(ids)


def id_map_fault(ids: NDArray[np.integer]) -> tuple[str, str] | None:
    """Severity and description of a mask [H, W] that holds no instance ids; None for an id map."""
    values = used_values(ids)
    found = [int(value) for value in values if value]
    if len(found) > 1 and len(found) == len(values):
        return "error", (
            f"expected 0 for the background, found no 0 but {_listed(found)}; subtract the "
            "background's value"
        )
    if len(found) == 1:
        return _single_fault(ids, found[0])
    if found and found[-1] == _VOID and found[:-1] == list(range(1, len(found))):
        return "error", (
            f"expected instance ids, found 1 to {len(found) - 1} and 255, which marks the borders "
            f"of objects in PASCAL VOC and would be one more person; set it to 0 ({_REPAIR})"
        )
    if found and found != list(range(1, len(found) + 1)):
        edges = len(found) - _solid(ids)
        if edges >= max(_FEWEST_EDGES, len(found) / 2):
            return "error", (
                f"expected a map of instance ids, found {len(found)} grey values of which {edges} "
                "are edges without an inside: a silhouette that was drawn with smooth edges, "
                f"resized or saved as JPEG; threshold it and number the people ({_REPAIR})"
            )
    return None


def _single_fault(ids: NDArray[np.integer], value: int) -> tuple[str, str] | None:
    share = float(np.count_nonzero(ids)) / ids.size
    if (ids[[0, 0, -1, -1], [0, -1, 0, -1]] == value).all() and 0.5 < share < 1:
        return "error", (
            f"expected 0 for the background, found {value} in all corners and {share:.0%} of the "
            "pixels; exchange 0 and the people's value"
        )
    if value == _VOID:
        return "warning", (
            "expected the ids 1 to N, found a white silhouette (0 and 255), whose people are one "
            f"instance together; number them if there are several ({_REPAIR})"
        )
    return None


def _solid(ids: NDArray[np.integer]) -> int:
    """How many values fill a square of 3x3 pixels somewhere."""
    same = ids[1:, 1:] == ids[:-1, 1:]
    same &= ids[1:, 1:] == ids[1:, :-1]
    same &= ids[1:, 1:] == ids[:-1, :-1]
    inner = same[1:, 1:] & same[:-1, 1:] & same[1:, :-1] & same[:-1, :-1]
    return int(np.count_nonzero(used_values(ids[2:, 2:][inner])))


def _listed(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"{shown}, ..." if len(values) > 8 else shown
