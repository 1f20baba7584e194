"""The example for MLflow: what a run leaves in a store of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from pedseg_train.recipes import RECIPES

tracking = pytest.importorskip("mlflow.tracking", reason="needs mlflow-skinny")

EXAMPLE = Path(__file__).parents[2] / "examples" / "track_with_mlflow.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mlflow_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def epoch(number: int) -> dict[str, object]:
    return {
        "epoch": number, "lr": 0.01, "losses": {"loss": 2.0 / number}, "seconds": 9.0,
        "evaluation_seconds": 1.0, "bbox": {"AP": 0.1 * number}, "segm": {"AP": None},
    }  # fmt: skip


def test_a_run_has_settings_epochs_and_the_best_checkpoint(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.write_bytes(b"weights")

    def train(*, recipe, observers, **_others):
        for number in (1, 2):
            state = SimpleNamespace(history=[epoch(n + 1) for n in range(number)])
            for observer in observers:
                observer(state)
        return SimpleNamespace(folder=SimpleNamespace(best=checkpoint))

    monkeypatch.setattr(example, "train", train)
    store = tmp_path / "store"
    arguments = ["data", "run", "--preset", "smoke", "--epochs", "2", "--store", str(store)]
    result = CliRunner().invoke(example.main, arguments)
    assert result.exit_code == 0, result.output

    client = tracking.MlflowClient(store.as_uri())
    experiment = client.get_experiment_by_name("pedseg")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["architecture"] == RECIPES["smoke"].architecture
    assert run.data.params["epochs"] == "2"
    history = client.get_metric_history(run.info.run_id, "box/AP")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]
    assert "mask/AP" not in run.data.metrics  # it had no meaning
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == [checkpoint.name]


def test_a_run_that_fails_is_marked_as_failed(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "train", lambda **_options: 1 / 0)
    result = CliRunner().invoke(example.main, ["data", "run", "--store", str(tmp_path / "store")])
    assert isinstance(result.exception, ZeroDivisionError)
    client = tracking.MlflowClient((tmp_path / "store").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("pedseg").experiment_id])
    assert run.info.status == "FAILED"
