"""Self-test samples: written, read back, and replayed when an artifact is loaded."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pedseg_runtime import ArtifactError, Detections, InputError, ParityError, Segmenter
from pedseg_runtime.artifact.manifest import SELF_TEST_FILE, SELF_TEST_KEY
from pedseg_runtime.artifact.self_test import (
    SelfTestSample,
    decode_samples,
    encode_samples,
    replay,
)
from pedseg_runtime.backends.onnx import OnnxBackend
from pedseg_runtime.parity import FP32, TOLERANCES

CHECKSUM_SIZE = 83
Samples = tuple[SelfTestSample, ...]
Write = Callable[[Path, str], Path]


def random_detections(seed: int, count: int, size: tuple[int, int], *, full: bool) -> Detections:
    rng = np.random.default_rng(seed)
    soft = rng.uniform(0, 1, (count, 28, 28)).astype(np.float32)
    dense = rng.integers(0, 2, (count, *size)).astype(np.uint8)
    return Detections(
        boxes=rng.uniform(0, 50, (count, 4)).astype(np.float32),
        labels=rng.integers(1, 3, count),
        scores=np.sort(rng.uniform(0, 1, count))[::-1].astype(np.float32),
        roi_masks=None if full else soft,
        full_masks=dense if full else None,
        image_size=size,
        class_names=("background", "person", "rider"),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 4),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    full=st.booleans(),
)
def test_samples_survive_their_text(
    seed: int, count: int, size: tuple[int, int], full: bool
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    sample = SelfTestSample("a street", image, random_detections(seed, count, size, full=full))
    text = encode_samples([sample, sample])
    json.loads(text)
    first, second = decode_samples(text)
    assert (first.name, second.name) == ("a street", "a street")
    np.testing.assert_array_equal(first.image, image)
    expected, found = sample.detections, first.detections
    assert found.class_names == expected.class_names
    for name in ("boxes", "labels", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    if full:
        assert found.full_masks is not None
        assert found.full_masks.dtype == np.uint8
        np.testing.assert_array_equal(found.full_masks, expected.full_masks)
    else:
        assert found.roi_masks is not None
        assert found.roi_masks.dtype == np.float32
        # Rounding takes next to nothing of the narrowest limit.
        assert np.abs(found.roi_masks - expected.roi_masks).max(initial=0) < FP32.roi_masks / 100


def test_no_samples_are_a_text_too() -> None:
    assert decode_samples(encode_samples([])) == ()


def test_a_sample_speaks_of_its_own_image() -> None:
    detections = random_detections(0, 1, (8, 9), full=False)
    for image in (np.zeros((9, 8, 3), np.uint8), np.zeros((8, 9, 3), np.float32)):
        with pytest.raises(InputError, match=r"self-test sample odd: expected.*\[8, 9, 3\]"):
            SelfTestSample("odd", image, detections)  # type: ignore[arg-type]


def test_samples_that_cannot_be_recorded_are_refused() -> None:
    image = np.zeros((8, 9, 3), np.uint8)
    good = random_detections(0, 1, (8, 9), full=False)
    other = dataclasses.replace(good, class_names=("background", "dog", "cat"))
    with pytest.raises(InputError, match="the same classes"):
        encode_samples([SelfTestSample("a", image, good), SelfTestSample("b", image, other)])
    assert good.roi_masks is not None
    for value in (np.nan, 1.5, -0.1):
        broken = dataclasses.replace(good, roi_masks=np.full_like(good.roi_masks, value))
        with pytest.raises(InputError, match=r"soft masks in 0\.\.1"):
            encode_samples([SelfTestSample("a", image, broken)])


# The labels of one person more than the other fields have.
_THREE_LABELS = base64.b64encode(zlib.compress(np.ones(3, "<i8").tobytes())).decode()


def _edited(**changes: Any) -> str:
    """The text of one good sample with values of the sample changed; None removes one."""
    detections = random_detections(0, 2, (8, 9), full=False)
    values = json.loads(
        encode_samples([SelfTestSample("a", np.zeros((8, 9, 3), np.uint8), detections)])
    )
    (sample,) = values["samples"]
    sample.update(changes)
    values["samples"] = [{key: value for key, value in sample.items() if value is not None}]
    return json.dumps(values)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[1]", id="list"),
        pytest.param("null", id="null"),
        pytest.param('{"version": 2, "class_names": [], "samples": []}', id="newer"),
        pytest.param('{"version": 1}', id="incomplete"),
        pytest.param('{"version": 1, "class_names": [], "samples": [3]}', id="no sample"),
        pytest.param(_edited(image="!"), id="no base64"),
        pytest.param(_edited(image=base64.b64encode(b"no image").decode()), id="no image"),
        pytest.param(_edited(labels=_THREE_LABELS), id="other count"),
        pytest.param(_edited(boxes=base64.b64encode(b"x").decode()), id="not compressed"),
        pytest.param(_edited(boxes=None), id="no boxes"),
        pytest.param(_edited(scores=5), id="number"),
        pytest.param(_edited(mask_size=14), id="other mask size"),
        pytest.param(_edited(roi_masks=None), id="no masks"),
    ],
)
def test_bad_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(ArtifactError, match="expected self-test samples") as caught:
        decode_samples(text, "street.onnx")
    assert str(caught.value).startswith("street.onnx: ")
    assert "\n" not in str(caught.value)


@given(st.data())
def test_damaged_text_is_refused_or_read(data: st.DataObject) -> None:
    """Never an error that is not pedseg's."""
    text = list(_edited())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] = data.draw(st.characters())
    try:
        samples = decode_samples("".join(text))
    except ArtifactError:
        return
    for sample in samples:
        assert sample.image.dtype == np.uint8
        assert sample.image.shape[:2] == sample.detections.image_size


# What an artifact does with its samples.


@pytest.fixture
def samples(segmenter: Segmenter, street: NDArray[np.uint8]) -> Samples:
    """Three streets of one size as the tiny artifact sees them, the second one empty."""
    images = [street, np.zeros_like(street), street[:, ::-1].copy()]
    return tuple(
        SelfTestSample(f"street {index}", image, segmenter(image))
        for index, image in enumerate(images)
    )


@pytest.fixture
def write_with_samples(
    tiny_content: bytes,
    write_finished: Callable[[Path, bytes], Path],
    with_metadata: Callable[[bytes, str, str], bytes],
) -> Write:
    """Writes the tiny artifact with a text for self-test samples inside."""
    return lambda path, text: write_finished(path, with_metadata(tiny_content, SELF_TEST_KEY, text))


def changed(sample: SelfTestSample, **fields: Any) -> SelfTestSample:
    """The sample with other detections expected."""
    return dataclasses.replace(sample, detections=dataclasses.replace(sample.detections, **fields))


def test_an_artifact_replays_its_samples_when_it_is_loaded(
    samples: Samples, write_with_samples: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_with_samples(tmp_path / "self_test.onnx", encode_samples(samples))
    shapes = []
    run = OnnxBackend.run

    def spy(self: OnnxBackend, images: NDArray[np.uint8]) -> Any:
        shapes.append(images.shape)
        return run(self, images)

    monkeypatch.setattr(OnnxBackend, "run", spy)
    with Segmenter.load(path, device="cpu") as segmenter:
        assert segmenter.self_test == "passed on 3 samples"
    assert shapes == [(3, 40, 60, 3)], "one run for one size"
    with Segmenter.load(path, device="cpu", self_test=False) as segmenter:
        assert segmenter.self_test == "skipped"
    assert len(shapes) == 1


@pytest.mark.parametrize("self_test", [True, False])
def test_the_warm_up_reaches_the_masks(
    samples: Samples,
    write_with_samples: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    self_test: bool,
) -> None:
    """A black image has no detection, so that on CUDA the first real one would wait for cuDNN."""
    path = write_with_samples(tmp_path / "self_test.onnx", encode_samples(samples))
    found = {}
    run = OnnxBackend.run

    def spy(self: OnnxBackend, images: NDArray[np.uint8]) -> Any:
        outputs = run(self, images)
        found[images.shape] = len(outputs[0])
        return outputs

    monkeypatch.setattr(OnnxBackend, "run", spy)
    Segmenter.load(path, device="cpu", warmup=[(80, 90), (30, 200)], self_test=self_test)
    assert found[1, 80, 90, 3] > 0
    assert found[1, 30, 200, 3] > 0


def test_an_artifact_without_samples_says_so(
    tiny_path: Path, write_with_samples: Write, tmp_path: Path
) -> None:
    with Segmenter.load(tiny_path, device="cpu") as segmenter:
        assert segmenter.self_test == "not in the artifact"
    path = write_with_samples(tmp_path / "none.onnx", encode_samples([]))
    assert Segmenter.load(path, device="cpu").self_test == "not in the artifact"


@pytest.mark.parametrize(
    ("field", "shift"),
    [("boxes", 0.2), ("scores", -0.001), ("roi_masks", -0.01)],
)
def test_an_artifact_that_answers_otherwise_is_refused_and_closed(
    samples: Samples,
    write_with_samples: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    shift: float,
) -> None:
    values = getattr(samples[2].detections, field).copy()
    values.flat[values.argmax()] += shift
    wrong = (*samples[:2], changed(samples[2], **{field: values}))
    path = write_with_samples(tmp_path / "self_test.onnx", encode_samples(wrong))
    closed = []
    monkeypatch.setattr(OnnxBackend, "close", lambda backend: closed.append(backend))
    with pytest.raises(ParityError, match=f"{field} differ by up to .*worst in street 2") as caught:
        Segmenter.load(path, device="cpu")
    message = str(caught.value)
    assert message.startswith(f"{path}: expected the answers that were recorded at its export")
    assert "on CPUExecutionProvider" in message
    assert "\n" not in message
    assert not caught.value.report
    assert len(closed) == 1
    assert Segmenter.load(path, device="cpu", self_test=False).self_test == "skipped"


def test_a_person_who_is_missing_is_named(
    samples: Samples, write_with_samples: Write, tmp_path: Path
) -> None:
    found = samples[0].detections
    fewer = dataclasses.replace(samples[0], detections=found[1:])
    path = write_with_samples(tmp_path / "self_test.onnx", encode_samples([fewer, *samples[1:]]))
    with pytest.raises(ParityError, match="candidate's person in street 0, unexplained"):
        Segmenter.load(path, device="cpu")


def test_empty_streets_alone_are_worth_a_replay(
    samples: Samples, write_with_samples: Write, tmp_path: Path, street: NDArray[np.uint8]
) -> None:
    """To find nobody where nobody is expected is agreement; to find somebody is not."""
    empty = samples[1]
    path = write_with_samples(tmp_path / "empty.onnx", encode_samples([empty, empty]))
    with Segmenter.load(path, device="cpu") as segmenter:
        assert segmenter.self_test == "passed on 2 samples"
        report = replay(segmenter, [empty])
        assert report.reason == "no detection expected, none found"
        assert not replay(segmenter, [dataclasses.replace(empty, image=street)])
        assert not replay(segmenter, [dataclasses.replace(samples[0], image=empty.image)])
        assert not replay(segmenter, [])


def test_a_lower_precision_has_wider_limits(
    samples: Samples, tiny_content: bytes, tmp_path: Path, write_finished: Callable[..., Path]
) -> None:
    content = tiny_content.replace(b'"precision": "fp32"', b'"precision": "int8"')
    path = write_finished(tmp_path / "int8.onnx", content)
    scores = samples[0].detections.scores - np.float32(0.05)
    shifted = changed(samples[0], scores=scores)
    with Segmenter.load(path, device="cpu") as segmenter:
        report = replay(segmenter, [shifted])
        assert report
        assert report.tolerances == TOLERANCES["int8"]
    content = tiny_content.replace(b'"precision": "fp32"', b'"precision": "fp8x"')
    unknown = Segmenter.load(write_finished(path, content), device="cpu")
    with pytest.raises(ArtifactError, match=r"expected one of fp32, .*found 'fp8x'"):
        replay(unknown, samples)


def test_fixed_shapes_and_pasted_masks_replay_too(
    fixed_path: Path,
    street: NDArray[np.uint8],
    tmp_path: Path,
    write_finished: Callable[[Path, bytes], Path],
    with_metadata: Callable[[bytes, str, str], bytes],
) -> None:
    images = [street, np.zeros_like(street), street[:, ::-1].copy()]
    with Segmenter.load(fixed_path, device="cpu") as segmenter:
        found = segmenter.predict(images)
    samples = [
        SelfTestSample(f"street {index}", image, detections)
        for index, (image, detections) in enumerate(zip(images, found, strict=True))
    ]
    content = fixed_path.read_bytes()[:-CHECKSUM_SIZE]
    path = tmp_path / "self_test.onnx"
    write_finished(path, with_metadata(content, SELF_TEST_KEY, encode_samples(samples)))
    assert Segmenter.load(path, device="cpu").self_test == "passed on 3 samples"

    masks = found[2].masks().astype(np.uint8)
    masks[0, 10:12] = 0
    wrong = [*samples[:2], changed(samples[2], full_masks=masks)]
    write_finished(path, with_metadata(content, SELF_TEST_KEY, encode_samples(wrong)))
    with pytest.raises(ParityError, match=r"masks differ by up to .* IoU loss .*street 2"):
        Segmenter.load(path, device="cpu")

    small = SelfTestSample("small", street[:20], Detections.empty((20, 60)))
    write_finished(path, with_metadata(content, SELF_TEST_KEY, encode_samples([small])))
    with pytest.raises(ArtifactError, match=r"samples that fit the artifact.*expected 40x60"):
        Segmenter.load(path, device="cpu")


def test_samples_that_cannot_be_read_are_the_files_fault(
    write_with_samples: Write, tmp_path: Path
) -> None:
    path = write_with_samples(tmp_path / "self_test.onnx", "{}")
    with pytest.raises(ArtifactError, match="expected self-test samples, found text that is none"):
        Segmenter.load(path, device="cpu")


def test_an_archive_carries_its_samples_as_a_file(
    tmp_path: Path, write_archive: Callable[..., Path], samples: Samples, segmenter: Segmenter
) -> None:
    from pedseg_runtime.artifact.metadata import read_metadata

    text = encode_samples(samples)
    path = write_archive(tmp_path / "tiny.pt", segmenter.manifest, **{SELF_TEST_FILE: text})
    assert read_metadata(path).self_test == text
