"""Every weight once: a tensor that follows from another exactly is kept as the way to make it.

An export folds a normalisation into the convolution before it, which multiplies each row of the
weights by a factor, and a lower precision rounds them to half. Both are found from the numbers
alone and are kept only if they give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tensors import ITEM_SIZES

Floats = NDArray[np.float32]
NEAR = 3  # units in the last place that a quotient may be off the factor
PROBE = 64  # numbers that are compared before all of them
STORED, ROWS, HALF = "stored", "rows", "half"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tensor is made.

    Attributes:
        how: `stored` as it is; `rows` of float32 of another, times a factor each; `half` of
            another's float32.
        item_size: bytes of a number.
        of: number of the other tensor.
        factors: number of the tensor with the factors.
        shape: of a tensor of `rows`; empty for the others.
    """

    how: str
    item_size: int
    of: int = -1
    factors: int = -1
    shape: tuple[int, ...] = ()


class WeightStore:
    """Tensors by number, each kept once.

    Attributes:
        recipes: of all tensors.
        stored: number -> bytes of those that follow from no other.
    """

    def __init__(self) -> None:
        self.recipes: list[Recipe] = []
        self.stored: dict[int, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._known: dict[tuple[int, ...], list[tuple[int, Floats]]] = {}

    def add(self, raw: bytes, dtype: str, shape: tuple[int, ...]) -> int:
        """The number of a tensor with these bytes, which is new or known.

        Args:
            raw: its bytes.
            dtype: numpy's name; "" if it is not known.
            shape: () if it is not known.
        """
        digest = hashlib.sha256(raw).digest()
        if digest not in self._numbers:
            recipe = self._derive(raw, dtype, shape)
            self._numbers[digest] = number = len(self.recipes)
            self.recipes.append(recipe)
            if recipe.how == STORED:
                self.stored[number] = raw
            if dtype == "float32" and shape:
                values = np.frombuffer(raw, np.float32).reshape(shape[0], -1)
                self._known.setdefault(shape, []).append((number, values))
        return self._numbers[digest]

    def _derive(self, raw: bytes, dtype: str, shape: tuple[int, ...]) -> Recipe:
        size = ITEM_SIZES.get(dtype, 1)
        size = size if len(raw) % size == 0 else 1
        for number, values in self._known.get(shape, ()):
            if dtype == "float16" and _half(values, raw):
                return Recipe(HALF, size, of=number)
            if dtype == "float32" and len(shape) > 1:
                product = np.frombuffer(raw, np.float32).reshape(values.shape)
                factors = row_factors(product, values)
                if factors is not None and _scaled(values, factors) == raw:
                    at = self.add(factors.tobytes(), "float32", ())
                    return Recipe(ROWS, size, of=number, factors=at, shape=shape)
        return Recipe(STORED, size)

    def to_list(self) -> list[dict[str, Any]]:
        """The recipes as plain values for JSON."""
        return [asdict(recipe) for recipe in self.recipes]


def row_factors(product: Floats, base: Floats) -> Floats | None:
    """float32 [R] with `product == base * factors[:, None]` in float32; None if there are none.

    The quotient at the largest number of a row is within some units in the last place of the
    factor, so the neighbours are tried too.

    Args:
        product: [R, C].
        base: [R, C].
    """
    rows = np.arange(len(base))
    largest = np.abs(base).argmax(1)
    with np.errstate(all="ignore"):
        quotients = np.nan_to_num(product[rows, largest] / base[rows, largest])
        quotients = quotients.astype(np.float32)
        factors, found = quotients.copy(), np.zeros(len(base), bool)
        for step in sorted(range(-NEAR, NEAR + 1), key=abs):
            tried = (quotients.view(np.int32) + np.int32(step)).view(np.float32)
            some = (base[:, :PROBE] * tried[:, None] == product[:, :PROBE]).all(1) & ~found
            if step == 0 and not some.any():
                return None  # most quotients of a true product are the factor itself
            at = np.flatnonzero(some)
            fits = at[(base[at] * tried[at, None] == product[at]).all(1)]
            factors[fits], found[fits] = tried[fits], True
    return factors if found.all() else None


def _scaled(base: Floats, factors: Floats) -> bytes:
    return (base * factors[:, None]).astype(np.float32).tobytes()


def _half(values: Floats, raw: bytes) -> bool:
    with np.errstate(all="ignore"):
        probe = values.reshape(-1)[:PROBE].astype(np.float16).tobytes()
        return raw.startswith(probe) and values.astype(np.float16).tobytes() == raw


def shuffled(raw: bytes, item_size: int) -> bytes:
    """All first bytes of the numbers, then all second ones, ...: alike bytes stand together."""
    return np.frombuffer(raw, np.uint8).reshape(-1, item_size).T.tobytes()


def unshuffled(data: bytes, item_size: int) -> bytes:
    """The inverse of `shuffled`."""
    return np.frombuffer(data, np.uint8).reshape(item_size, -1).T.tobytes()


def rebuild(
    recipes: Sequence[Mapping[str, Any]], read: Callable[[int], bytes]
) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every tensor, in order.

    Args:
        recipes: of `WeightStore.to_list`; a tensor stands after those that it is made of.
        read: gives the shuffled bytes of a stored one.
    """
    made: dict[int, bytes] = {}
    for number, values in enumerate(recipes):
        recipe = Recipe(**values)
        if recipe.how == STORED:
            made[number] = unshuffled(read(number), recipe.item_size)
        elif recipe.how == HALF:
            with np.errstate(all="ignore"):
                source = np.frombuffer(made[recipe.of], np.float32)
                made[number] = source.astype(np.float16).tobytes()
        else:
            source = np.frombuffer(made[recipe.of], np.float32).reshape(recipe.shape[0], -1)
            made[number] = _scaled(source, np.frombuffer(made[recipe.factors], np.float32))
        yield number, made[number]
