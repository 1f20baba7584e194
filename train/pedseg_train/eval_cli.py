"""`pedseg-eval`: COCO accuracy of a checkpoint, an artifact or COCO results, by the same path."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import Choice, Command, Many, notes, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import write_json

from .data import SegmentationDataset, open_dataset
from .evaluation.analysis import Analysis, analyse
from .evaluation.bootstrap import RESAMPLES, ApDifference, compare_ap
from .evaluation.images import check_suffix, write_images
from .evaluation.outcomes import SCORE
from .evaluation.recording import Recording
from .evaluation.subject import PARTS, Subject, choose_pictures, open_subject

__all__ = ["choose_pictures", "evaluate_file", "main"]

FILE = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Measured:
    """What measuring a file gave.

    Attributes:
        dataset: all pictures.
        recording: what was found on those that were measured on.
        analysis: what that amounts to.
        difference: from another model on the same pictures; None if none was named.
        facts: how it came about, as JSON types.
    """

    dataset: SegmentationDataset
    recording: Recording
    analysis: Analysis
    difference: ApDifference | None
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Facts and numbers as JSON types."""
        document = {**self.facts, **self.analysis.to_dict()}
        if self.difference is not None:
            document["difference"] = self.difference.to_dict()
        return document


@click.command(cls=Command)
@click.argument("model", type=FILE)
@click.option("--data", type=FILE, required=True, help="Dataset.")
@click.option(
    "--split",
    "part",
    type=Choice(PARTS),
    default="test",
    show_default=True,
    help="Which pictures: those of the run's split.json if it lies beside MODEL, "
    "else of the tutorial's split.",
)
@click.option("--split-file", type=FILE, help="Another split file.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the tutorial's split.")
@click.option("--compare", type=FILE, help="Another model; the difference is MODEL's gain.")
@click.option(
    "--score-threshold",
    "score",
    type=click.FloatRange(0, 1),
    default=SCORE,
    show_default=True,
    help="Detections of at least this score count as found; AP takes those of any score.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=0),
    default=RESAMPLES,
    show_default=True,
    help="Draws of the intervals; 0 leaves them out.",
)
@click.option("--images", type=FILE, help="Folder of a COCO file's pictures, if it is elsewhere.")
@click.option(
    "--categories",
    type=Many(click.STRING),
    metavar="NAME,NAME",
    help="Of the dataset, for a MODEL of results; other models bring their own.",
)
@click.option("--image-ids", type=FILE, help="COCO file with the image ids of a MODEL of results.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--output", "file", type=FILE, help="Also write the JSON to this file.")
@click.option("--per-image", type=FILE, help="Write a row per picture to this .csv or .json file.")
@click.option("--report", type=FILE, help="Write an HTML page to look at to this file.")
def main(
    model: Path,
    as_json: bool,
    file: Path | None,
    per_image: Path | None,
    report: Path | None,
    **options: Any,
) -> None:
    """Measure MODEL on a dataset.

    MODEL is a checkpoint, an exported artifact, or the coco_results.json that pedseg-predict
    --format coco wrote.
    """
    if per_image is not None:
        check_suffix(per_image)
    measured = evaluate_file(model, **options)
    if file is not None:
        write_json(file, measured.to_dict())
    if per_image is not None:
        write_images(per_image, measured.analysis.rows)
    if report is not None:
        _write_report(report, model, measured)
    if as_json:
        click.echo(json.dumps(measured.to_dict(), indent=2, allow_nan=False))
    else:
        output.print(measured.analysis.table())
        output.print(measured.analysis.summary(), markup=False)
        if measured.difference is not None:
            output.print(measured.difference.table())
    _print_facts(measured.facts, [file, per_image, report])


def evaluate_file(
    model: Path,
    *,
    data: Path,
    part: str = "test",
    split_file: Path | None = None,
    seed: int = 1,
    compare: Path | None = None,
    score: float = SCORE,
    resamples: int = RESAMPLES,
    images: Path | None = None,
    categories: Sequence[str] | None = None,
    image_ids: Path | None = None,
    device: str = "auto",
) -> Measured:
    """Measure a checkpoint, an artifact or COCO results on one part of a dataset.

    Args:
        model: told apart by content, not by name.
        data: a dataset.
        part: "test", "train", "val" or "all" pictures.
        split_file: another split than the one beside `model`.
        seed: of the tutorial's split, where there is no split file.
        compare: another model, measured on the same pictures.
        score: detections of at least this score are what a user sees.
        resamples: draws of the intervals; 0 leaves them out.
        images: folder of a COCO file's pictures, if it is elsewhere.
        categories: of the dataset to measure a file of results on; all by default.
        image_ids: what the ids in a file of results mean, see `read_predictions`.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        PedsegError: a file that cannot be used.
    """
    with open_subject(model, device=device, images=image_ids) as subject:
        if categories and subject.class_names is not None:
            raise InputError(
                f"categories: expected none for a model that has its own classes "
                f"({', '.join(subject.class_names[1:])}), found {', '.join(categories)}; "
                "leave --categories out"
            )
        dataset = open_dataset(
            data, class_names=subject.class_names, categories=categories, images=images
        )
        indices, origin = choose_pictures(
            model, dataset, part=part, seed=seed, split_file=split_file
        )
        started = time.perf_counter()
        recording = subject.record(dataset, indices)
    facts: dict[str, Any] = {
        "model": str(model),
        "provider": subject.provider,
        "data": str(data),
        "part": part,
        "split": origin,
        "seconds": round(time.perf_counter() - started, 3),
    }
    difference = None
    if compare is not None:
        with open_subject(compare, device=device, images=image_ids) as other:
            _check_same_classes(compare, other, subject.class_names or dataset.class_names)
            reference = other.record(dataset, indices)
        difference = compare_ap(reference, recording, resamples=resamples or RESAMPLES)
        facts |= {"compared_with": str(compare), "compared_provider": other.provider}
    analysis = analyse(recording, dataset.names, score=score, resamples=resamples)
    return Measured(dataset, recording, analysis, difference, facts)


def _check_same_classes(path: Path, other: Subject, expected: Sequence[str]) -> None:
    """Labels of two models can be compared only if they mean the same."""
    found = other.class_names
    if found is not None and tuple(found) != tuple(expected):
        raise InputError(
            f"{path}: expected the classes {', '.join(expected)}, found {', '.join(found)}; "
            "compare models of the same classes, or choose those of results by --categories"
        )


def _write_report(report: Path, model: Path, measured: Measured) -> None:
    from .report import write_model_report

    write_model_report(
        report,
        model=model,
        dataset=measured.dataset,
        recording=measured.recording,
        analysis=measured.analysis,
        facts=measured.facts,
    )


def _print_facts(facts: dict[str, Any], written: list[Path | None]) -> None:
    notes.print(
        f"{facts['part']} pictures by {facts['split']}, run by {facts['provider']}", markup=False
    )
    if "compared_with" in facts:
        notes.print(
            f"candidate {facts['model']}, reference {facts['compared_with']} "
            f"(run by {facts['compared_provider']})",
            markup=False,
        )
    for path in written:
        if path is not None:
            notes.print(f"  {path}", markup=False)


if __name__ == "__main__":
    main()
