"""Pictures that look the same: measured by a perceptual hash, grouped, and found across a split.

The hash is the difference hash: the picture is shrunk to 17x16 grey cells, and every bit says
whether a cell is darker than its right neighbour. It survives other sizes, compression, noise and
brightness. Of 120 street photographs, copies that were compressed, shrunk, brightened, made noisy
or cut by 1 % at each side differed by at most 29 of 256 bits, 25 in nearly all cases; no two
different photographs by fewer than 90.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.files import sha256_of

from .layout import Progress
from .protocol import LabelledPictures
from .splits import Split

SIDE = 16
BITS = SIDE * SIDE
LIMIT = 25  # bits; a tenth
_BLOCK = 1024


class Pair(NamedTuple):
    """Two pictures, by position, and the number of bits that their hashes differ by."""

    first: int
    second: int
    distance: int


@dataclass(frozen=True, slots=True)
class Leak:
    """Two pictures in different parts of a split that look the same.

    Attributes:
        first, second: their names.
        first_part, second_part: where they are: "train", "val" or "test".
        distance: bits of 256 that their hashes differ by.
        identical: whether the files are the same, to the byte.
    """

    first: str
    second: str
    first_part: str
    second_part: str
    distance: int
    identical: bool

    def __str__(self) -> str:
        how = (
            "is the same file as"
            if self.identical
            else f"looks like (distance {self.distance} of {BITS})"
        )
        return f"{self.first} in {self.first_part} {how} {self.second} in {self.second_part}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def difference_hash(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The hash of a picture uint8 [H, W, 3], bool [256]."""
    grey = Image.fromarray(picture).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    cells = np.asarray(grey)
    return np.asarray((cells[:, 1:] > cells[:, :-1]).ravel())


def picture_hashes(
    pictures: LabelledPictures, *, progress: Progress | None = None
) -> NDArray[np.bool_]:
    """The hash of every picture, bool [N, 256].

    Raises:
        DatasetError: a picture that cannot be read.
    """
    hashes = np.zeros((len(pictures), BITS), np.bool_)
    for index in range(len(pictures)):
        hashes[index] = difference_hash(pictures.image(index))
        if progress is not None:
            progress(index + 1, len(pictures))
    return hashes


def near_identical(hashes: NDArray[np.bool_], *, limit: int = LIMIT) -> list[Pair]:
    """Pairs of pictures whose hashes differ by at most `limit` bits.

    Of pictures with the very same hash, each is paired with the first of them only, so that a
    thousand black frames are no million pairs; the pairs still connect all that belong together.

    Args:
        hashes: bool [N, 256].
        limit: the most bits that may differ.
    """
    unique, first, which = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    pairs = [
        Pair(int(first[group]), index, 0)
        for index, group in enumerate(which.ravel())
        if first[group] != index
    ]
    signs = np.where(unique, np.float32(1), np.float32(-1))
    for start in range(0, len(signs), _BLOCK):
        # The product of two vectors of signs is 256 less twice the number that differ.
        distance = (BITS - signs[start : start + _BLOCK] @ signs[start:].T) / 2
        for row, column in np.argwhere(np.triu(distance <= limit, k=1)):
            ends = sorted((int(first[start + row]), int(first[start + column])))
            pairs.append(Pair(ends[0], ends[1], round(float(distance[row, column]))))
    return sorted(pairs)


def connected(pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
    """The groups that `pairs` connect, each with two positions or more, ascending."""
    leader: dict[int, int] = {}

    def find(index: int) -> int:
        while (above := leader.setdefault(index, index)) != index:
            leader[index] = leader[above]
            index = above
        return index

    for pair in pairs:
        ends = find(pair.first), find(pair.second)
        leader[max(ends)] = min(ends)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in sorted(leader):
        groups[find(index)].append(index)
    return [tuple(group) for group in groups.values()]


def find_leaks(
    pictures: LabelledPictures,
    split: Split,
    *,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> list[Leak]:
    """Near-identical pictures in different parts of `split`, the most alike first.

    Wherever pictures that look the same are in several parts, at least one pair of them is named.

    Raises:
        DatasetError: a picture that cannot be read.
    """
    part_of = {index: part for part, indices in split.parts().items() for index in indices}
    pairs = near_identical(picture_hashes(pictures, progress=progress), limit=limit)
    alike = {index for pair in pairs if not pair.distance for index in pair[:2]}
    same = _same_files(pictures, alike)
    leaks = []
    for pair in same | set(pairs):
        first_part, second_part = part_of.get(pair.first), part_of.get(pair.second)
        if first_part is None or second_part is None or first_part == second_part:
            continue
        names = pictures.names[pair.first], pictures.names[pair.second]
        leaks.append(Leak(*names, first_part, second_part, pair.distance, pair in same))
    return sorted(
        leaks, key=lambda leak: (not leak.identical, leak.distance, leak.first, leak.second)
    )


def folder_groups(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Positions of the names with the same folder, e.g. the frames of one video."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        groups[name.rpartition("/")[0]].append(index)
    return [tuple(group) for group in groups.values()]


def _same_files(pictures: LabelledPictures, candidates: Iterable[int]) -> set[Pair]:
    """Every picture whose file another has to the byte, paired with the first that has it."""
    first: dict[str, int] = {}
    pairs = set()
    for index in sorted(candidates):
        before = first.setdefault(sha256_of(pictures.path(index)), index)
        if before != index:
            pairs.add(Pair(before, index, 0))
    return pairs
