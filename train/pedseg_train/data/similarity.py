"""Near-identical images by perceptual hash: pairs, groups, and leaks between parts of a split.

The hash is the difference hash: the image is shrunk to 17x16 grey cells, and every bit says
whether a cell is darker than its right neighbour. It is robust to scaling, compression, noise and
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

from .pennfudan_layout import Progress
from .protocol import LabelledImages
from .splits import Split

SIDE = 16
BITS = SIDE * SIDE
LIMIT = 25  # bits
_BLOCK = 1024


class Pair(NamedTuple):
    """Two images, by position, and the Hamming distance of their hashes."""

    first: int
    second: int
    distance: int


@dataclass(frozen=True, slots=True)
class Leak:
    """Two near-identical images in different parts of a split.

    Attributes:
        first, second: their names.
        first_part, second_part: "train", "val" or "test".
        distance: Hamming distance of their hashes, of 256 bits.
        identical: whether the files are equal to the byte.
    """

    first: str
    second: str
    first_part: str
    second_part: str
    distance: int
    identical: bool

    def __str__(self) -> str:
        relation = (
            "is the same file as"
            if self.identical
            else f"looks like (distance {self.distance} of {BITS})"
        )
        return f"{self.first} in {self.first_part} {relation} {self.second} in {self.second_part}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def difference_hash(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The hash of an image uint8 [H, W, 3], bool [256]."""
    grey = Image.fromarray(image).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    cells = np.asarray(grey)
    return np.asarray((cells[:, 1:] > cells[:, :-1]).ravel())


def image_hashes(dataset: LabelledImages, *, progress: Progress | None = None) -> NDArray[np.bool_]:
    """The hash of every image, bool [N, 256].

    Raises:
        DatasetError: an unreadable image.
    """
    hashes = np.zeros((len(dataset), BITS), np.bool_)
    for index in range(len(dataset)):
        hashes[index] = difference_hash(dataset.image(index))
        if progress is not None:
            progress(index + 1, len(dataset))
    return hashes


def near_identical(hashes: NDArray[np.bool_], *, limit: int = LIMIT) -> list[Pair]:
    """Pairs of images whose hashes differ by at most `limit` bits.

    Of images with the same hash, each is paired with the first only, so that a thousand black
    frames do not make a million pairs; the pairs still connect the whole group.

    Args:
        hashes: bool [N, 256].
        limit: the largest distance in bits.
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


def connected_groups(pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
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
    dataset: LabelledImages,
    split: Split,
    *,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> list[Leak]:
    """Near-identical images in different parts of `split`, the most alike first.

    Of every group of near-identical images in several parts, at least one pair is returned.

    Raises:
        DatasetError: an unreadable image.
    """
    part_of = {index: part for part, indices in split.parts().items() for index in indices}
    pairs = near_identical(image_hashes(dataset, progress=progress), limit=limit)
    same_hash = {index for pair in pairs if not pair.distance for index in pair[:2]}
    same = _same_files(dataset, same_hash)
    leaks = []
    for pair in same | set(pairs):
        first_part, second_part = part_of.get(pair.first), part_of.get(pair.second)
        if first_part is None or second_part is None or first_part == second_part:
            continue
        names = dataset.names[pair.first], dataset.names[pair.second]
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


def _same_files(dataset: LabelledImages, candidates: Iterable[int]) -> set[Pair]:
    """Images with byte-identical files, each paired with the first of them."""
    first: dict[str, int] = {}
    pairs = set()
    for index in sorted(candidates):
        original = first.setdefault(sha256_of(dataset.path(index)), index)
        if original != index:
            pairs.add(Pair(original, index, 0))
    return pairs
