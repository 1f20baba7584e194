from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime import ArtifactError, Manifest
from pedseg_runtime.artifact.manifest import SCHEMA_VERSION

texts = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
manifests = st.builds(
    Manifest,
    architecture=texts,
    class_names=st.lists(texts, min_size=2, max_size=4).map(tuple),
    checkpoint_sha256=texts,
    format=st.sampled_from(["onnx", "torchscript"]),
    score_threshold=st.floats(0, 1),
    opset=st.none() | st.integers(11, 25),
    versions=st.dictionaries(texts, texts, max_size=3),
    metrics=st.dictionaries(texts, numbers, max_size=3),
    parity=st.none() | st.dictionaries(texts, numbers, max_size=3),
)


@given(manifests)
@pytest.mark.slow
def test_a_manifest_survives_its_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifests, st.dictionaries(texts, numbers, max_size=2))
def test_unknown_keys_of_a_later_minor_change_are_ignored(
    manifest: Manifest, extra: dict[str, float]
) -> None:
    values = {**extra, **json.loads(manifest.to_json())}
    assert Manifest.from_json(json.dumps(values)) == manifest


VALID = Manifest(
    architecture="a", class_names=("background", "person"), checkpoint_sha256="0", format="onnx"
)


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(VALID.to_json()), **values})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "expected a pedseg manifest", id="empty"),
        pytest.param("[1, 2]", "expected a pedseg manifest", id="list"),
        pytest.param("{}", "expected a pedseg manifest", id="no schema"),
        pytest.param(changed(schema_version=SCHEMA_VERSION + 1), "upgrade pedseg", id="newer"),
        pytest.param(changed(schema_version="1"), "schema", id="text as version"),
        pytest.param('{"schema_version": 1}', "incomplete", id="incomplete"),
        pytest.param(changed(class_names=None), "incomplete", id="no class names"),
    ],
)
def test_other_texts_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        Manifest.from_json(text, "street.onnx")
    assert str(caught.value).startswith("street.onnx: ")


def test_viewers_find_the_keys_they_know() -> None:
    metadata = VALID.viewer_metadata()
    assert metadata["task"] == "segment"
    assert metadata["names"] == "{0: 'background', 1: 'person'}"
    assert all(isinstance(value, str) for value in metadata.values())
