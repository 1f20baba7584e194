"""What is written: instance masks, detections.json and COCO results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from pedseg_runtime import Detections, InputError, Segmenter
from pedseg_runtime.predict import predict_files
from pedseg_runtime.predict.journal import Entry, Fingerprint
from pedseg_runtime.predict.outputs import (
    instance_ids,
    write_coco,
    write_detections,
    write_mask,
)


@pytest.fixture
def photos(tmp_path: Path, street: NDArray[np.uint8]) -> list[Path]:
    """Two persons on a.png, none on b.png, one on c.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, channels in (("a", [1, 1, 1]), ("b", [0, 0, 0]), ("c", [0, 0, 1])):
        Image.fromarray(street * np.array(channels, np.uint8)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


def dense(masks: NDArray[np.uint8]) -> Detections:
    """Detections with these masks, uint8 [D, H, W], best first."""
    count = len(masks)
    return Detections(
        boxes=np.zeros((count, 4), np.float32),
        labels=np.ones(count, np.int64),
        scores=np.linspace(1, 0.5, count, dtype=np.float32),
        roi_masks=None,
        full_masks=masks,
        image_size=masks.shape[1:],
    )


@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_the_better_score_has_the_pixel(count: int, seed: int) -> None:
    masks = np.random.default_rng(seed).random((count, 6, 7)) < 0.05
    ids = instance_ids(dense(masks.astype(np.uint8)))
    assert ids.dtype == (np.uint8 if count <= 255 else np.uint16)
    expected = [
        next((index + 1 for index in range(count) if masks[index, y, x]), 0)
        for y in range(6)
        for x in range(7)
    ]
    assert ids.ravel().tolist() == expected


@pytest.mark.parametrize(("count", "mode"), [(0, "L"), (255, "L"), (256, "I;16"), (300, "I;16")])
def test_a_mask_file_holds_as_many_ids_as_it_must(tmp_path: Path, count: int, mode: str) -> None:
    masks = np.eye(300, dtype=np.uint8)[:count].reshape(count, 15, 20)
    write_mask(tmp_path / "a_mask.png", dense(masks))
    with Image.open(tmp_path / "a_mask.png") as image:
        assert image.mode == mode
        ids = np.array(image)
    np.testing.assert_array_equal(ids.ravel(), [*range(1, count + 1), *[0] * (300 - count)])


def test_a_blurred_image_is_written_beside_the_overlay(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path
) -> None:
    result = predict_files(
        segmenter, photos, output=tmp_path / "out", formats=["overlay", "blurred"]
    )
    facts = result.to_dict()
    assert [Path(name).name for name in facts["blurred"]] == [
        *("a_blurred.png", "b_blurred.png", "c_blurred.png")
    ]
    with Image.open(facts["blurred"][0]) as image, Image.open(photos[0]) as original:
        expected = segmenter(photos[0]).blur(original)
        assert np.array_equal(np.asarray(image), np.asarray(expected))
        assert not np.array_equal(np.asarray(image), np.asarray(original))


def test_masks_make_a_dataset_of_their_images(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path
) -> None:
    predict_files(segmenter, photos, output=tmp_path / "out", formats=["masks"])
    written = sorted(path.name for path in (tmp_path / "out").rglob("*.png"))
    assert written == ["a_mask.png", "b_mask.png", "c_mask.png"]
    expected = segmenter(photos[0]).masks()
    with Image.open(tmp_path / "out" / "PedMasks" / "a_mask.png") as image:
        ids = np.array(image)
    np.testing.assert_array_equal(ids == 1, expected[0])
    np.testing.assert_array_equal(ids == 2, expected[1] & ~expected[0])


def test_the_dataset_reader_takes_the_masks(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path
) -> None:
    layout = pytest.importorskip("pedseg_train.data.pennfudan_layout", reason="needs pedseg-data")
    root = tmp_path / "dataset"
    photos[0].parent.rename(tmp_path / "PNGImages")
    root.mkdir()
    (tmp_path / "PNGImages").rename(root / "PNGImages")
    files = sorted((root / "PNGImages").iterdir())
    predict_files(segmenter, files, output=root, formats=["masks"])
    layout.check_root(root)
    assert layout.image_names(root) == layout.mask_names(root) == ["a", "b", "c"]
    found = [layout.instance_ids(layout.read_pair(root, name)[1]).tolist() for name in "abc"]
    assert found == [[1, 2], [], [1]]


def test_masks_never_replace_those_of_a_dataset(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path
) -> None:
    truth = tmp_path / "out" / "PedMasks" / "a_mask.png"
    truth.parent.mkdir(parents=True)
    truth.write_bytes(b"drawn by hand")
    predict_files(segmenter, photos, output=tmp_path / "out", formats=["json"])
    with pytest.raises(InputError, match="so that no ground truth is overwritten"):
        predict_files(segmenter, photos, output=tmp_path / "out", formats=["masks"])
    assert truth.read_bytes() == b"drawn by hand"


def test_masks_of_an_earlier_prediction_are_overwritten(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path
) -> None:
    for threshold in (None, 0.9):
        predict_files(
            segmenter,
            photos,
            output=tmp_path / "out",
            formats=["masks"],
            score_threshold=threshold,
        )
    with Image.open(tmp_path / "out" / "PedMasks" / "a_mask.png") as image:
        assert not np.array(image).any()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_loads_the_coco_results(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = predict_files(segmenter, photos, output=tmp_path / "out", formats=["coco"])
    assert set(result.results) == {"coco", "coco_images"}
    truth = COCO(str(result.results["coco_images"]))
    loaded = truth.loadRes(str(result.results["coco"]))
    assert [image["file_name"] for image in truth.loadImgs(truth.getImgIds())] == [
        str(file) for file in photos
    ]
    assert truth.loadCats(truth.getCatIds()) == [{"id": 1, "name": "person"}]
    for number, file in enumerate(photos, 1):
        expected = segmenter(file)
        found = loaded.loadAnns(loaded.getAnnIds(imgIds=[number]))
        assert len(found) == len(expected)
        for annotation, mask in zip(found, expected.masks(), strict=True):
            np.testing.assert_array_equal(loaded.annToMask(annotation), mask)
            assert annotation["category_id"] == 1
    raw = json.loads(result.results["coco"].read_text())
    assert [set(entry) for entry in raw] == 3 * [
        {"image_id", "category_id", "bbox", "score", "segmentation"}
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lists_are_written_piece_by_piece_as_json_would_at_once(tmp_path: Path, count: int) -> None:
    found = {"category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5, "segmentation": {}}
    images = [
        (
            Path(f"{number}é.png"),
            Entry(
                Fingerprint(f"/{number}", 1, 2),
                {"overlay": f"{number}.png"},
                {"width": 5, "height": 4, "detections": [found] * number},
            ),
        )
        for number in range(count)
    ]
    write_detections(tmp_path / "a.json", iter(images))
    text = (tmp_path / "a.json").read_text()
    records = json.loads(text)
    assert text == json.dumps(records, indent=2) + "\n"
    assert [len(record["detections"]) for record in records] == list(range(count))
    write_coco(tmp_path / "b.json", tmp_path / "c.json", iter(images), ("background", "person"))
    results = json.loads((tmp_path / "b.json").read_text())
    assert [entry["image_id"] for entry in results] == [
        number + 1 for number in range(count) for _ in range(number)
    ]
    companion = json.loads((tmp_path / "c.json").read_text())
    assert [image["id"] for image in companion["images"]] == list(range(1, count + 1))


def test_only_the_formats_that_were_asked_for_are_written(
    segmenter: Segmenter, photos: list[Path], tmp_path: Path
) -> None:
    written = {}
    for name in ("overlay", "masks", "json", "coco"):
        predict_files(segmenter, photos[:1], output=tmp_path / name, formats=[name])
        found = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        written[name] = {path.name for path in found} - {"detections.jsonl"}
    assert written == {
        "overlay": {"a.png"},
        "masks": {"a_mask.png"},
        "json": {"detections.json"},
        "coco": {"coco_results.json", "coco_images.json"},
    }
