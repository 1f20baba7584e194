"""Every wrapping that trainers save is read without running code, everything else is named."""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pedseg_runtime.errors import CheckpointError, InputError
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.importing import read_weights
from pedseg_train.importing.files import TOP_LEVEL


@pytest.fixture(scope="module")
def state(tutorial):
    """The right names with a corner of each tensor: shapes are not read here."""
    full = tutorial().state_dict()
    return {name: t[(slice(2),) * t.ndim].clone() for name, t in full.items()}


@dataclasses.dataclass
class Hyperparameters:
    """As Lightning saves them: a class that only the trainer's machine knows."""

    rate: float = 0.1


class Attributes(dict):
    """A dictionary of a class of its own."""


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def compiled_backbone(state):
    return {name.replace("backbone.", "backbone._orig_mod.", 1): t for name, t in state.items()}


WRAPPINGS = {
    "bare": (lambda s: s, TOP_LEVEL),
    "model": (lambda s: {"model": s, "epoch": 9}, "model"),
    "state_dict": (lambda s: {"state_dict": s}, "state_dict"),
    "model_state_dict": (
        lambda s: {"model_state_dict": s, "epoch": 9, "optimizer_state_dict": {}},
        "model_state_dict",
    ),
    "ema": (lambda s: {"ema": prefixed(s, "module."), "updates": 10}, "ema"),
    "a name of one's own": (lambda s: {"net": {"weights": s}}, "net/weights"),
    "DataParallel": (lambda s: prefixed(s, "module."), TOP_LEVEL),
    "compiled": (lambda s: prefixed(s, "_orig_mod."), TOP_LEVEL),
    "compiled and DataParallel": (lambda s: prefixed(s, "module._orig_mod."), TOP_LEVEL),
    "compiled backbone": (compiled_backbone, TOP_LEVEL),
    "AveragedModel": (
        lambda s: {"n_averaged": torch.tensor(3), **prefixed(s, "module.")},
        TOP_LEVEL,
    ),
    "Lightning": (
        lambda s: {
            "state_dict": prefixed(s, "model."),
            "hyper_parameters": Attributes(rate=0.1, settings=Hyperparameters()),
            "callbacks": {"best": {"best_model_score": torch.tensor(0.5), "dir": "x"}},
            "loops": {"fit": {"state": collections.Counter(steps=3)}},
        },
        "state_dict/model",
    ),
    "Lightning, compiled": (
        lambda s: {"state_dict": prefixed(s, "model._orig_mod.")},
        "state_dict/model",
    ),
    "reference training": (
        lambda s: {
            "model": s,
            "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []},
            "lr_scheduler": {"last_epoch": 3},
            "args": argparse.Namespace(device="cuda", output_dir=pathlib.PurePosixPath("/tmp")),
            "epoch": 3,
        },
        "model",
    ),
    "numpy's numbers": (lambda s: {"model": s, "best_map": np.float64(0.4)}, "model"),
    "the same twice": (lambda s: {"model": s, "ema": s}, "model"),
}


def same(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


@pytest.mark.parametrize("kind", [*WRAPPINGS])
def test_wrapping_is_taken_off(tmp_path, state, kind):
    wrap, entry = WRAPPINGS[kind]
    torch.save(wrap(state), tmp_path / "model.pth")
    found = read_weights(tmp_path / "model.pth")
    assert same(found.tensors, state)
    assert found.entry == entry
    assert found.notes == ()


def test_files_of_old_torch_are_read(tmp_path, state):
    content = {"model": state, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "m.pth").tensors, state)


def test_safetensors_of_another_program_are_read(tmp_path, state):
    save_file(prefixed(state, "model."), tmp_path / "model.safetensors")
    assert same(read_weights(tmp_path / "model.safetensors").tensors, state)


def test_content_decides_not_the_name(tmp_path, state):
    save_file(dict(state), tmp_path / "model.pth")
    assert same(read_weights(tmp_path / "model.pth").tensors, state)


def test_names_of_old_torchvision_are_renewed(tmp_path, state):
    def old(name):
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for i in range(4):
            name = name.replace(f"_blocks.{i}.0.", f"_blocks.{i}.")
            name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        return name

    renamed = {old(name): tensor for name, tensor in state.items()}
    assert len(renamed.keys() - state.keys()) == 2 * (1 + 4 + 8)
    torch.save(renamed, tmp_path / "model.pth")
    assert same(read_weights(tmp_path / "model.pth").tensors, state)


def test_half_precision_becomes_float32_and_says_so(tmp_path, state):
    half = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    torch.save(half, tmp_path / "model.pth")
    found = read_weights(tmp_path / "model.pth")
    assert {t.dtype for t in found.tensors.values()} == {torch.float32}
    assert found.notes == (f"{len(state)} tensors of torch.float16 became float32",)


def test_tensors_beside_the_network_are_named(tmp_path, state):
    extra = {"loss.weight": torch.zeros(2), **prefixed(state, "model.")}
    torch.save({"state_dict": extra}, tmp_path / "model.ckpt")
    found = read_weights(tmp_path / "model.ckpt")
    assert same(found.tensors, state)
    assert found.notes == (
        "left out 1 tensor (first loss.weight): not part of the network state_dict/model",
    )


def two_networks(state):
    other = {name: tensor + 1 for name, tensor in state.items()}
    yield {"model": state, "model_ema": other}, "model", "model_ema"
    yield (
        {"state_dict": prefixed(state, "a.") | prefixed(other, "b.")},
        "state_dict/a",
        "state_dict/b",
    )


def test_two_different_networks_have_to_be_chosen_from(tmp_path, state):
    for content, first, second in two_networks(state):
        torch.save(content, tmp_path / "model.pth")
        with pytest.raises(
            InputError, match=f"2 that differ: {first}, {second}; .* --entry {second}"
        ):
            read_weights(tmp_path / "model.pth")
        assert same(read_weights(tmp_path / "model.pth", first).tensors, state)
        assert not same(read_weights(tmp_path / "model.pth", second).tensors, state)
        with pytest.raises(InputError, match=f"one of {first}, {second}, found 'x'"):
            read_weights(tmp_path / "model.pth", "x")


class Touch:
    """Unpickled in the usual way it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_never_run(tmp_path, state, zipped):
    evil = {"model": state, "extra": Touch(tmp_path / "ran")}
    torch.save(evil, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    with contextlib.suppress(CheckpointError):
        read_weights(tmp_path / "model.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "model.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


def whole(path, theirs):
    torch.save(theirs, path)


def whole_in_a_dictionary(path, theirs):
    torch.save({"epoch": 1, "model": theirs}, path)


@pytest.mark.parametrize(("write", "place"), [(whole, ""), (whole_in_a_dictionary, "['model']")])
def test_whole_model_is_refused_with_lines_that_work(tmp_path, theirs, write, place):
    path = tmp_path / "model.pth"
    write(path, theirs)
    with pytest.raises(CheckpointError, match="found a whole pickled model") as caught:
        read_weights(path)
    lines = str(caught.value).rpartition("installed: ")[2]
    assert f"weights_only=False){place};" in lines
    exec(lines)
    assert same(read_weights(tmp_path / "model_state_dict.pth").tensors, theirs.state_dict())


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_refused_with_lines_that_work(tmp_path):
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    model = torch.jit.trace(Small(), torch.zeros(1, 2))
    model.save(str(tmp_path / "model.pt"))
    with pytest.raises(CheckpointError, match="found a TorchScript archive") as caught:
        read_weights(tmp_path / "model.pt")
    exec(str(caught.value).rpartition("one by: ")[2])
    assert set(read_weights(tmp_path / "model_state_dict.pth").tensors) == {
        "layer.weight",
        "layer.bias",
    }


def truncated(path, state):
    torch.save(state, path)
    os.truncate(path, path.stat().st_size // 2)


def not_finite(path, state):
    name = "roi_heads.box_head.fc6.weight"
    torch.save({**state, name: torch.full_like(state[name], torch.nan)}, path)


def list_of_tensors(path, state):
    torch.save(list(state.values()), path)


def pedsegs_own(path, state):
    from pedseg_train.models import build_model

    model = build_model("maskrcnn_resnet10_fpn_lite")
    names = ("background", "person")
    header = CheckpointHeader.of(
        model, architecture="maskrcnn_resnet10_fpn_lite", class_names=names
    )
    save_checkpoint(path, model, header)


def index_of_shards(path, state):
    path.write_text(json.dumps({"metadata": {}, "weight_map": {}}))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (truncated, "damaged"),
        (not_finite, "NaN or infinity in roi_heads.box_head.fc6.weight"),
        (list_of_tensors, "found a list"),
        (pedsegs_own, "found a pedseg checkpoint; use it as it is: pedseg-export"),
        (index_of_shards, "JSON"),
        (lambda path, _: path.write_bytes(b""), "an empty file"),
        (lambda path, _: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "LFS"),
        (lambda path, _: path.write_text("<!DOCTYPE html>\n<title>"), "a web page"),
        (lambda path, _: path.write_text("weights, honestly"), "damaged, of another kind"),
        (lambda path, _: path.mkdir(), "a folder"),
        (lambda path, _: None, "no such file"),
        (lambda path, _: torch.save({"epoch": 1, "loss": 0.1}, path), "entries: epoch, loss"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, state, write, message):
    write(tmp_path / "x.pth", state)
    with pytest.raises((CheckpointError, InputError), match=message) as caught:
        read_weights(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "x.pth") in str(caught.value)
