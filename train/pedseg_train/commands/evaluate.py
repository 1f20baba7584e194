"""`pedseg-eval`: COCO accuracy of a checkpoint, an artifact or COCO results, by the same path."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import (
    Choice,
    Command,
    Many,
    notes,
    output,
)
from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import write_json

from ..checkpoint import is_checkpoint
from ..data import SegmentationDataset, open_dataset
from ..evaluation.analysis import Analysis, analyse
from ..evaluation.bootstrap import RESAMPLES, ApDifference, compare_ap
from ..evaluation.image_rows import check_suffix, write_image_rows
from ..evaluation.outcomes import SCORE
from ..evaluation.recording import Recording
from ..evaluation.subject import (
    SPLIT_CHOICES,
    EvaluatedModel,
    open_model,
    select_images,
)
from .data_options import map_option

__all__ = ["evaluate_file", "main", "select_images"]

FILE = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of one file.

    Attributes:
        dataset: all images.
        recording: detections and truth of the evaluated ones.
        analysis: of the recording.
        difference: from another model on the same images; None without --compare.
        facts: model, data, split, provider and time, as JSON types.
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
    type=Choice(SPLIT_CHOICES),
    default="test",
    show_default=True,
    help="Which images: those of the run's split.json if it lies beside MODEL, "
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
    help="Bootstrap draws for the intervals; 0 leaves them out.",
)
@click.option("--images", type=FILE, help="Folder of a COCO file's images, if it is elsewhere.")
@click.option(
    "--categories",
    type=Many(click.STRING),
    metavar="NAME,NAME",
    help="Of the dataset, for a MODEL of results; other models bring their own.",
)
@map_option
@click.option("--image-ids", type=FILE, help="COCO file with the image ids of a MODEL of results.")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or openvino."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--output", "file", type=FILE, help="Also write the JSON to this file.")
@click.option("--per-image", type=FILE, help="Write a row per image to this .csv or .json file.")
@click.option("--report", type=FILE, help="Write an HTML report to this file.")
def main(
    model: Path,
    as_json: bool,
    file: Path | None,
    per_image: Path | None,
    report: Path | None,
    **options: Any,
) -> None:
    """Evaluate MODEL on a dataset.

    MODEL is a checkpoint, an exported artifact, or the coco_results.json that pedseg-predict
    --format coco wrote.

    An image that cannot be segmented counts as one without detections; it is listed at the end, and
    the exit code is 1.
    """
    if per_image is not None:
        check_suffix(per_image)
    evaluation = evaluate_file(model, **options)
    if file is not None:
        write_json(file, evaluation.to_dict())
    if per_image is not None:
        write_image_rows(per_image, evaluation.analysis.rows)
    if report is not None:
        _write_report(report, model, evaluation)
    if as_json:
        click.echo(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        output.print(evaluation.analysis.table())
        output.print(evaluation.analysis.summary(), markup=False)
        if evaluation.difference is not None:
            output.print(evaluation.difference.table())
    _print_facts(evaluation.facts, [file, per_image, report])
    if "failed" in evaluation.facts:
        raise click.exceptions.Exit(1)


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
    class_map: Mapping[str, str] | None = None,
    image_ids: Path | None = None,
    device: str = "auto",
) -> Evaluation:
    """Evaluate a checkpoint, an artifact or COCO results on one part of a dataset.

    Args:
        model: told apart by content, not by name.
        data: a dataset.
        part: "test", "train", "val" or "all" images.
        split_file: another split than the one beside `model`.
        seed: of the tutorial's split, where there is no split file.
        compare: another model, evaluated on the same images.
        score: the score threshold of matches and errors.
        resamples: draws of the intervals; 0 leaves them out.
        images: folder of a COCO file's images, if it is elsewhere.
        categories: of the dataset, for a file of results; all by default.
        class_map: other names for the dataset's categories.
        image_ids: COCO file with the image ids of results, see `read_predictions`.
        device: "auto", "cpu", "cuda" or "cuda:N"; for an ONNX artifact "openvino" too, beside which
            a checkpoint as `compare` runs on the CPU.

    Raises:
        PedsegError: a file that cannot be used.
    """
    with open_model(model, device=device, images=image_ids) as subject:
        if categories and subject.class_names is not None:
            raise InputError(
                f"categories: expected none for a model that has its own classes "
                f"({', '.join(subject.class_names[1:])}), found {', '.join(categories)}; "
                "leave --categories out"
            )
        dataset = open_dataset(
            data,
            class_names=subject.class_names,
            categories=categories,
            class_map=class_map,
            images=images,
        )
        indices, origin = select_images(model, dataset, part=part, seed=seed, split_file=split_file)
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
    failed = dict(recording.failed)
    difference = None
    if compare is not None:
        beside = parse_device(device).beside if is_checkpoint(compare) else device
        with open_model(compare, device=beside, images=image_ids) as other:
            _check_same_classes(compare, other, subject.class_names or dataset.class_names)
            reference = other.record(dataset, indices)
        failed |= reference.failed
        difference = compare_ap(reference, recording, resamples=resamples or RESAMPLES)
        facts |= {"compared_with": str(compare), "compared_provider": other.provider}
    if failed:
        facts["failed"] = [
            {"file": str(dataset.path(index)), "reason": reason} for index, reason in failed.items()
        ]
    analysis = analyse(recording, dataset.names, score=score, resamples=resamples)
    return Evaluation(dataset, recording, analysis, difference, facts)


def _check_same_classes(path: Path, other: EvaluatedModel, expected: Sequence[str]) -> None:
    """Raise InputError unless both models have the same classes."""
    found = other.class_names
    if found is not None and tuple(found) != tuple(expected):
        raise InputError(
            f"{path}: expected the classes {', '.join(expected)}, found {', '.join(found)}; "
            "compare models of the same classes, or choose those of results by --categories"
        )


def _write_report(report: Path, model: Path, evaluation: Evaluation) -> None:
    from ..report import write_model_report

    write_model_report(
        report,
        model=model,
        dataset=evaluation.dataset,
        recording=evaluation.recording,
        analysis=evaluation.analysis,
        facts=evaluation.facts,
    )


def _print_facts(facts: dict[str, Any], written: list[Path | None]) -> None:
    part = "all images" if facts["part"] == "all" else f"{facts['part']} images by {facts['split']}"
    notes.print(f"{part}, run by {facts['provider']}", markup=False)
    if "compared_with" in facts:
        notes.print(
            f"candidate {facts['model']}, reference {facts['compared_with']} "
            f"(run by {facts['compared_provider']})",
            markup=False,
        )
    for path in written:
        if path is not None:
            notes.print(f"  {path}", markup=False)
    for failure in facts.get("failed", ()):
        notes.print(f"failed: {failure['file']}: {failure['reason']}", markup=False)


if __name__ == "__main__":
    main()
