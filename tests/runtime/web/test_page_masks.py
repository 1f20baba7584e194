"""The page pastes masks as the runtime does, pixel by pixel: node runs its module on many cases."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime.masks import crop_masks

NODE = shutil.which("node")
PAGE = resources.files("pedseg_runtime.web") / "page"
SIZE = (150, 200)
SCRIPT = """
import { pasteMask } from "./masks.mjs";
import { readFileSync } from "node:fs";
const { size, image, cases } = JSON.parse(readFileSync(0, "utf8"));
const floats = (text) => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);
const answers = cases.map(({ soft, box, threshold }) => {
  const pasted = pasteMask(floats(soft), size, floats(box), image, threshold);
  const { top, left, height, width, bits } = pasted;
  return [top, left, height, width, Buffer.from(bits).toString("base64")];
});
process.stdout.write(JSON.stringify(answers));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def paste_in_node(
    folder: Path,
    soft: NDArray[np.float32],
    boxes: NDArray[np.float32],
    thresholds: NDArray[np.float64],
) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """What the page's module makes of soft masks [D, M, M] and boxes [D, 4]."""
    (folder / "masks.mjs").write_bytes((PAGE / "masks.js").read_bytes())
    (folder / "run.mjs").write_text(SCRIPT, encoding="utf-8")
    cases: list[dict[str, Any]] = [
        {"soft": packed(mask), "box": packed(box), "threshold": threshold}
        for mask, box, threshold in zip(soft, boxes, thresholds.tolist(), strict=True)
    ]
    image = {"height": SIZE[0], "width": SIZE[1]}
    text = json.dumps({"size": soft.shape[-1], "image": image, "cases": cases})
    done = subprocess.run(
        [str(NODE), str(folder / "run.mjs")], input=text, capture_output=True, text=True, check=True
    )
    return [
        (top, left, np.frombuffer(base64.b64decode(bits), np.bool_).reshape(height, width))
        for top, left, height, width, bits in json.loads(done.stdout)
    ]


def packed(array: NDArray[np.float32]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")


def test_the_page_pastes_the_runtimes_pixels(tmp_path: Path) -> None:
    """Boxes of all sizes, in the image, across its edges and outside; values at the threshold."""
    rng = np.random.default_rng(0)
    count = 400
    soft = rng.random((count, 28, 28), np.float32)
    soft[::2] = np.round(soft[::2] * 8) / 8  # sums of these often hit 0.5 exactly
    centres = rng.uniform(-0.2, 1.2, (count, 2)) * (SIZE[1], SIZE[0])
    sides = np.exp(rng.uniform(np.log(0.5), np.log(400), (count, 2)))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
    boxes[::3] = np.round(boxes[::3])
    thresholds = np.where(np.arange(count) % 4 == 0, rng.random(count), 0.5)
    found = paste_in_node(tmp_path, soft, boxes, thresholds)
    small = pixels = 0
    for index, (top, left, bits) in enumerate(found):
        chosen = slice(index, index + 1)
        (expected,) = crop_masks(soft[chosen], boxes[chosen], SIZE, thresholds[index])
        assert (top, left) == (expected.top, expected.left), boxes[index]
        assert np.array_equal(bits, expected.bits), boxes[index]
        small += sum(sides[index]) < 110
        pixels += bits.size
    assert 50 < small < count - 50  # both of torch's kernels
    assert pixels > 100_000
