"""How many pictures and instances the parts of a dataset have, and how large those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.recording import Annotated, Recording, labelled

MOST = 400  # pictures whose instances are looked at; more would tell no more and take minutes


@dataclass(frozen=True, slots=True)
class PartFacts:
    """One part of a dataset.

    Attributes:
        pictures: how many it has.
        seen: how many of them the rest is about, evenly spread.
        sizes: root of the area of every instance, in pixels; crowd regions are not counted.
        counts: instances on every picture.
    """

    pictures: int
    seen: int
    sizes: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, truth: Recording, *, pictures: int) -> PartFacts:
        """The facts of `pictures` pictures of which `truth` has seen some."""
        people = [person for person in truth.truth if not person["iscrowd"]]
        counts = {image["id"]: 0 for image in truth.images}
        for person in people:
            counts[person["image_id"]] += 1
        return cls(
            pictures=pictures,
            seen=len(truth.images),
            sizes=tuple(float(np.sqrt(max(0.0, person["area"]))) for person in people),
            counts=tuple(counts.values()),
        )


def data_facts(
    dataset: Annotated, parts: Mapping[str, Sequence[int]], known: Recording
) -> dict[str, PartFacts]:
    """The facts of every part that has pictures.

    Args:
        dataset: all pictures.
        parts: name -> positions in `dataset`.
        known: the truth of one part, which then is not read again.
    """
    facts = {}
    ids = {image["id"] for image in known.images}
    for name, positions in parts.items():
        if not positions:
            continue
        if set(positions) == ids:
            truth = known
        else:
            places = np.linspace(0, len(positions) - 1, min(MOST, len(positions))).round()
            truth = labelled(dataset, [positions[int(place)] for place in places])
        facts[name] = PartFacts.of(truth, pictures=len(positions))
    return facts
