from __future__ import annotations

import copy
import hashlib
import io
import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import ArtifactError, ClosedError, InputError, Manifest, Segmenter
from pedseg_runtime.artifact.reading import Artifact
from pedseg_runtime.artifact.tensors import Outputs, group_by_size


@pytest.fixture
def segmenter(tiny_path: Path, cpu_device: str) -> Iterator[Segmenter]:
    with Segmenter.load(tiny_path, device=cpu_device) as loaded:
        yield loaded


class Recorder:
    """A backend that remembers the shapes it was given and answers with chosen outputs."""

    provider = "recorder"
    library = "none 0"
    placement = None

    def __init__(self, outputs: Outputs | None = None, **manifest: Any) -> None:
        facts = Manifest(
            architecture="none",
            class_names=("background", "person"),
            checkpoint_sha256="0" * 64,
            format="onnx",
            **manifest,
        )
        self.artifact = Artifact(Path("none.onnx"), "", facts)
        self.outputs = outputs
        self.shapes: list[tuple[int, ...]] = []
        self.closed = 0

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        self.shapes.append(images.shape)
        self.images = images
        return self.outputs if self.outputs is not None else outputs(0)

    def close(self) -> None:
        self.closed += 1


def outputs(count: int, **changed: NDArray[np.generic]) -> Outputs:
    """Outputs for `count` detections on the first image, with some fields changed."""
    values = {
        "boxes": np.zeros((count, 4), np.float32),
        "labels": np.ones(count, np.int64),
        "scores": np.linspace(0.9, 0.1, count, dtype=np.float32),
        "roi_masks": np.zeros((count, 28, 28), np.float32),
        "image_index": np.zeros(count, np.int64),
    }
    return tuple((values | changed).values())  # type: ignore[return-value]


def test_one_image_gives_its_detections(segmenter: Segmenter, street: NDArray[np.uint8]) -> None:
    found = segmenter(street)
    assert found.boxes.tolist() == [[10, 5, 30, 20], [40, 8, 55, 30]]
    np.testing.assert_allclose(found.scores, [200 / 255, 100 / 255])
    assert found.image_size == (40, 60)
    assert found.label_names() == ["person", "person"]
    assert found.masks().shape == (2, 40, 60)
    assert found.masks().any(axis=(1, 2)).all()


def test_a_black_image_has_no_detections(segmenter: Segmenter) -> None:
    found = segmenter(np.zeros((7, 9, 3), np.uint8))
    assert len(found) == 0
    assert found.masks().shape == (0, 7, 9)
    assert found.to_coco("black") == []


def test_mixed_sizes_and_sources_keep_their_order(
    segmenter: Segmenter, street: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "street.png"
    Image.fromarray(street).save(path)
    black = np.zeros_like(street)
    images = [street, black[:30], path, street[:30], black, Image.fromarray(street), street]
    together = segmenter.predict(images, batch_size=2)
    alone = [segmenter(image) for image in images]
    assert [len(found) for found in together] == [2, 0, 2, 2, 0, 2, 2]
    for one, other in zip(together, alone, strict=True):
        assert one.image_size == other.image_size
        for name in ("boxes", "labels", "scores", "roi_masks"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_images_of_one_size_share_a_run() -> None:
    backend = Recorder()
    small, large = np.zeros((4, 5, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)
    Segmenter(backend).predict([small, large, small, small, large], batch_size=2)
    assert backend.shapes == [(2, 4, 5, 3), (2, 6, 5, 3), (1, 4, 5, 3)]


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5, 3), np.uint8), "a.png", Path("a.png"), b"\x89PNG", Image.new("RGB", (5, 4))],
    ids=["array", "text", "path", "bytes", "PIL"],
)
def test_one_image_in_place_of_a_list_is_refused(segmenter: Segmenter, image: Any) -> None:
    with pytest.raises(InputError, match="expected a list of images, found one"):
        segmenter.predict(image)


def test_an_array_of_images_is_several_images(
    segmenter: Segmenter, street: NDArray[np.uint8]
) -> None:
    batch = np.stack([street, np.zeros_like(street)])
    assert [len(found) for found in segmenter.predict(batch)] == [2, 0]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=40),
    batch_size=st.integers(1, 5),
)
def test_grouping_uses_each_image_once_and_never_mixes_sizes(
    sizes: list[tuple[int, int]], batch_size: int
) -> None:
    groups = group_by_size(sizes, batch_size)
    assert sorted(index for group in groups for index in group) == list(range(len(sizes)))
    for group in groups:
        assert 1 <= len(group) <= batch_size
        assert len({sizes[index] for index in group}) == 1
        assert group == sorted(group)
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    fewest = sum(-(-sizes.count(size) // batch_size) for size in set(sizes))
    assert len(groups) == fewest


def test_no_images_give_no_detections(segmenter: Segmenter) -> None:
    assert segmenter.predict([]) == []


def test_the_score_threshold_can_only_be_raised(
    segmenter: Segmenter, street: NDArray[np.uint8]
) -> None:
    assert [len(found) for found in segmenter.predict([street], score_threshold=0.5)] == [1]
    assert [len(found) for found in segmenter.predict([street], score_threshold=0.05)] == [2]
    for refused in (0.04, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"expected 0.05 \(built into the artifact\) to 1"):
            segmenter.predict([street], score_threshold=refused)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_the_batch_size_must_be_positive(segmenter: Segmenter, batch_size: int) -> None:
    with pytest.raises(InputError, match="batch_size"):
        segmenter.predict([], batch_size=batch_size)


def test_a_closed_segmenter_says_so(
    tiny_path: Path, street: NDArray[np.uint8], cpu_device: str
) -> None:
    with Segmenter.load(tiny_path, device=cpu_device) as segmenter:
        assert repr(segmenter) == f"<Segmenter tiny_blobs fp32 onnx on {segmenter.provider}>"
    segmenter.close()
    assert "closed" in repr(segmenter)
    with pytest.raises(ClosedError, match="found it closed; load it again"):
        segmenter(street)


def test_closing_closes_the_backend_once() -> None:
    backend = Recorder()
    segmenter = Segmenter(backend)
    segmenter.close()
    segmenter.close()
    assert backend.closed == 1


def test_warmup_runs_each_size(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Recorder()
    monkeypatch.setattr("pedseg_runtime.segmenter.open_backend", lambda path, **options: backend)
    Segmenter.load(tiny_path, warmup=[(12, 34), (56, 7)])
    assert backend.shapes == [(1, 12, 34, 3), (1, 56, 7, 3)]
    with pytest.raises(InputError, match="warmup"):
        Segmenter.load(tiny_path, warmup=[(0, 5)])
    with pytest.raises(InputError, match=r"such as \[\(480, 640\)\], found \(480, 640\)"):
        Segmenter.load(tiny_path, warmup=(480, 640))  # type: ignore[arg-type]


def test_a_file_object_is_loaded_as_its_file_is(
    tiny_path: Path, street: NDArray[np.uint8], tmp_path: Path, cpu_device: str
) -> None:
    with Segmenter.load(tiny_path, device=cpu_device) as segmenter:
        expected = segmenter(street)
        digest = segmenter.info.digest
    with tiny_path.open("rb") as stream, Segmenter.load(stream, device=cpu_device) as segmenter:
        assert segmenter.info.digest == digest
        np.testing.assert_array_equal(segmenter(street).boxes, expected.boxes)
    damaged = bytearray(tiny_path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(ArtifactError, match="found it changed since"):
        Segmenter.load(io.BytesIO(damaged), device=cpu_device)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(
            b"\x08\x0a", "found the bytes themselves; wrap them in io.BytesIO", id="bytes"
        ),
        pytest.param(None, "a path or a binary file, found NoneType", id="None"),
        pytest.param(io.StringIO("text"), "open it in mode 'rb'", id="text"),
    ],
)
def test_other_artifacts_are_refused_in_a_sentence(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Segmenter.load(source)


@pytest.mark.parametrize("name", ["x" * 100_000, "null\0byte.onnx"])
def test_a_name_that_is_none_is_not_repeated_at_length(name: str) -> None:
    with pytest.raises(ArtifactError, match="expected an artifact, found none") as caught:
        Segmenter.load(name)
    assert len(str(caught.value)) < 500


def test_a_segmenter_says_that_it_cannot_be_pickled() -> None:
    for duplicate in (pickle.dumps, copy.deepcopy):
        with pytest.raises(InputError, match=r"^Segmenter: expected to stay in the process"):
            duplicate(Segmenter(Recorder()))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param(outputs(2)[:4], "expected 5 outputs, found 4", id="too few"),
        pytest.param(outputs(2, scores=np.ones(2)), "scores of float32.*float64", id="dtype"),
        pytest.param(
            outputs(2, boxes=np.zeros((2, 5), np.float32)), r"\[2, 4\].*\[2, 5\]", id="box shape"
        ),
        pytest.param(
            outputs(2, labels=np.ones(3, np.int64)), r"labels.*\[2\].*\[3\]", id="counts differ"
        ),
        pytest.param(outputs(1, scores=np.array([np.nan], np.float32)), "NaN", id="NaN score"),
        pytest.param(
            outputs(1, labels=np.array([2])), "labels 1 to 1, found 2 to 2", id="unknown label"
        ),
        pytest.param(outputs(1, labels=np.array([0])), "labels 1 to 1", id="background"),
        pytest.param(outputs(2, image_index=np.array([1, 0])), "ascending", id="disorder"),
        pytest.param(outputs(1, image_index=np.array([1])), "ascending in 0 to 0", id="no image"),
    ],
)
def test_outputs_that_break_the_contract_are_refused(broken: Outputs, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Segmenter(Recorder(broken))(np.zeros((4, 5, 3), np.uint8))


def pasted(count: int, masks: NDArray[np.generic]) -> Outputs:
    """Outputs as `outputs` gives them, with masks of the whole image."""
    return (*outputs(count)[:3], masks, outputs(count)[4])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        pytest.param(np.full((1, 4, 5), 2, np.uint8), "masks of 0 and 1, found 2", id="value"),
        pytest.param(np.zeros((1, 5, 4), np.uint8), r"\[1, 4, 5\], found uint8 \[1, 5", id="shape"),
        pytest.param(np.zeros((1, 4, 5), np.float32), "masks of uint8.*found float32", id="dtype"),
        pytest.param(np.zeros((1, 28, 28), np.float32), "masks of uint8", id="soft"),
    ],
)
def test_pasted_masks_that_break_the_contract_are_refused(
    masks: NDArray[np.generic], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        Segmenter(Recorder(pasted(1, masks), mask_format="full"))(np.zeros((4, 5, 3), np.uint8))


def test_pasted_masks_are_the_artifacts_own(
    fixed_path: Path, street: NDArray[np.uint8], cpu_device: str
) -> None:
    with Segmenter.load(fixed_path, device=cpu_device) as segmenter:
        found, empty = segmenter.predict([street, np.zeros_like(street)])
    assert found.roi_masks is None
    np.testing.assert_array_equal(found.masks(), [street[..., 0] > 0, street[..., 2] > 0])
    assert empty.masks().shape == (0, 40, 60)
    assert [rle["size"] for rle in found.rles()] == [[40, 60], [40, 60]]


def test_a_fixed_batch_is_filled_up_and_never_exceeded(
    fixed_path: Path, street: NDArray[np.uint8], cpu_device: str
) -> None:
    black = np.zeros_like(street)
    with Segmenter.load(fixed_path, device=cpu_device) as segmenter:
        found = segmenter.predict([street, black, street, street, street], batch_size=8)
        assert [len(one) for one in found] == [2, 0, 2, 2, 2]
        assert len(segmenter(street)) == 2
        assert segmenter.predict([street, street], batch_size=1)[1].masks().any()


def test_images_that_fill_up_a_batch_leave_no_detections() -> None:
    """Even where the network finds something on a black image."""
    everywhere = outputs(3, image_index=np.array([0, 1, 2]))
    backend = Recorder(everywhere, static_shape=(3, 4, 5))
    image = np.zeros((4, 5, 3), np.uint8)
    segmenter = Segmenter(backend)
    assert [len(found) for found in segmenter.predict([image] * 4)] == [1, 1, 1, 1]
    assert len(segmenter(image)) == 1
    assert backend.shapes == [(3, 4, 5, 3)] * 3


def test_an_image_of_another_size_than_the_fixed_one_is_refused(
    fixed_path: Path, street: NDArray[np.uint8]
) -> None:
    with Segmenter.load(fixed_path, device="cpu") as segmenter:
        with pytest.raises(InputError, match=r"image 1: expected 40x60.*found 30x60.*--static"):
            segmenter.predict([street, street[:30]])
        assert segmenter.predict([]) == []


@pytest.mark.slow
def test_threads_that_share_a_segmenter_get_the_serial_answers(segmenter: Segmenter) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in rng.integers(4, 60, (50, 2))]
    expected = [segmenter(image) for image in images]

    def work(slot: int) -> int:
        order = np.random.default_rng(slot).integers(0, len(images), 200)
        for index in order.tolist():
            found = segmenter(images[index])
            for name in ("boxes", "labels", "scores", "roi_masks"):
                wanted = getattr(expected[index], name)
                assert np.array_equal(getattr(found, name), wanted)
        return len(order)

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(work, range(32))) == 6400


def test_info_tells_what_runs_where(tiny_path: Path) -> None:
    with Segmenter.load(tiny_path, device="cpu") as segmenter:
        info = segmenter.info
    content = tiny_path.read_bytes()
    assert info.artifact == str(tiny_path)
    assert info.digest == hashlib.sha256(content[:-64]).hexdigest()
    assert info.provider == "CPUExecutionProvider"
    assert sum(info.nodes().values()) == 31
    assert info.thresholds["score_threshold"] == 0.05
    assert {"pedseg", "python", "numpy", "onnxruntime"} <= set(info.versions)
    assert json.loads(json.dumps(info.to_dict()))["self_test"] == "not in the artifact"
    with pytest.raises(ClosedError):
        _ = segmenter.info


def test_one_image_is_not_copied_on_its_way(street: NDArray[np.uint8]) -> None:
    backend = Recorder()
    Segmenter(backend)(street)
    assert np.shares_memory(backend.images, street)


def test_larger_images_than_allowed_are_refused(
    tiny_path: Path, street: NDArray[np.uint8], cpu_device: str
) -> None:
    with Segmenter.load(tiny_path, device=cpu_device, max_pixels=40 * 60) as segmenter:
        assert len(segmenter(street)) == 2
        with pytest.raises(InputError, match="pixels"):
            segmenter(np.zeros((41, 60, 3), np.uint8))
