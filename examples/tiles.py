"""A large image in tiles: small people are found at full size, and memory stays bounded.

    python examples/tiles.py pedseg.onnx panorama.png tiled --tile 640 --overlap 160

writes tiled/panorama.json, COCO results as pedseg-predict writes them, and tiled/panorama.jpg with
the masks drawn, scaled down to --shown pixels.

supervision's slicer cuts the image, and its compact masks stay run lengths of their own crops from
tile to result: a mask of the whole image is never made. Who stands on the edge of a tile is found
there in part and wholly in the next one, if the overlap is as wide as a person; of two that share
most of the smaller one the better score stays. Needs pip install 'pedseg[supervision]'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import supervision as sv
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import Segmenter, read_image
from pedseg_runtime.console import Command, output
from pedseg_runtime.files import replacing, write_json
from pedseg_runtime.masks import PastedMask, encode_crops

# Two detections are of one person if they share this part of the smaller. Merging such two instead
# (NON_MAX_MERGE) joins neighbours: of 62 people it found 22, where this found 36.
SHARED = 0.5


def segment(
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    *,
    tile: int,
    overlap: int,
    score_threshold: float,
) -> sv.Detections:
    """Segment an image, uint8 [H, W, 3] RGB, tile by tile.

    Returns:
        Detections with compact masks, in the pixels of the whole image.
    """

    def segment_tile(pixels: NDArray[np.uint8]) -> sv.Detections:
        found = segmenter.predict([pixels], score_threshold=score_threshold)[0]
        return found.to_supervision(compact=True)

    slicer = sv.InferenceSlicer(
        segment_tile,
        slice_wh=tile,
        overlap_wh=overlap,
        overlap_filter=sv.OverlapFilter.NON_MAX_SUPPRESSION,
        overlap_metric=sv.OverlapMetric.IOS,
        iou_threshold=SHARED,
    )
    return slicer(image)


def crops(found: sv.Detections) -> list[PastedMask]:
    """The masks as crops of the image."""
    return [
        PastedMask(int(top), int(left), found.mask.crop(index))
        for index, (left, top) in enumerate(found.mask.offsets)
    ]


def to_coco(found: sv.Detections, image_id: str, size: tuple[int, int]) -> list[dict[str, Any]]:
    """COCO results: box x y width height, mask as run lengths."""
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "category_name": str(name),
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "score": float(score),
            "segmentation": rle,
        }
        for (x1, y1, x2, y2), label, name, score, rle in zip(
            found.xyxy,
            found.class_id,
            found.data["class_name"],
            found.confidence,
            encode_crops(crops(found), size),
            strict=True,
        )
    ]


def draw(image: NDArray[np.uint8], found: sv.Detections, shown: int) -> Image.Image:
    """The image with the masks on it, its longer side at most `shown` pixels."""
    painted = image.copy()
    palette = sv.ColorPalette.DEFAULT
    for index, (top, left, bits) in enumerate(crops(found)):
        window = painted[top : top + bits.shape[0], left : left + bits.shape[1]]
        color = np.array(palette.by_idx(index).as_rgb())
        window[bits] = (window[bits] * 0.5 + color * 0.5).astype(np.uint8)
    shrunk = Image.fromarray(painted)
    shrunk.thumbnail((shown, shown))
    return shrunk


@click.command(cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--tile", type=click.IntRange(32), default=640, show_default=True, help="Pixels.")
@click.option("--overlap", type=click.IntRange(0), default=160, show_default=True, help="Pixels.")
@click.option("--score-threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@click.option("--shown", type=click.IntRange(1), default=2000, show_default=True, help="Pixels.")
@click.option("--device", default="auto", show_default=True)
def main(
    artifact: Path,
    image: Path,
    folder: Path,
    tile: int,
    overlap: int,
    score_threshold: float,
    shown: int,
    device: str,
) -> None:
    """Segment IMAGE, which may be very large, with ARTIFACT; the results go into FOLDER."""
    pixels = read_image(image, max_pixels=None)
    with Segmenter.load(artifact, device=device) as segmenter:
        found = segment(
            segmenter, pixels, tile=tile, overlap=overlap, score_threshold=score_threshold
        )
    write_json(folder / f"{image.stem}.json", to_coco(found, image.name, pixels.shape[:2]))
    with replacing(folder / f"{image.stem}.jpg") as temporary:
        draw(pixels, found, shown).save(temporary, quality=90)
    output.print(f"{len(found)} detections; results in {folder}", markup=False)


if __name__ == "__main__":
    main()
