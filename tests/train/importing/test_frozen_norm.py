"""The eps of frozen norms is proven, or computed and asked for, and never guessed silently."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pedseg_runtime.errors import InputError
from pedseg_train.importing import ImportOptions, frozen_norm, import_weights
from pedseg_train.importing.frozen_norm import distance_from, effect_of_eps, proven_eps
from pedseg_train.importing.verification import NamedImage

NAMES = ("background", "person")
SIZES = {"min_size": 64, "max_size": 96, "score_threshold": 0.0, "detections_per_image": 10}


@pytest.fixture(scope="module")
def model(tutorial):
    torch.manual_seed(0)
    return tutorial()


def with_ordinary_variances(model):
    for name, buffer in model.backbone.body.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(4.0)
    return model


def test_effect_is_that_of_the_formula_and_of_the_detections(model, image):
    effect = effect_of_eps(model, NAMES, [image])
    assert effect.largest == pytest.approx((1 + 1e-5 / 2e-6) ** 0.5)
    tiny = sum(
        int((buffer < 1e-5).sum())
        for name, buffer in model.named_buffers()
        if name.endswith("running_var")
    )
    assert effect.noticeable == tiny > 0
    assert effect.matters
    assert effect.report.counts.reference == 10
    assert f"{tiny} of {effect.channels} channels" in effect.summary()
    assert {module.eps for module in model.modules() if hasattr(module, "running_var")} == {1e-5}


def test_ordinary_variances_make_no_difference(tutorial, image):
    effect = effect_of_eps(with_ordinary_variances(tutorial()), NAMES, [image])
    assert effect.noticeable == 0
    assert not effect.matters
    assert effect.to_dict()["matched"] == 10


def test_where_nothing_is_detected_the_features_decide(model, tutorial, image):
    for network, matters in ((model, True), (with_ordinary_variances(tutorial()), False)):
        network.roi_heads.score_thresh = 0.999
        assert effect_of_eps(network, NAMES, [image]).matters is matters
        network.roi_heads.score_thresh = 0.0


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """torch's cache of downloads, empty."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints" / Path(frozen_norm.WITHOUT_EPS.url).name


@pytest.fixture
def file(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def load(file, tmp_path, image, **options):
    return import_weights(
        file,
        output=tmp_path / "out.safetensors",
        options=ImportOptions(**SIZES, **options),
        images=[NamedImage("noise", image)],
    )


def test_it_is_asked_for_where_it_matters(file, tmp_path, image, offline):
    with pytest.raises(InputError, match=r"expected --norm-eps, .* matters here") as caught:
        load(file, tmp_path, image)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()
    for eps in (0.0, 1e-5):
        header = load(file, tmp_path, image, norm_eps=eps).header
        assert header.norm_eps == eps
        assert header.imported["norm_eps"] == "given by --norm-eps"


def test_it_is_not_asked_for_where_it_does_not_matter(tutorial, tmp_path, image, offline):
    torch.save(with_ordinary_variances(tutorial()).state_dict(), tmp_path / "model.pth")
    result = load(tmp_path / "model.pth", tmp_path, image)
    assert result.header.norm_eps == 1e-5
    assert "with 0 the detections are the same here" in result.eps_reason


def test_torchvisions_own_file_is_known_by_its_digest(file, tmp_path, image, offline, monkeypatch):
    monkeypatch.setattr(
        frozen_norm, "sha256_of", lambda _path: frozen_norm.WITHOUT_EPS.url[-12:-4] + "0" * 56
    )
    assert load(file, tmp_path, image).header.norm_eps == 0.0


def test_a_variance_of_zero_excludes_an_eps_of_zero(file, offline, model):
    tensors = dict(model.state_dict())
    tensors["backbone.body.bn1.running_var"] = torch.zeros(64)
    eps, reason = proven_eps(file, tensors)
    assert eps == 1e-5
    assert "backbone.body.bn1.running_var" in reason


def test_training_that_began_with_cocos_weights_is_seen_from_torchs_cache(file, offline, model):
    state = model.state_dict()
    assert proven_eps(file, state) is None
    offline.parent.mkdir(parents=True)
    coco = {
        name: tensor + 0.02 * tensor.std() * torch.randn(tensor.shape)
        for name, tensor in state.items()
        if tensor.ndim > 1
    }
    torch.save(coco, offline)
    eps, reason = proven_eps(file, state)
    assert eps == 0.0
    assert "COCO" in reason
    torch.save({name: torch.randn(t.shape) * t.std() for name, t in coco.items()}, offline)
    assert proven_eps(file, state) is None


def test_distance_tells_further_training_from_another_training(model, tutorial):
    state = model.state_dict()
    assert distance_from(state, state) == 0
    torch.manual_seed(1)
    assert distance_from(state, tutorial().state_dict()) > 1
    assert distance_from({}, state) is None
