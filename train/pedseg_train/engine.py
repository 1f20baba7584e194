"""The training loop: one epoch, and epochs with evaluation, checkpoints and resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.console import track
from pedseg_runtime.errors import TrainingError

from .evaluation import CocoResult
from .recipes import Recipe

Sample = tuple[torch.Tensor, dict[str, Any]]
Batch = tuple[tuple[torch.Tensor, ...], tuple[dict[str, Any], ...]]
Record = dict[str, Any]


@dataclass
class TrainingState:
    """Everything that changes while training, so that saving it is saving the run.

    Attributes:
        model: on the training device.
        optimizer: over its trainable parameters.
        shuffler: random generator of the picture order and of the workers' seeds.
        history: one record per finished epoch.
    """

    model: MaskRCNN
    optimizer: torch.optim.Optimizer
    shuffler: torch.Generator
    history: list[Record] = field(default_factory=list)

    @classmethod
    def start(cls, model: MaskRCNN, recipe: Recipe) -> TrainingState:
        """The state before the first epoch."""
        return cls(model, make_optimizer(model, recipe), seeded_generator(recipe.seed))

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, lists and dicts that `load_state_dict` continues from."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shuffler": self.shuffler.get_state(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all(),
            "history": self.history,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue where `saved` was made; also sets torch's global random state."""
        try:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.shuffler.set_state(saved["shuffler"])
            torch.set_rng_state(saved["torch_random"])
            if len(saved["cuda_random"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(saved["cuda_random"])
            self.history = list(saved["history"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"resume state: does not fit this run ({error}); start the run again"
            ) from error


def fit(
    state: TrainingState,
    *,
    dataset: Dataset[Sample],
    recipe: Recipe,
    device: torch.device,
    name_of: Callable[[int], str],
    evaluate: Callable[[MaskRCNN], CocoResult],
    after_epoch: Callable[[TrainingState], object],
) -> None:
    """Train until `recipe.epochs` epochs are in the history.

    Args:
        state: new or resumed; its history tells where to go on.
        dataset: transformed samples `(image float32 [3, H, W] in 0..1, target)`.
        recipe: the settings.
        device: where the model lies.
        name_of: target's image_id -> the picture's name, for errors.
        evaluate: accuracy of the model on the test pictures.
        after_epoch: is called when an epoch's record has been added to the history.

    Raises:
        TrainingError: a picture that cannot be trained on, or a loss that is not finite.
    """
    loader = make_loader(dataset, recipe, state.shuffler)
    for epoch in range(len(state.history), recipe.epochs):
        started = time.perf_counter()
        losses = train_one_epoch(
            state.model,
            loader,
            state.optimizer,
            recipe=recipe,
            epoch=epoch,
            device=device,
            name_of=name_of,
        )
        trained = time.perf_counter()
        result = evaluate(state.model)
        state.history.append(
            {
                "epoch": epoch + 1,
                "lr": state.optimizer.param_groups[0]["lr"],
                "losses": losses,
                "seconds": round(trained - started, 3),
                "evaluation_seconds": round(time.perf_counter() - trained, 3),
                "bbox": result.bbox,
                "segm": result.segm,
            }
        )
        after_epoch(state)


def train_one_epoch(
    model: MaskRCNN,
    loader: DataLoader[Sample],
    optimizer: torch.optim.Optimizer,
    *,
    recipe: Recipe,
    epoch: int,
    device: torch.device,
    name_of: Callable[[int], str],
) -> dict[str, float]:
    """Train on every batch once.

    Args:
        model: on `device`; is put in train mode.
        loader: batches of `collate`.
        optimizer: its learning rate is set at every step, as the recipe says.
        recipe: the settings.
        epoch: counted from 0.
        device: where the model lies.
        name_of: target's image_id -> the picture's name, for errors.

    Returns:
        Mean over the steps of each of torchvision's losses, and of their sum as `loss`.
    """
    model.train()
    totals: dict[str, float] = {}
    description = f"epoch {epoch + 1}/{recipe.epochs}"
    batches: Sequence[Batch] = track(loader, description, total=len(loader))  # type: ignore[assignment]
    for step, (images, targets) in enumerate(batches):
        _check_targets(targets, name_of)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(epoch, step, len(loader))

        losses = model(
            [image.to(device) for image in images], [_to(target, device) for target in targets]
        )
        loss = sum(losses.values())
        values = {name: value.item() for name, value in [("loss", loss), *losses.items()]}
        _check_losses(values, targets, name_of, epoch, step)

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals = {name: totals.get(name, 0.0) + value for name, value in values.items()}
    return {name: total / len(loader) for name, total in totals.items()}


def make_optimizer(model: MaskRCNN, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the model's trainable parameters."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def make_loader(
    dataset: Dataset[Sample], recipe: Recipe, shuffler: torch.Generator
) -> DataLoader[Sample]:
    """Shuffled batches. The generator also seeds the workers, so that flips can be repeated."""
    return DataLoader(
        dataset,
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=recipe.workers,
        collate_fn=collate,
        generator=shuffler,
    )


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples -> (images, targets); images differ in size, so they are not stacked."""
    images, targets = zip(*samples, strict=True)
    return images, targets


def seeded_generator(seed: int) -> torch.Generator:
    """A CPU generator of its own, independent of torch's global one."""
    return torch.Generator().manual_seed(seed)


def _to(target: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in target.items()
    }


def _check_targets(targets: Sequence[dict[str, Any]], name_of: Callable[[int], str]) -> None:
    """Torchvision fails on such boxes too, without saying which picture they are from."""
    for target in targets:
        boxes = target["boxes"]
        bad = (boxes[:, 2:] <= boxes[:, :2]).any(dim=1).nonzero().flatten().tolist()
        if bad:
            raise TrainingError(
                f"{name_of(int(target['image_id']))}: expected boxes with width and height, found "
                f"{boxes[bad[0]].tolist()}; correct or remove that instance"
            )


def _check_losses(
    values: dict[str, float],
    targets: Sequence[dict[str, Any]],
    name_of: Callable[[int], str],
    epoch: int,
    step: int,
) -> None:
    if all(abs(value) < float("inf") for value in values.values()):  # False for NaN too
        return
    found = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    names = ", ".join(name_of(int(target["image_id"])) for target in targets)
    raise TrainingError(
        f"epoch {epoch + 1}, step {step + 1}: expected finite losses, found {found} on {names}; "
        "lower the learning rate, or look at these pictures' masks"
    )
