"""`python -m pedseg_benchmarks.soak ARTIFACT`: does memory stay constant in a long-running service?

A service sees images of every size. Memory that is kept per size, or lost per call, shows as a
resident set that still grows after the first hundred sizes were seen. No torch is imported, so that
what is measured is the runtime alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from pedseg_runtime import InputError, Segmenter
from pedseg_runtime.console import Command, notes, output, progress_bar
from pedseg_runtime.files import write_json

from .memory import resident_bytes

FIRST = 100  # sizes that fill the pools
LIMIT = 0.05  # of the resident set after the first sizes


@dataclass(frozen=True, kw_only=True)
class Soak:
    """Resident set of the process, in bytes.

    Attributes:
        provider: what ran the artifact.
        sizes, calls: how many different image sizes, and calls after them with the same sizes.
        loaded: after loading, before the first image.
        first: after the first `FIRST` sizes.
        after_sizes: after all sizes.
        after_calls: after all calls.
        closed: after the segmenter was closed.
    """

    provider: str
    sizes: int
    calls: int
    loaded: int
    first: int
    after_sizes: int
    after_calls: int
    closed: int

    @property
    def growth(self) -> float:
        """How much more is resident at the end than after the first sizes; 0.05 is 5 %."""
        return max(self.after_sizes, self.after_calls) / self.first - 1

    def __bool__(self) -> bool:
        return self.growth <= LIMIT

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values, with `growth` and `passed`."""
        return {**dataclasses.asdict(self), "growth": self.growth, "passed": bool(self)}


def random_sizes(count: int, *, largest: int, seed: int = 0) -> list[tuple[int, int]]:
    """Different (height, width) from 16 to `largest`; the largest comes first, to fill the pools.

    Raises:
        InputError: there are not so many different sizes.
    """
    if largest < 16 or count > (largest - 15) ** 2:
        raise InputError(
            f"sizes: expected at most {max(0, largest - 15) ** 2} of 16 to {largest} pixels, "
            f"found {count}; allow larger images"
        )
    rng = np.random.default_rng(seed)
    sizes = {(largest, largest): None}
    while len(sizes) < count:
        height, width = rng.integers(16, largest + 1, 2).tolist()
        sizes[height, width] = None
    return list(sizes)[:count]


def soak(
    segmenter: Segmenter,
    *,
    sizes: Sequence[tuple[int, int]],
    calls: int,
    seed: int = 0,
    on_call: Callable[[], object] = lambda: None,
) -> Soak:
    """Segment noise of each size once, then `calls` times one of them, and close the segmenter.

    Args:
        segmenter: a loaded artifact; it is closed at the end.
        sizes: (height, width), at least `FIRST`.
        calls: after all sizes were seen.
        seed: of the noise and of the order of calls.
        on_call: called after every call.
    """
    if len(sizes) < FIRST:
        raise InputError(f"sizes: expected at least {FIRST}, found {len(sizes)}")
    rng = np.random.default_rng(seed)
    height, width = np.max(sizes, axis=0)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    loaded = resident_bytes()
    first = loaded
    for index, (rows, columns) in enumerate(sizes):
        segmenter(noise[:rows, :columns])
        on_call()
        if index + 1 == FIRST:
            first = resident_bytes()
    after_sizes = resident_bytes()
    for chosen in rng.integers(0, len(sizes), calls).tolist():
        rows, columns = sizes[chosen]
        segmenter(noise[:rows, :columns])
        on_call()
    after_calls, provider = resident_bytes(), segmenter.provider
    segmenter.close()
    return Soak(
        provider=provider,
        sizes=len(sizes),
        calls=calls,
        loaded=loaded,
        first=first,
        after_sizes=after_sizes,
        after_calls=after_calls,
        closed=resident_bytes(),
    )


@click.command(cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option("--sizes", default=1000, show_default=True, help="Different image sizes.")
@click.option("--calls", default=10_000, show_default=True, help="Calls after them.")
@click.option("--largest", default=1600, show_default=True, help="Longest image side in pixels.")
@click.option("--shrink-memory", is_flag=True, help="Give memory back after every run.")
@click.option("--output", "file", type=click.Path(path_type=Path), help="Write the result here.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    artifact: Path,
    device: str,
    threads: int | None,
    sizes: int,
    calls: int,
    largest: int,
    shrink_memory: bool,
    file: Path | None,
    as_json: bool,
) -> None:
    """Segment noise of many sizes with ARTIFACT, many times, and watch the memory.

    Exits with 1 if more than 5 % is resident at the end than after the first 100 sizes.
    """
    chosen = random_sizes(sizes, largest=largest)
    segmenter = Segmenter.load(
        artifact, device=device, threads=threads, shrink_memory=shrink_memory
    )
    with progress_bar() as bar:
        task = bar.add_task("Soaking", total=sizes + calls)
        result = soak(segmenter, sizes=chosen, calls=calls, on_call=lambda: bar.advance(task))
    if file is not None:
        write_json(file, result.to_dict())
    if as_json:
        output.print_json(json.dumps(result.to_dict()))
    else:
        _print(result)
    if not result:
        raise click.exceptions.Exit(1)


def _print(result: Soak) -> None:
    """The figures as one line each."""
    for name, value in (
        ("after loading", result.loaded),
        (f"after {FIRST} sizes", result.first),
        (f"after {result.sizes} sizes", result.after_sizes),
        (f"after {result.calls} more calls", result.after_calls),
        ("closed", result.closed),
    ):
        output.print(f"{name:<24}{value / 2**20:8.1f} MiB", markup=False)
    notes.print(f"growth {result.growth:+.1%}, limit {LIMIT:.0%}", markup=False)


if __name__ == "__main__":
    main()
