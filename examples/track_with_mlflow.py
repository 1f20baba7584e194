"""Train, and follow the run in MLflow: the settings, every epoch's numbers, the best checkpoint.

    pip install "pedseg[train]" mlflow-skinny
    python examples/track_with_mlflow.py DATA runs/tracked --preset smoke --epochs 2

An observer of training is any callable that takes the state after an epoch; TensorBoard's is one,
and this is another. Nothing of pedseg knows MLflow. The store is a folder unless --store names a
server or, with the whole of mlflow installed, a database (sqlite:///mlflow.db).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import click

from pedseg_runtime.console import Choice, Command
from pedseg_train.recipes import RECIPES, Recipe
from pedseg_train.report.tensorboard import State, scalars
from pedseg_train.run.train import train


class MlflowRun:
    """Writes each epoch's numbers into a run of MLflow; an observer of training.

    Args:
        store: address of a tracking server or database, or a folder.
        experiment: to file the run under; it is made if it does not exist.
        recipe: the settings, kept as the run's parameters.
    """

    def __init__(self, store: str, *, experiment: str, recipe: Recipe) -> None:
        if "://" not in store:
            store = Path(store).resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow 3.17 refuses
        from mlflow.tracking import MlflowClient  # reads the variable when it is imported

        self._client = MlflowClient(store)
        known = self._client.get_experiment_by_name(experiment)
        folder = known.experiment_id if known else self._client.create_experiment(experiment)
        self.id: str = self._client.create_run(folder).info.run_id
        for name, value in recipe.to_dict().items():
            self._client.log_param(self.id, name, value)

    def __call__(self, state: State) -> None:
        """Write the last finished epoch."""
        record = state.history[-1]
        for name, value in scalars(record).items():
            self._client.log_metric(self.id, name, value, step=int(record["epoch"]))

    def finish(self, checkpoint: Path | None) -> None:
        """End the run: with its checkpoint if there is one, else as failed."""
        if checkpoint is not None:
            self._client.log_artifact(self.id, str(checkpoint))
        self._client.set_terminated(self.id, "FINISHED" if checkpoint else "FAILED")


@click.command(cls=Command)
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--preset", type=Choice([*RECIPES]), default="default", show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), help="Default: the preset's.")
@click.option("--store", default="mlruns", show_default=True, help="Folder or address.")
@click.option("--experiment", default="pedseg", show_default=True)
def main(
    data: Path, output: Path, preset: str, epochs: int | None, store: str, experiment: str
) -> None:
    """Train on DATA into the folder OUTPUT."""
    recipe = RECIPES[preset]
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    tracked = MlflowRun(store, experiment=experiment, recipe=recipe)
    best = None
    try:
        run = train(data=data, output=output, recipe=recipe, observers=[tracked], notify=click.echo)
        best = run.folder.best
    finally:
        tracked.finish(best)
    click.echo(f"run {tracked.id} in {store}")


if __name__ == "__main__":
    main()
