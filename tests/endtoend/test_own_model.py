"""From the tutorial to artifacts: a model of torchvision's alone, imported, exported, compared.

Run it with `-s` to see the largest differences of scores, boxes and masks.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from pedseg_export.commands.export import main as export
from pedseg_export.verification import Sample, verify
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.commands.import_weights import main as import_command
from pedseg_train.eager import EagerSegmenter

SCRIPT = Path(__file__).parents[2] / "examples" / "own_model.py"
NAMES = ("background", "person")
IMAGES = 20


def own_model(monkeypatch: pytest.MonkeyPatch, eps: float, weights: Path) -> ModuleType:
    """The example, run as its owner would: by its environment."""
    monkeypatch.setenv("EPS", str(eps))
    monkeypatch.setenv("WEIGHTS", str(weights))
    spec = importlib.util.spec_from_file_location("own_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=[0.0, 1e-5], ids=["eps 0", "eps 1e-5"])
def trained(request, tmp_path_factory):
    """A trained model's file and eps."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        module = own_model(patch, request.param, folder / "model.pth")
        torch.save(module.train().state_dict(), folder / "model.pth")
    return folder / "model.pth", request.param


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def samples(module, count=IMAGES):
    scenes = (module.scene(1000 + number)[0] for number in range(count))
    return [
        Sample(f"scene {number}", (255 * image).round().byte().permute(1, 2, 0).numpy())
        for number, image in enumerate(scenes)
    ]


def test_artifacts_of_an_import_detect_what_the_users_model_does(trained, tmp_path, monkeypatch):
    weights, eps = trained
    module = own_model(monkeypatch, eps, weights)
    checkpoint = tmp_path / "imported.safetensors"
    document = json.loads(
        run(
            *(import_command, weights, "--output", checkpoint, "--json"),
            *("--verify-against", f"{SCRIPT}:build"),
        )
    )
    assert document["header"]["norm_eps"] == eps
    assert document["parity"]["passed"]
    reference = EagerSegmenter(module.build(), class_names=NAMES)
    for form in ("onnx", "torchscript"):
        artifact = tmp_path / f"imported.{form}"
        run(export, checkpoint, "--format", form, "--output", artifact)
        with Segmenter.load(artifact, device="cpu") as segmenter:
            report = verify(segmenter, reference, samples(module))
        print(f"\neps {eps:g}, {form}: {report.summary()}")
        assert report, report.summary()
        assert report.counts.images == IMAGES
        assert report.counts.matched >= IMAGES


def test_the_other_eps_would_have_been_another_network(trained, tmp_path, monkeypatch):
    """What a silent guess would have cost, on the same images."""
    weights, eps = trained
    module = own_model(monkeypatch, eps, weights)
    checkpoint = tmp_path / "wrong.safetensors"
    sizes = ("--min-size", 128, "--max-size", 192)
    run(import_command, weights, "-o", checkpoint, *sizes, "--norm-eps", 1e-5 if eps == 0 else 0)
    wrong = EagerSegmenter(load_checkpoint(checkpoint).model, class_names=NAMES)
    right = EagerSegmenter(module.build(), class_names=NAMES)
    found = [[side(one.image) for one in samples(module, 3)] for side in (right, wrong)]
    largest = max(
        abs(a.scores[:5] - b.scores[:5]).max() for a, b in zip(*found, strict=True) if len(a.scores)
    )
    print(f"\neps {eps:g}, wrong by hand: scores {largest:.2g} apart")
    assert largest > 1e-4


WRAPPINGS = {
    "state_dict": lambda s: {"state_dict": s},
    "model": lambda s: {"model": s, "epoch": 9},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {}},
    "ema": lambda s: {"ema": s},
    "module.": lambda s: {f"module.{name}": t for name, t in s.items()},
    "_orig_mod.": lambda s: {f"_orig_mod.{name}": t for name, t in s.items()},
    "model.": lambda s: {"state_dict": {f"model.{name}": t for name, t in s.items()}},
    "safetensors": dict,
}


def test_every_wrapping_gives_the_same_checkpoint(trained, tmp_path):
    weights, eps = trained
    state = torch.load(weights, weights_only=True)
    for name, wrap in WRAPPINGS.items():
        path = tmp_path / f"{name}weights"
        save_file(wrap(state), path) if name == "safetensors" else torch.save(wrap(state), path)
        run(
            *(import_command, path, "--output", tmp_path / "out.safetensors"),
            *("--norm-eps", eps, "--min-size", 128, "--max-size", 192, "--images", image(tmp_path)),
        )
        found = load_file(tmp_path / "out.safetensors")
        assert found.keys() == state.keys(), name
        assert all(torch.equal(found[key], tensor) for key, tensor in state.items()), name


def image(folder):
    """One small image, so that the effect of eps is quickly computed."""
    from PIL import Image

    Image.new("RGB", (64, 48), (90, 120, 60)).save(folder / "image.png")
    return folder / "image.png"
