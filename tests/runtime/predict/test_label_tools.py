"""Files for label tools: the masks are those that were found, whatever the tool calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from pedseg_runtime.masks import crop_dense
from pedseg_runtime.polygons import outlines, simplify
from pedseg_runtime.predict.journal import Entry, Fingerprint
from pedseg_runtime.predict.label_tools import (
    brush_rle,
    write_coco_instances,
    write_label_studio,
)

# pycocotools' own decoder is not made for numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLASSES = ("background", "person", 'a "dog" & <more>')
SIZE = (30, 40)


def read_brush(data: list[int]) -> NDArray[np.uint8]:
    """Decode Label Studio's RLE as its own JavaScript does, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in data)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    values, word = np.zeros(read(32), np.uint8), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    done = 0
    while done < len(values):
        same = read(1)
        end = done + 1 + read(sizes[read(2)])
        while done < end:
            values[done:end] = read(word)
            done = end if same else done + 1
    return values


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_a_brush_has_every_pixel(bits: NDArray[np.bool_], scale: int) -> None:
    bits = np.kron(bits, np.ones((scale, scale), np.bool_))
    image = read_brush(brush_rle(bits)).reshape(*bits.shape, 4)
    np.testing.assert_array_equal(image, np.repeat(bits[..., None] * 255, 4, axis=2))


@given(
    arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))),
    st.sampled_from([0, 0.5, 1, 3]),
)
@settings(deadline=None, max_examples=40)
def test_simplified_outlines_stay_within_the_tolerance(
    bits: NDArray[np.bool_], tolerance: float
) -> None:
    for ring in outlines(crop_dense(bits)):
        found = simplify(ring, tolerance)
        assert 3 <= len(found) <= len(ring)
        if tolerance == 0:
            np.testing.assert_array_equal(found, ring)
        ends = np.roll(found, -1, axis=0)
        for corner in ring:
            along = ends - found
            share = ((corner - found) * along).sum(1) / (along**2).sum(1)
            nearest = found + np.clip(share, 0, 1)[:, None] * along
            assert np.hypot(*(corner - nearest).T).min() <= tolerance + 1e-4


@pytest.fixture
def images() -> list[tuple[Path, Entry]]:
    """Two persons on a/1.jpg, the second of two parts, nothing on b/2 3.jpg."""
    whole, parts, nothing = np.zeros((3, *SIZE), np.uint8)
    whole[2:20, 5:15] = 1
    parts[3:9, 20:30] = parts[12:28, 18:25] = 1

    def entry(*masks: NDArray[np.uint8]) -> Entry:
        detections = [
            {
                "category_id": number,
                "score": 1 - number / 4,
                "bbox": [0, 0, 1, 1],
                "segmentation": packed(mask),
            }
            for number, mask in enumerate(masks, 1)
        ]
        result = {"height": SIZE[0], "width": SIZE[1], "detections": detections}
        return Entry(Fingerprint("", 0, 0), {}, result)

    return [(Path("in/a/1.jpg"), entry(whole, parts)), (Path("in/b/2 3.jpg"), entry(nothing))]


def packed(mask: NDArray[np.uint8]) -> dict[str, object]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


@pytest.mark.parametrize("tolerance", [None, 0.0, 1.0])
def test_coco_instances_load_and_give_the_masks(tmp_path, images, tolerance) -> None:
    path = tmp_path / "coco_instances.json"
    write_coco_instances(path, images, CLASSES, tolerance=tolerance)
    loaded = COCO(str(path))
    names = [image["file_name"] for image in loaded.dataset["images"]]
    assert names == ["a/1.jpg", "b/2 3.jpg"]
    assert [one["name"] for one in loaded.dataset["categories"]] == list(CLASSES[1:])
    expected = [found["segmentation"] for found in images[0][1].result["detections"]]
    assert len(loaded.dataset["annotations"]) == 2  # an empty mask is nothing to correct
    for entry, rle in zip(loaded.dataset["annotations"], expected, strict=True):
        np.testing.assert_array_equal(loaded.annToMask(entry), coco_mask.decode(rle))
        assert entry["bbox"] == coco_mask.toBbox(rle).tolist()
        assert entry["area"] == coco_mask.area(rle)
        assert isinstance(entry["segmentation"], dict if tolerance is None else list)


@pytest.mark.parametrize("tolerance", [None, 1.0])
def test_label_studio_gets_tasks_that_fit_the_interface(tmp_path, images, tolerance) -> None:
    path, interface = tmp_path / "tasks.json", tmp_path / "interface.xml"
    write_label_studio(path, interface, images, CLASSES, tolerance=tolerance)
    kind = "brush" if tolerance is None else "polygon"
    xml = interface.read_text()
    assert f'<{kind.title()}Labels name="label" toName="image">' in xml
    assert "<Label value='a \"dog\" &amp; &lt;more&gt;'/>" in xml
    first, second = json.loads(path.read_text())
    assert first["data"] == {"image": "/data/local-files/?d=a/1.jpg"}
    assert second["data"] == {"image": "/data/local-files/?d=b/2%203.jpg"}
    (prediction,) = first["predictions"]
    assert prediction["score"] == (0.75 + 0.5) / 2
    regions = prediction["result"]
    assert [one["id"] for one in regions] == ["1-1", "2-1", *(["2-2"] if tolerance else [])]
    assert second["predictions"][0]["result"] == []
    covered = {}
    for region in regions:
        assert (region["original_width"], region["original_height"]) == (40, 30)
        label = region["value"][f"{kind}labels"][0]
        if tolerance is None:
            bits = read_brush(region["value"]["rle"]).reshape(*SIZE, 4)[..., 3] > 0
        else:
            points = np.array(region["value"]["points"]) * [0.4, 0.3]
            bits = coco_mask.decode(coco_mask.frPyObjects([points.ravel().tolist()], *SIZE))
            bits = bits[..., 0] > 0
        covered[label] = covered.get(label, False) | bits
    for number, found in enumerate(images[0][1].result["detections"], 1):
        mask = coco_mask.decode(found["segmentation"])
        np.testing.assert_array_equal(covered[CLASSES[number]], mask > 0)
