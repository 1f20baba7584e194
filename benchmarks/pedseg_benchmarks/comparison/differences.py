"""A comparison of two benchmarks as a value, and what differs besides the contenders' speed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..results import BenchmarkResult
from ..statistics import Change

SCHEMA, SCHEMA_VERSION = "pedseg-comparison", 1

# Of the settings and the environment: what makes times of two runs those of different tasks or
# machines, so that a difference says nothing about a contender.
DECISIVE = (
    "architecture",
    "device",
    "threads",
    "paste",
    "isolat",
    "_threshold",
    "detections_per_image",
    "min_size",
    "max_size",
    "cpu.model",
    "cpu.architecture",
    "cpu.capability",
    "cpu.usable_cores",
    "gpu.name",
    "tf32",
)
# What differs from run to run without saying anything of the machine.
IGNORED = (
    "warmup",
    "rounds",
    "budget",
    "stab",
    "load",
    "busy",
    "clock",
    "mhz",
    "temperature",
    "providers",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same in both.

    Attributes:
        what: its name.
        old, new: its values in words; `nothing` where a side has none.
        decisive: whether times cannot be compared because of it.
    """

    what: str
    old: str
    new: str
    decisive: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Row:
    """The change of one contender.

    Attributes:
        contender: its name.
        verdict: `slower`, `faster`, `no difference shown`, ..., `newly failed` or `missing`.
        regression: whether a pipeline should stop for it.
        old_ms, new_ms: medians of all calls; None where there are no times.
        absolute: change of its times; None where a side has none.
        relative: change of its times in units of eager's in the same round, which the speed of the
            machine does not touch; None for eager, or where a side has no eager to compare with.
        reason: what explains a verdict that is not about times; may be empty.
    """

    contender: str
    verdict: str
    regression: bool
    old_ms: float | None = None
    new_ms: float | None = None
    absolute: Change | None = None
    relative: Change | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two benchmarks compared.

    Attributes:
        old, new: when they were measured.
        threshold: share by which something must have become slower to be a regression.
        judged_by: `relative` or `absolute`, see `Row`.
        differences: what else is not the same.
        rows: contenders in the order of the old benchmark, then new ones.
        schema, schema_version: what kind of document this is.
    """

    old: str
    new: str
    threshold: float
    judged_by: str
    differences: list[Difference]
    rows: list[Row]
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    @property
    def passed(self) -> bool:
        """Whether no contender became worse."""
        return not any(row.regression for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {**dataclasses.asdict(self), "passed": self.passed}


def differences(old: BenchmarkResult, new: BenchmarkResult) -> list[Difference]:
    """Everything that differs and matters, the decisive ones first."""
    found = [
        *_images(old, new),
        *_values(_leaves(old.settings), _leaves(new.settings)),
        *_values(_leaves(_hardware(old)), _leaves(_hardware(new))),
        *_files(old, new),
    ]
    return sorted(found, key=lambda difference: not difference.decisive)


def _images(old: BenchmarkResult, new: BenchmarkResult) -> Iterator[Difference]:
    one, other = (
        [f"{image['name']} {image['height']}x{image['width']}" for image in result.images]
        for result in (old, new)
    )
    if one != other:
        gone, come = sorted(set(one) - set(other)), sorted(set(other) - set(one))
        if gone or come:
            yield Difference("images", _few(gone), _few(come), decisive=True)
        else:
            yield Difference("images", "one order", "another order", decisive=True)


def _hardware(result: BenchmarkResult) -> Mapping[str, Any]:
    """The environment; without the GPU where it does nothing."""
    if str(result.settings.get("device")) == "cpu":
        return {name: value for name, value in result.environment.items() if name != "gpu"}
    return result.environment


def _values(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before == after or any(part in name for part in IGNORED):
            continue
        # What only one of them says may just be younger than the other document.
        is_decisive = None not in (before, after) and any(part in name for part in DECISIVE)
        yield Difference(name, before or "nothing", after or "nothing", decisive=is_decisive)


def _files(old: BenchmarkResult, new: BenchmarkResult) -> Iterator[Difference]:
    """Contenders whose file is another one: often the very change that shall be judged."""
    after = {row.name: row.sha256 for row in new.contenders}
    for row in old.contenders:
        digest = after.get(row.name, row.sha256)
        if digest != row.sha256:
            yield Difference(f"file of {row.name}", row.sha256[:12], digest[:12], decisive=False)


def _leaves(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """`{"cpu": {"model": "x"}}` as `{"cpu.model": "x"}`."""
    found: dict[str, str] = {}
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{path}.")
        else:
            found[path] = str(value)
    return found


def _few(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
