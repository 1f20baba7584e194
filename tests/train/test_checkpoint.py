"""Checkpoints survive a round trip and refuse everything else in one line."""

from __future__ import annotations

import dataclasses
import json
import os
from importlib import metadata

import pytest
import torch
from safetensors.torch import load_file, save_file

from pedseg_runtime._version import __version__
from pedseg_runtime.errors import CheckpointError
from pedseg_runtime.files import sha256_of
from pedseg_train.checkpoint import (
    CheckpointHeader,
    is_checkpoint,
    load_checkpoint,
    save_checkpoint,
)

pytestmark = pytest.mark.slow

NAME = "maskrcnn_resnet18_fpn"
CLASSES = ("background", "person")


@pytest.fixture
def header(tiny_model):
    return CheckpointHeader.of(
        tiny_model, architecture=NAME, class_names=CLASSES, epoch=3, metrics={"segm": {"AP": 0.5}}
    )


@pytest.fixture
def saved(tmp_path, tiny_model, header):
    save_checkpoint(tmp_path / "model.safetensors", tiny_model, header)
    return tmp_path / "model.safetensors"


def test_round_trip_keeps_weights_header_and_settings(saved, tiny_model, header):
    loaded = load_checkpoint(saved)
    assert loaded.header == header
    assert loaded.sha256 == sha256_of(saved)
    assert not loaded.model.training
    assert all(
        torch.equal(tensor, loaded.model.state_dict()[name])
        for name, tensor in tiny_model.state_dict().items()
    )
    assert CheckpointHeader.of(loaded.model, architecture=NAME, class_names=CLASSES) == (
        dataclasses.replace(header, epoch=0, metrics={}, created=loaded_now(loaded, header))
    )


def test_a_checkout_without_package_metadata_makes_checkpoints_too(tiny_model, monkeypatch):
    real = metadata.version

    def version(name):
        if name == "pedseg":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    header = CheckpointHeader.of(tiny_model, architecture=NAME, class_names=CLASSES)
    assert header.versions["pedseg"] == __version__


def loaded_now(loaded, header):
    return CheckpointHeader.of(loaded.model, architecture=NAME, class_names=CLASSES).created


def test_loaded_model_answers_like_the_saved_one(saved, tiny_model):
    image = torch.rand(3, 60, 80)
    with torch.inference_mode():
        expected = tiny_model.eval()([image])[0]
        found = load_checkpoint(saved).model([image])[0]
    assert len(expected["boxes"]) > 0
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_unknown_keys_of_the_header_are_ignored(header):
    values = {**json.loads(header.to_json()), "added_later": 1}
    assert CheckpointHeader.from_json(json.dumps(values)) == header


def test_header_from_before_imports_is_read(saved, header):
    values = json.loads(header.to_json())
    del values["mask_width"], values["imported"]
    rewrite(saved, {"pedseg": json.dumps(values)})
    assert load_checkpoint(saved).header == dataclasses.replace(header, mask_width=None)


def rewrite(path, metadata=None, drop=0):
    tensors = load_file(path)
    for name in sorted(tensors)[:drop]:
        del tensors[name]
    save_file(tensors, path, metadata=metadata)


def altered(header, **values):
    return {"pedseg": json.dumps({**json.loads(header.to_json()), **values})}


def truncate(path, header):
    os.truncate(path, path.stat().st_size // 2)


def replace_by_text(path, header):
    path.write_text("weights, honestly")


def empty(path, header):
    path.write_bytes(b"")


def without_header(path, header):
    rewrite(path)


def newer_schema(path, header):
    rewrite(path, altered(header, schema_version=99))


def unknown_architecture(path, header):
    rewrite(path, altered(header, architecture="maskrcnn_of_tomorrow"))


def unknown_norm(path, header):
    rewrite(path, altered(header, norm="layer_norm"))


def garbled_header(path, header):
    rewrite(path, {"pedseg": "{]"})


def incomplete_header(path, header):
    rewrite(path, {"pedseg": '{"schema_version": 1}'})


def missing_tensors(path, header):
    rewrite(path, altered(header), drop=2)


def other_class_count(path, header):
    rewrite(path, altered(header, class_names=["background", "person", "dog"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "damaged or of another kind"),
        (replace_by_text, "damaged or of another kind"),
        (empty, "damaged or of another kind"),
        (without_header, "another program"),
        (newer_schema, "schema <= 1, found 99; upgrade"),
        (unknown_architecture, "'maskrcnn_of_tomorrow'; upgrade"),
        (unknown_norm, "'layer_norm'; upgrade"),
        (garbled_header, "found other text"),
        (incomplete_header, "found other text"),
        (missing_tensors, "2 are missing"),
        (other_class_count, "of another shape"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_file_is_refused_in_one_line(saved, header, damage, message):
    damage(saved, header)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


def test_weights_of_another_program_are_sent_to_the_import(saved, header):
    for spoil in (without_header, garbled_header, replace_by_text):
        spoil(saved, header)
        with pytest.raises(CheckpointError, match="become a checkpoint by pedseg-import"):
            load_checkpoint(saved)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_checkpoint_is_told_from_an_artifact_by_content(saved, tmp_path):
    renamed = saved.rename(tmp_path / "model.onnx")
    assert is_checkpoint(renamed)
    (tmp_path / "other").write_bytes(b"\x08\x0a\x12\x07pytorch")
    assert not is_checkpoint(tmp_path / "other")
