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

from .architectures import ARCHITECTURES
from .checkpoint import CheckpointHeader, assemble_from
from .data import Split
from .data.transforms import TrainingSamples
from .eager import resolve_device
from .engine import (
    Observer,
    Processes,
    StoppedError,
    StopRequest,
    Surroundings,
    TrainingState,
    best_record,
    fit,
    joined_processes,
    local_device,
)
from .last_look import look
from .measuring import measuring
from .models import build_for
from .parts import freeze
from .recipes import Recipe
from .report import open_tensorboard
from .run_data import RunData, choosing, describe_split
from .run_folder import RunFolder
from .run_writer import Notify, RunWriter
from .tensor_files import load_resume_state
from .trained_run import TrainedRun


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
    """Train by `recipe` on the dataset at `data` and leave everything in the folder `output`.

    On a CPU, a run that was interrupted and resumed ends with the same weights as one that was not,
    wherever it was interrupted. Under torchrun, all its processes train together, and the first
    writes.

    Args:
        data: a dataset of any layout, see `open_dataset`; its classes are the model's.
        output: new or empty, unless `resume`.
        recipe: the settings.
        device: "auto", "cpu", "cuda" or "cuda:N".
        resume: continue the run in `output`; recipe and dataset must be the ones it began with, but
            for what does not change its path.
        split_file: which pictures train, validate and test; the tutorial's rule without it.
        images: folder of a COCO file's pictures, if it is elsewhere.
        save_every: steps between two states to resume from; 0 keeps one after every epoch only.
        tensorboard: also write events for TensorBoard, if the package is there.
        observers: are called in the first process when an epoch has been saved.
        notify: is told in one line what happens.

    Returns:
        The finished run; in other processes than the first, the same without its files.

    Raises:
        StoppedError: SIGTERM or SIGINT came; the state is saved.
        TrainingError: `output` is in use, cannot be written, is no run to resume or was begun with
            other settings; or training cannot go on.
        PedsegError: dataset, weights or device cannot be used.
    """
    torch_device = local_device(resolve_device(device))
    if recipe.amp == "fp16" and torch_device.type != "cuda":
        raise DeviceError(f"amp: fp16 needs CUDA, found {torch_device}; use bf16 or none")
    stop = StopRequest()
    with joined_processes(torch_device) as processes:
        speak: Notify = notify if processes.first else lambda _line: None
        run = _Run(
            RunData.open(Path(data), categories=recipe.categories, images=images),
            RunFolder(Path(output)),
            recipe,
            torch_device,
            processes,
            speak,
        )
        state, split = run.begin(resume, split_file)
        try:
            with stop.listening(speak), run.watched(state, tensorboard) as watching:
                run.fit(state, split, stop, save_every, (*watching, *observers))
        except StoppedError as stopped:
            elsewhere = f" --images {images}" if images else ""
            raise StoppedError(
                f"{stopped} ({stop.by or 'by another process'}), its state is saved; to continue: "
                f"pedseg-train --data {data}{elsewhere} --output {output} --resume"
            ) from None
        return run.finish(state, split)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the parts of a run share."""

    data: RunData
    folder: RunFolder
    recipe: Recipe
    device: torch.device
    processes: Processes
    notify: Notify

    def begin(self, resume: bool, split_file: Path | None) -> tuple[TrainingState, Split]:
        """The state to go on from, and the split; the first process prepares the folder."""
        torch.manual_seed(self.recipe.seed)
        if resume:
            saved = self.processes.from_first(self._saved)
            model = _assembled(CheckpointHeader.from_json(saved["header"]), self.recipe)
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
            split = self.processes.from_first(lambda: self._old_split(split_file))
        self.processes.from_first(lambda: self._write_settings(split))
        return state, split

    @contextlib.contextmanager
    def watched(self, state: TrainingState, tensorboard: bool) -> Iterator[tuple[Observer, ...]]:
        """TensorBoard as an observer, if it is wanted and there, in the first process."""
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
        part, chosen = choosing(split)
        writer = RunWriter(self.folder, self._facts(split), self.recipe, self.notify)
        alone = "; no validation part, so that the test pictures choose the best epoch"
        self.notify(
            f"{self.recipe.architecture} on {self.device}"
            f"{f' in {self.processes.world} processes' if self.processes.world > 1 else ''}: "
            f"{len(split.train)} pictures to train on, {len(split.val)} to validate on, "
            f"{len(split.test)} to test on, {self.recipe.epochs} epochs"
            f"{alone if part == 'test' else ''}"
        )
        fit(
            state,
            Surroundings(
                samples=TrainingSamples(self.data.dataset, split.train, self.recipe),
                recipe=self.recipe,
                device=self.device,
                name_of=self.data.name_of,
                evaluate=measuring(
                    self.data, chosen, device=self.device, processes=self.processes, stop=stop
                ),
                save=writer.save_state if self.processes.first else _nothing,
                observers=(writer.save_epoch, writer.save_curves, *observers, writer.tell),
                save_every=save_every,
                processes=self.processes,
                stop=stop,
            ),
        )

    def finish(self, state: TrainingState, split: Split) -> TrainedRun:
        """Measure the best checkpoint on the test pictures, where they have not chosen it."""
        part, _ = choosing(split)
        best = best_record(state.history)
        test = {kind: best[kind] for kind in ("bbox", "segm")}
        if self.processes.first:
            result = look(self.folder, self.data, split, self.device)
            if part != "test" and split.test:
                test = {"bbox": result.bbox, "segm": result.segm}
                write_json(self.folder.test, {"epoch": best["epoch"], **result.to_dict()})
        return TrainedRun(self.folder, tuple(state.history), part, test)

    def _saved(self) -> dict[str, Any]:
        self.folder.check_same(self.recipe, self.data.digest, self.processes.world)
        self.folder.sweep()
        return load_resume_state(self.folder.resume)

    def _new_split(self, split_file: Path | None) -> Split:
        self.folder.check_unused()
        return self.data.make_split(self.recipe, split_file)

    def _old_split(self, split_file: Path | None) -> Split:
        split = self.data.read_split(self.folder.split)
        if split_file is not None and self.data.read_split(split_file) != split:
            raise TrainingError(
                f"{split_file}: expected the split that the run began with "
                f"({self.folder.split}), found another; drop --split-file, or start another run"
            )
        return split

    def _write_settings(self, split: Split) -> None:
        """Only now, when everything else was fine, does a new run leave traces."""
        self.folder.check_writable()
        if not self.folder.split.is_file():
            self.data.write_split(self.folder.split, split)
        self.folder.write_settings(self.recipe, self.data.digest, self.processes.world)

    def _facts(self, split: Split) -> dict[str, Any]:
        """What the header of every checkpoint says; files are read by the first process only."""
        described = describe_split(self.folder.split, split, self.recipe)
        return {
            "architecture": self.recipe.architecture,
            "class_names": self.data.class_names,
            "recipe": self.recipe.to_dict(),
            "dataset_digest": dict(self.data.digest),
            "split": described,
        }


def _assembled(header: CheckpointHeader, recipe: Recipe) -> MaskRCNN:
    """The network of a resumed run; the starting weights are not needed again."""
    return assemble_from(header, box_batch=recipe.box_batch, proposals=recipe.proposals)


def _nothing(_state: TrainingState) -> None:
    """What other processes than the first save."""
