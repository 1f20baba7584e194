"""A training run: everything from a dataset to a trained checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.errors import DeviceError, TrainingError
from pedseg_runtime.files import write_json

from ..architectures import ARCHITECTURES
from ..checkpoint import CheckpointHeader, assemble_from
from ..class_map import parse_class_map
from ..data import Split
from ..data.transforms import TrainingSamples
from ..eager import resolve_device
from ..engine import (
    Observer,
    Processes,
    Record,
    StoppedError,
    StopRequest,
    TrainingContext,
    TrainingState,
    best_record,
    fit,
    joined_processes,
    local_device,
)
from ..models import build_for
from ..parameter_groups import freeze
from ..recipes import Recipe
from ..report import open_tensorboard
from ..run_folder import RunFolder
from ..tensor_files import load_resume_state
from .dataset import RunData, describe_split, selection_part
from .inspection import inspect_run
from .validation import final_evaluation, make_evaluator
from .writer import Notify, RunWriter


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """The result of a finished run.

    Attributes:
        folder: its files.
        history: one record per epoch, as in metrics.jsonl.
        chosen_by: the part of the split that selected the best epoch, "val" or "test".
        test: the best checkpoint's numbers on the test images.
    """

    folder: RunFolder
    history: tuple[Record, ...]
    chosen_by: str
    test: dict[str, Any]

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
            "chosen_by": self.chosen_by,
            "bbox": self.best["bbox"],
            "segm": self.best["segm"],
            "test": self.test,
            "seconds": sum(r["seconds"] + r["evaluation_seconds"] for r in self.history),
        }


def train(
    *,
    data: Path,
    output: Path,
    recipe: Recipe,
    device: str = "auto",
    resume: bool = False,
    split_file: Path | None = None,
    images: Path | None = None,
    save_every: int = 0,
    tensorboard: bool = False,
    observers: Sequence[Observer] = (),
    notify: Notify = lambda _line: None,
) -> TrainedRun:
    """Train by `recipe` on the dataset at `data` and write everything to the folder `output`.

    On a CPU, a run that was interrupted anywhere and resumed ends with the same weights as an
    uninterrupted one. Under torchrun all processes train together, and the first writes.

    Args:
        data: a dataset of any layout, see `open_dataset`; its classes are the model's.
        output: new or empty, unless `resume`.
        recipe: the settings.
        device: "auto", "cpu", "cuda" or "cuda:N".
        resume: continue the run in `output`; dataset and recipe must be the ones it began with,
            except for settings that do not change the weights, see `Setting.exact`.
        split_file: which images train, validate and test; the tutorial's rule without it.
        images: folder of a COCO file's images, if it is elsewhere.
        save_every: steps between two states to resume from; 0 keeps one after every epoch only.
        tensorboard: also write events for TensorBoard, if it is installed.
        observers: called in the first process after an epoch has been saved.
        notify: called with one line per event.

    Returns:
        The finished run; in other processes than the first, the same without its files.

    Raises:
        StoppedError: on SIGTERM or SIGINT; the state is saved.
        TrainingError: `output` is in use, cannot be written, is no run to resume or was begun with
            other settings; or training cannot go on.
        PedsegError: dataset, weights or device cannot be used.
    """
    torch_device = local_device(resolve_device(device))
    if recipe.amp == "fp16" and torch_device.type != "cuda":
        raise DeviceError(f"amp: fp16 needs CUDA, found {torch_device}; use bf16 or none")
    stop = StopRequest()
    with joined_processes(torch_device) as processes:
        notify_first: Notify = notify if processes.first else lambda _line: None
        run = _Run(
            RunData.open(
                Path(data),
                categories=recipe.categories,
                class_map=parse_class_map(recipe.map),
                images=images,
            ),
            RunFolder(Path(output)),
            recipe,
            torch_device,
            processes,
            notify_first,
        )
        state, split = run.start(resume, split_file)
        try:
            with stop.listening(notify_first), run.logging(state, tensorboard) as loggers:
                run.fit(state, split, stop, save_every, (*loggers, *observers))
        except StoppedError as stopped:
            elsewhere = f" --images {images}" if images else ""
            raise StoppedError(
                f"{stopped} ({stop.by or 'by another process'}), its state is saved; to continue: "
                f"pedseg-train --data {data}{elsewhere} --output {output} --resume"
            ) from None
        return run.finish(state, split)


@dataclass(frozen=True, slots=True)
class _Run:
    """A training run: its data, folder and settings."""

    data: RunData
    folder: RunFolder
    recipe: Recipe
    device: torch.device
    processes: Processes
    notify: Notify

    def start(self, resume: bool, split_file: Path | None) -> tuple[TrainingState, Split]:
        """The state to train from, and the split; the first process prepares the folder."""
        torch.manual_seed(self.recipe.seed)
        if resume:
            saved = self.processes.from_first(self._load_saved_state)
            model = _rebuild_model(CheckpointHeader.from_json(saved["header"]), self.recipe)
        else:
            split = self.processes.from_first(lambda: self._new_split(split_file))
            model = build_for(self.recipe, class_names=self.data.class_names, notify=self.notify)
        if self.recipe.weights != "none":
            freeze(model, ARCHITECTURES[self.recipe.architecture], self.recipe.freeze)
        state = TrainingState.start(model.to(self.device), self.recipe)
        if resume:
            state.load_state_dict(saved)
            done = f", step {state.progress.steps}" if state.progress.steps else ""
            self.notify(f"resuming after epoch {state.epoch} of {self.recipe.epochs}{done}")
            split = self.processes.from_first(lambda: self._resumed_split(split_file))
        self.processes.from_first(lambda: self._write_settings(split))
        return state, split

    @contextlib.contextmanager
    def logging(self, state: TrainingState, tensorboard: bool) -> Iterator[tuple[Observer, ...]]:
        """TensorBoard as an observer, if wanted and installed, in the first process."""
        writer = None
        if tensorboard and self.processes.first:
            writer = open_tensorboard(self.folder.root, done=state.epoch, notify=self.notify)
        try:
            yield () if writer is None else (writer,)
        finally:
            if writer is not None:
                writer.close()

    def fit(
        self,
        state: TrainingState,
        split: Split,
        stop: StopRequest,
        save_every: int,
        observers: Sequence[Observer],
    ) -> None:
        """Train to the end of the recipe."""
        part, indices = selection_part(split)
        writer = RunWriter(self.folder, self._header_fields(split), self.recipe, self.notify)
        note = "; without a validation part the test images select the best epoch"
        self.notify(
            f"{self.recipe.architecture} on {self.device}"
            f"{f' in {self.processes.world} processes' if self.processes.world > 1 else ''}: "
            f"{len(split.train)} images to train on, {len(split.val)} to validate on, "
            f"{len(split.test)} to test on, {self.recipe.epochs} epochs"
            f"{note if part == 'test' else ''}"
        )
        fit(
            state,
            TrainingContext(
                samples=TrainingSamples(self.data.dataset, split.train, self.recipe),
                recipe=self.recipe,
                device=self.device,
                name_of=self.data.name_of,
                evaluate=make_evaluator(
                    self.data, indices, device=self.device, processes=self.processes, stop=stop
                ),
                save=writer.save_state if self.processes.first else _save_nothing,
                observers=(writer.save_epoch, writer.save_curves, *observers, writer.notify_epoch),
                save_every=save_every,
                processes=self.processes,
                stop=stop,
            ),
        )

    def finish(self, state: TrainingState, split: Split) -> TrainedRun:
        """Evaluate the best checkpoint on the test images, unless they have selected it."""
        part, _ = selection_part(split)
        best = best_record(state.history)
        test = {kind: best[kind] for kind in ("bbox", "segm")}
        if self.processes.first:
            result = final_evaluation(self.folder, self.data, split, self.device)
            if part != "test" and split.test:
                test = {"bbox": result.bbox, "segm": result.segm}
                write_json(self.folder.test, {"epoch": best["epoch"], **result.to_dict()})
        return TrainedRun(self.folder, tuple(state.history), part, test)

    def _load_saved_state(self) -> dict[str, Any]:
        self.folder.check_resumable(self.recipe, self.data.digest, self.processes.world)
        self.folder.remove_leftovers()
        return load_resume_state(self.folder.resume)

    def _new_split(self, split_file: Path | None) -> Split:
        self.folder.check_unused()
        split = self.data.make_split(self.recipe, split_file)
        inspect_run(self.data, split, self.notify)
        return split

    def _resumed_split(self, split_file: Path | None) -> Split:
        split = self.data.read_split(self.folder.split)
        if split_file is not None and self.data.read_split(split_file) != split:
            raise TrainingError(
                f"{split_file}: expected the split that the run began with "
                f"({self.folder.split}), found another; drop --split-file, or start another run"
            )
        return split

    def _write_settings(self, split: Split) -> None:
        """Write the run's settings; last, so that a run that cannot start leaves no files."""
        self.folder.check_writable()
        if not self.folder.split.is_file() or not self.folder.resume.is_file():
            self.data.write_split(self.folder.split, split)
        self.folder.write_settings(self.recipe, self.data.digest, self.processes.world)

    def _header_fields(self, split: Split) -> dict[str, Any]:
        """The fields of every checkpoint's header that describe the run."""
        described = describe_split(self.folder.split, split, self.recipe)
        return {
            "architecture": self.recipe.architecture,
            "class_names": self.data.class_names,
            "recipe": self.recipe.to_dict(),
            "dataset_digest": dict(self.data.digest),
            "split": described,
        }


def _rebuild_model(header: CheckpointHeader, recipe: Recipe) -> MaskRCNN:
    """The network of a resumed run, without loading the starting weights again."""
    return assemble_from(header, box_batch=recipe.box_batch, proposals=recipe.proposals)


def _save_nothing(_state: TrainingState) -> None:
    """The `save` of all processes but the first."""
