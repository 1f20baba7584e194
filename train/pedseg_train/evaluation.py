"""COCO accuracy of anything that segments an image: a checkpoint, an artifact, a function."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.table import Table

from pedseg_runtime.console import track
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError

NUMBERS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip

Segment = Callable[[NDArray[np.uint8]], Detections]
Numbers = dict[str, float | None]


class Annotated(Protocol):
    """Pictures with the targets of torchvision's tutorial, such as a `PennFudanDataset`."""

    def __getitem__(self, index: int, /) -> tuple[Any, dict[str, Any]]:
        """The picture and its target: boxes, labels, masks, area, iscrowd."""

    def image(self, index: int) -> NDArray[np.uint8]:
        """The picture as uint8 [H, W, 3] RGB."""


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's twelve numbers for boxes and for masks, in 0..1.

    A number is None where it has no meaning, e.g. APs without a small person in the ground truth.

    Attributes:
        bbox, segm: name of `NUMBERS` -> value.
        images: pictures that were evaluated.
        instances: people in their ground truth.
        detections: detections on them, of any score.
    """

    bbox: Numbers
    segm: Numbers
    images: int
    instances: int
    detections: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types; no NaN, no -1."""
        return dataclasses.asdict(self)

    def table(self) -> Table:
        """The numbers side by side, for a terminal."""
        table = Table(
            title=f"{self.detections} detections on {self.images} images with "
            f"{self.instances} people"
        )
        table.add_column("COCO")
        table.add_column("bbox", justify="right")
        table.add_column("segm", justify="right")
        for name in NUMBERS:
            table.add_row(name, _shown(self.bbox[name]), _shown(self.segm[name]))
        return table

    def summary(self) -> str:
        """The two numbers that matter most, in one line."""
        return f"box AP {_shown(self.bbox['AP'])}, mask AP {_shown(self.segm['AP'])}"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a model found on labelled pictures, in COCO's terms, ready to be counted in many ways.

    Attributes:
        images: id (the position in the dataset), height and width of every picture.
        truth: COCO annotations of the people on them.
        found: COCO annotations of the detections, of any score.
    """

    images: list[dict[str, int]]
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]

    def match(self, kind: str, *, breakdown: bool = True) -> COCOeval:
        """COCOeval with every detection matched to the truth, not yet accumulated.

        Args:
            kind: "bbox" or "segm".
            breakdown: also by size and by number of detections, as the twelve numbers need; without
                it for all sizes and COCO's 100 detections per picture only.
        """
        categories = sorted({1, *(annotation["category_id"] for annotation in self.truth)})
        found = [{**annotation, "area": _area(annotation, kind)} for annotation in self.found]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(
                _coco(self.truth, self.images, categories),
                _coco(found, self.images, categories),
                kind,
            )
            if not breakdown:
                parameters = evaluation.params
                parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], ["all"]
                parameters.maxDets = parameters.maxDets[-1:]
            evaluation.evaluate()
        return evaluation


def evaluate(
    segment: Segment,
    dataset: Annotated,
    indices: Sequence[int],
    *,
    description: str = "evaluating",
) -> CocoResult:
    """Run `segment` on some pictures of `dataset` and compare with their targets.

    Args and meaning as for `record`.
    """
    return count(record(segment, dataset, indices, description=description))


def record(
    segment: Segment,
    dataset: Annotated,
    indices: Sequence[int],
    *,
    description: str = "evaluating",
) -> Recording:
    """Run `segment` on some pictures of `dataset` and note what it found beside their targets.

    Boxes and areas of the ground truth are those of the targets, as in torchvision's reference: in
    the tutorial's datasets the area that sorts people into small, medium and large is the box's.

    Args:
        segment: one image, uint8 [H, W, 3] -> detections.
        dataset: without random transforms, since targets and pictures must belong together.
        indices: the positions in `dataset` to evaluate on, each once.
        description: of the progress bar.

    Raises:
        InputError: a position is named twice, so that its people would count twice.
    """
    if len(set(indices)) != len(indices):
        raise InputError(
            f"indices: expected every picture once, found {len(indices) - len(set(indices))} "
            "of them again; name each once"
        )
    recording = Recording(images=[], truth=[], found=[])
    for index in track(indices, description, total=len(indices)):
        image = dataset.image(index)
        recording.images.append({"id": index, "height": image.shape[0], "width": image.shape[1]})
        recording.truth.extend(_truth_annotations(dataset[index][1], index))
        recording.found.extend(_found_annotations(segment(image), index))
    return recording


def count(recording: Recording) -> CocoResult:
    """COCO's twelve numbers, for boxes and for masks."""
    return CocoResult(
        bbox=_twelve_numbers(recording.match("bbox")),
        segm=_twelve_numbers(recording.match("segm")),
        images=len(recording.images),
        instances=len(recording.truth),
        detections=len(recording.found),
    )


def _truth_annotations(target: dict[str, Any], image_id: int) -> Iterable[dict[str, Any]]:
    masks = np.asarray(target["masks"], dtype=np.uint8)  # [N, H, W]
    rles = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0)))
    boxes = np.asarray(target["boxes"], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    for box, label, area, crowd, rle in zip(
        boxes.tolist(),
        target["labels"].tolist(),
        target["area"].tolist(),
        target["iscrowd"].tolist(),
        rles,
        strict=True,
    ):
        yield {
            "image_id": image_id,
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": crowd,
            "segmentation": rle,
        }


def _found_annotations(detections: Detections, image_id: int) -> Iterable[dict[str, Any]]:
    rles = detections.rles()
    mask_areas = coco_mask.area(rles).tolist() if rles else []
    for entry, mask_area in zip(detections.to_coco(image_id), mask_areas, strict=True):
        yield {**entry, "iscrowd": 0, "mask_area": mask_area}


def _twelve_numbers(evaluation: COCOeval) -> Numbers:
    """COCOeval's summary of matched detections, without its printing."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    # COCOeval says -1 where nothing was there to be counted.
    values = [None if value < 0 else float(value) for value in evaluation.stats]
    return dict(zip(NUMBERS, values, strict=True))


def _area(annotation: dict[str, Any], kind: str) -> float:
    """The area that decides whether an unmatched detection counts for small, medium or large."""
    if kind == "segm":
        return float(annotation["mask_area"])
    _, _, width, height = annotation["bbox"]
    return float(width * height)


def _coco(
    annotations: list[dict[str, Any]], images: list[dict[str, int]], categories: list[int]
) -> COCO:
    """A COCO index in memory. Ids start at 1: COCOeval takes 0 for "not matched"."""
    coco = COCO()
    coco.dataset = {
        "images": images,
        "categories": [{"id": category} for category in categories],
        "annotations": [{**entry, "id": i} for i, entry in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
