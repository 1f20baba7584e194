"""What a page knows: of a run, of a dataset, and of the machine it was made on."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pedseg_runtime.containers import usable_cpus
from pedseg_runtime.errors import TrainingError

from ..evaluation.recording import Annotated, Recording, labelled
from ..run_folder import RunFolder

LIBRARIES = ("pedseg", "torch", "torchvision", "numpy")
MOST = 400  # images whose instances are looked at; more would tell no more and take minutes

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as its recipe.json and metrics.jsonl have it.

    Attributes:
        recipe: setting -> value.
        overrides: lines `name: preset's -> the run's`.
        history: one record per epoch, at least one.
    """

    recipe: dict[str, Any]
    overrides: list[str]
    history: list[Record]

    @classmethod
    def read(cls, folder: RunFolder) -> RunFacts:
        """Read a run's folder.

        Raises:
            TrainingError: it is none, or no epoch of it has finished.
        """
        try:
            settings = json.loads(folder.recipe.read_text(encoding="utf-8"))
            lines = folder.metrics.read_text(encoding="utf-8").splitlines()
            history = [json.loads(line) for line in lines]
            facts = cls(dict(settings["recipe"]), list(settings["overrides"]), history)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{folder.root}: expected a run with {folder.recipe.name} and "
                f"{folder.metrics.name}, found none that can be read ({error}); train it first"
            ) from error
        if not history:
            raise TrainingError(
                f"{folder.metrics}: expected the record of an epoch, found none; train one first"
            )
        return facts

    @property
    def best_epoch(self) -> int:
        """The epoch whose checkpoint was kept: the highest mask AP, the earliest of equals."""
        best = max(self.history, key=lambda record: record["segm"]["AP"] or 0.0)
        return int(best["epoch"])

    @property
    def overridden(self) -> set[str]:
        """The settings that are not the preset's."""
        return {line.split(":", 1)[0] for line in self.overrides}

    @property
    def seconds(self) -> float:
        """Of all epochs, measuring included."""
        return float(sum(one["seconds"] + one["evaluation_seconds"] for one in self.history))

    def images_per_second(self, images: int) -> float:
        """In training, over all epochs of `images` images each."""
        seconds = float(sum(one["seconds"] for one in self.history))
        return images * len(self.history) / max(seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a page is about.

    Attributes:
        title: of the page: a run's or a file's name.
        model: the file that was measured.
        part: the images it was measured on.
        provider: what ran it; empty if unknown.
        seconds: that took; None if unknown.
        run: what trained it; None if unknown.
    """

    title: str
    model: str
    part: str
    provider: str
    seconds: float | None
    run: RunFacts | None


@dataclass(frozen=True, slots=True)
class PartFacts:
    """One part of a dataset.

    Attributes:
        images: how many it has.
        seen: how many of them the rest is about, evenly spread.
        sizes: root of the area of every instance, in pixels; crowd regions are not counted.
        counts: instances on every image.
    """

    images: int
    seen: int
    sizes: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, truth: Recording, *, images: int) -> PartFacts:
        """The facts of `images` images of which `truth` has seen some."""
        people = [person for person in truth.truth if not person["iscrowd"]]
        counts = {image["id"]: 0 for image in truth.images}
        for person in people:
            counts[person["image_id"]] += 1
        return cls(
            images=images,
            seen=len(truth.images),
            sizes=tuple(float(np.sqrt(max(0.0, person["area"]))) for person in people),
            counts=tuple(counts.values()),
        )


def data_facts(
    dataset: Annotated, parts: Mapping[str, Sequence[int]], known: Recording
) -> dict[str, PartFacts]:
    """The facts of every part that has images.

    Args:
        dataset: all images.
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
        facts[name] = PartFacts.of(truth, images=len(positions))
    return facts


def environment() -> dict[str, str]:
    """Name -> value, for a reader."""
    facts = {"processor": _processor(), "system": f"{platform.system()} {platform.machine()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        facts[f"GPU {index}"] = f"{properties.name}, {memory:.0f} GiB"
    facts["Python"] = platform.python_version()
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[name] = metadata.version(name)
    return facts


def _processor() -> str:
    """The processor's name, which the kernel knows where `platform` does not, and its cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {usable_cpus()} cores"
