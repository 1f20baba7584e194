"""A training run: everything from a dataset to a trained checkpoint."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.files import replacing, sha256_of

from . import pictures
from .architectures import ARCHITECTURES, freeze_stem
from .checkpoint import (
    CheckpointHeader,
    assemble_from,
    load_checkpoint,
    load_resume_state,
    read_header,
    save_checkpoint,
    save_resume_state,
)
from .data import (
    SegmentationDataset,
    Split,
    open_dataset,
    read_split,
    training_transform,
    tutorial_split,
    write_split,
)
from .eager import EagerSegmenter, resolve_device
from .engine import Record, TrainingState, fit
from .evaluation import CocoResult, evaluate
from .models import build_model
from .recipes import Recipe
from .run_folder import RunFolder

PANEL_IMAGES = 4

Notify = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a finished run leaves.

    Attributes:
        folder: its files.
        history: one record per epoch, as in metrics.jsonl.
    """

    folder: RunFolder
    history: tuple[Record, ...]

    @property
    def best(self) -> Record:
        """The record of the epoch that `best.safetensors` is from."""
        return best_record(self.history)

    def to_dict(self) -> dict[str, Any]:
        """Paths and the best epoch's numbers, as JSON types."""
        return {
            "run": str(self.folder.root),
            "best": str(self.folder.best),
            "last": str(self.folder.last),
            "epochs": len(self.history),
            "best_epoch": self.best["epoch"],
            "bbox": self.best["bbox"],
            "segm": self.best["segm"],
            "seconds": sum(r["seconds"] + r["evaluation_seconds"] for r in self.history),
        }


def best_record(history: tuple[Record, ...] | list[Record]) -> Record:
    """The record with the highest mask AP, the earliest of equals."""
    return max(history, key=lambda record: record["segm"]["AP"] or 0.0)


def train(
    *,
    data: Path,
    output: Path,
    recipe: Recipe,
    device: str = "auto",
    resume: bool = False,
    notify: Notify = lambda _line: None,
) -> TrainedRun:
    """Train by `recipe` on the dataset at `data` and leave everything in the folder `output`.

    On a CPU with `workers=0`, a run that was interrupted and resumed ends with the same weights as
    one that was not.

    Args:
        data: a dataset of any layout, see `open_dataset`; its classes are the model's.
        output: new or empty, unless `resume`.
        recipe: the settings.
        device: "auto", "cpu", "cuda" or "cuda:N".
        resume: continue the run in `output`; recipe and dataset must be the ones it began with,
            but for more epochs.
        notify: is told in one line what happens.

    Raises:
        TrainingError: `output` is in use, is no run to resume or was begun with other settings; or
            training cannot go on.
        PedsegError: dataset, weights or device cannot be used.
    """
    torch_device = resolve_device(device)
    folder = RunFolder(Path(output))
    dataset = open_dataset(data)
    digest = dataset.digest()
    torch.manual_seed(recipe.seed)
    if resume:
        folder.check_same(recipe, digest)
        state = _resumed(folder, recipe, torch_device)
        notify(f"resuming after epoch {len(state.history)} of {recipe.epochs}")
    else:
        folder.check_unused()
        state = TrainingState.start(
            _new_model(recipe, dataset.class_names, notify).to(torch_device), recipe
        )
        split = tutorial_split(len(dataset), seed=recipe.seed, test=recipe.test)
        write_split(folder.split, split, dataset)
    folder.write_settings(recipe, digest)
    split = read_split(folder.split, dataset)
    facts = {
        "architecture": recipe.architecture,
        "class_names": dataset.class_names,
        "recipe": recipe.to_dict(),
        "dataset_digest": digest,
        "split": _describe_split(folder, split, recipe),
    }
    notify(
        f"{recipe.architecture} on {torch_device}: {len(split.train)} pictures to train on, "
        f"{len(split.test)} to test on, {recipe.epochs} epochs"
    )
    fit(
        state,
        dataset=open_dataset(data, transform=training_transform(recipe.flip), indices=split.train),
        recipe=recipe,
        device=torch_device,
        name_of=lambda image_id: str(dataset.path(image_id)),
        evaluate=functools.partial(_evaluate, dataset, split, torch_device),
        after_epoch=functools.partial(_save_epoch, folder, facts, recipe, notify),
    )
    best = EagerSegmenter(
        load_checkpoint(folder.best).model,
        class_names=dataset.class_names,
        device=str(torch_device),
    )
    pictures.save_panel(folder.panel, best, dataset, split.test[:PANEL_IMAGES])
    return TrainedRun(folder, tuple(state.history))


def _new_model(recipe: Recipe, class_names: tuple[str, ...], notify: Notify) -> MaskRCNN:
    return build_model(
        recipe.architecture,
        class_names=class_names,
        weights=recipe.weights,
        min_size=recipe.min_size,
        max_size=recipe.max_size,
        anchor_sizes=recipe.anchor_sizes,
        box_batch=recipe.box_batch,
        proposals=recipe.proposals,
        notify=notify,
    )


def _resumed(folder: RunFolder, recipe: Recipe, device: torch.device) -> TrainingState:
    """The state after the run's last finished epoch. The starting weights are not needed again."""
    saved = load_resume_state(folder.resume)
    header = read_header(folder.last)
    model = assemble_from(header, box_batch=recipe.box_batch, proposals=recipe.proposals)
    if recipe.weights != "none":
        freeze_stem(model, ARCHITECTURES[header.architecture])
    state = TrainingState.start(model.to(device), recipe)
    state.load_state_dict(saved)
    return state


def _evaluate(
    dataset: SegmentationDataset, split: Split, device: torch.device, model: MaskRCNN
) -> CocoResult:
    segment = EagerSegmenter(model, class_names=dataset.class_names, device=str(device))
    return evaluate(segment, dataset, split.test)


def _save_epoch(
    folder: RunFolder,
    facts: Mapping[str, Any],
    recipe: Recipe,
    notify: Notify,
    state: TrainingState,
) -> None:
    """Write checkpoints and metrics. The resume state comes last: it tells what is finished."""
    record = state.history[-1]
    header = CheckpointHeader.of(
        state.model,
        epoch=record["epoch"],
        metrics={"bbox": record["bbox"], "segm": record["segm"]},
        **facts,
    )
    if best_record(state.history) is record:
        save_checkpoint(folder.best, state.model, header)
    save_checkpoint(folder.last, state.model, header)
    with replacing(folder.metrics) as temporary:
        lines = [json.dumps(entry, allow_nan=False) for entry in state.history]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pictures.save_curves(folder.curves, state.history)
    save_resume_state(folder.resume, state.state_dict())
    notify(_describe_epoch(record, recipe))


def _describe_epoch(record: Record, recipe: Recipe) -> str:
    seconds = record["seconds"] + record["evaluation_seconds"]
    left = (recipe.epochs - record["epoch"]) * seconds
    numbers = ", ".join(
        f"{title} AP {'-' if record[kind]['AP'] is None else format(record[kind]['AP'], '.3f')}"
        for title, kind in (("box", "bbox"), ("mask", "segm"))
    )
    ahead = f", about {left / 60:.1f} min left" if left else ""
    return (
        f"epoch {record['epoch']}/{recipe.epochs}: loss {record['losses']['loss']:.3f}, "
        f"{numbers}, {seconds:.0f} s{ahead}"
    )


def _describe_split(folder: RunFolder, split: Split, recipe: Recipe) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "train": len(split.train),
        "test": len(split.test),
        "sha256": sha256_of(folder.split),
    }
