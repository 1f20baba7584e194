"""A model's detections on labelled images together with the ground truth, in COCO's format."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pedseg_runtime.console import track
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError, summarize

from ..data.protocol import ImageAnnotations

Segment = Callable[[NDArray[np.uint8]], Detections]

CLASS_NAMES = ("background", "person")


class Annotated(Protocol):
    """Images with the targets of torchvision's tutorial, such as a `PennFudanDataset`.

    Its `class_names`, background first, are taken if it has any; else everybody is a person. If it
    has `annotations(index)` and they are not None, these are what is measured with, by pycocotools'
    rules; else its `truth(index)` if it has one, a target with the crowd regions, which are nothing
    to train on.
    """

    def __getitem__(self, index: int, /) -> tuple[Any, dict[str, Any]]:
        """The image and its target: boxes, labels, masks, area, iscrowd."""

    def image(self, index: int, /) -> NDArray[np.uint8]:
        """The image as uint8 [H, W, 3] RGB."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Detections and ground truth of labelled images, in COCO's format.

    Attributes:
        images: id (the position in the dataset), height and width of every image; in COCO data also
            `file_id`, its id in the file.
        truth: COCO annotations of the people on them; category_id is the label. One that is
            `box_only` takes no part in what is measured by masks.
        found: COCO annotations of the detections, of any score.
        class_names: one name per label, background first.
        coco_file: whether the truth is a COCO file's own. Detections are then sorted into small,
            medium and large by their boxes, for masks too, as pycocotools does with results that
            have both; else by their masks, as torchvision's reference does.
        failed: id -> why the image could not be segmented. It counts as one without detections, or
            not at all if not even its truth could be read.
    """

    images: list[dict[str, Any]]
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]
    class_names: tuple[str, ...] = CLASS_NAMES
    coco_file: bool = False
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def people(self) -> int:
        """Number of instances in the truth that have a mask, crowd regions not counted."""
        return sum(not person["iscrowd"] for person in measured_by(self.truth, "segm"))

    @property
    def sorted_ids(self) -> list[int]:
        """The ids of the images in the order in which COCOeval takes them: of the file's ids.

        Where detections on several images have the same score, AP depends on it. Ids that are text
        come after numbers.
        """
        keys = {image["id"]: image.get("file_id", image["id"]) for image in self.images}
        return sorted(keys, key=lambda image: (isinstance(keys[image], str), keys[image]))

    @property
    def categories(self) -> list[int]:
        """The evaluated labels: all of the model's classes, and any other in the truth."""
        labels = range(1, len(self.class_names))
        return sorted({*labels, *(person["category_id"] for person in self.truth)})

    def category_name(self, label: int) -> str:
        """The class name of a label, or `class N` without a name."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def by_image(self) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
        """Truth and detections of each image, in the order of `images`."""
        truth, found = (self._group_by_image(side) for side in (self.truth, self.found))
        return [(truth[image["id"]], found[image["id"]]) for image in self.images]

    def _group_by_image(self, annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
        by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self.images}
        for annotation in annotations:
            by_image[annotation["image_id"]].append(annotation)
        return by_image

    def match(self, kind: str, *, breakdown: bool = True) -> COCOeval:
        """COCOeval with every detection matched to the truth, not yet accumulated.

        Args:
            kind: "bbox" or "segm".
            breakdown: also by size and number of detections, as the twelve numbers need; else for
                all sizes and COCO's 100 detections per image only.
        """
        rank = {identity: place for place, identity in enumerate(self.sorted_ids)}
        images = [{**image, "id": rank[image["id"]]} for image in self.images]
        truth, found = (
            [{**entry, "image_id": rank[entry["image_id"]]} for entry in entries]
            for entries in (measured_by(self.truth, kind), self.found)
        )
        for entry in found:
            entry["area"] = _area(entry, "bbox" if self.coco_file else kind)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(
                _coco(truth, images, self.categories),
                _coco(found, images, self.categories),
                kind,
            )
            if not breakdown:
                parameters = evaluation.params
                parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], ["all"]
                parameters.maxDets = parameters.maxDets[-1:]
            evaluation.evaluate()
        return evaluation


def labelled(dataset: Annotated, indices: Sequence[int], *, keep_going: bool = False) -> Recording:
    """The ground truth of some images, without detections; reuse it to evaluate repeatedly.

    In COCO data everything is as in the file, as pycocotools reads it. Else boxes and areas are
    those of the targets, as in torchvision's reference: in the tutorial's datasets the area that
    sorts people into small, medium and large is the box's.

    Args:
        dataset: without random transforms, since targets and images must match.
        indices: the positions in `dataset`, each once.
        keep_going: leave out images that cannot be read, see `Recording.failed`.

    Raises:
        InputError: a repeated position, whose people would count twice.
    """
    if len(set(indices)) != len(indices):
        raise InputError(
            f"indices: expected every image once, found {len(indices) - len(set(indices))} "
            "repeated; name each once"
        )
    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    failed: dict[int, str] = {}
    for index in track(indices, "reading the truth", total=len(indices)):
        try:
            image, annotations = _truth(dataset, index)
        except Exception as error:  # any: it is this image's
            if not keep_going:
                raise
            failed[index] = summarize(error)
            continue
        images.append(image)
        truth.extend(annotations)
    coco_file = any("file_id" in image for image in images)
    return Recording(images, truth, [], class_names_of(dataset), coco_file, failed)


def measured_by(entries: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The entries of the truth that are measured by `kind`, "bbox" or "segm"."""
    return [entry for entry in entries if kind == "bbox" or not entry.get("box_only")]


def record(
    segment: Segment,
    dataset: Annotated,
    indices: Sequence[int],
    *,
    truth: Recording | None = None,
    description: str = "evaluating",
    keep_going: bool = False,
) -> Recording:
    """Run `segment` on some images of `dataset` and record detections and targets.

    Args:
        segment: one image, uint8 [H, W, 3] -> detections.
        dataset: see `labelled`.
        indices: the positions in `dataset` to evaluate on, each once.
        truth: the result of `labelled` for the same positions, to save reading it again.
        description: of the progress bar.
        keep_going: note images that fail, rather than end with the error of the first, see
            `Recording.failed`.

    Raises:
        InputError: a repeated position, `truth` is of other images, an image has another size than
            its annotation, or all images fail.
    """
    truth = labelled(dataset, indices, keep_going=keep_going) if truth is None else truth
    failed = dict(truth.failed)
    indices = [index for index in indices if index not in failed]
    if [image["id"] for image in truth.images] != indices:
        raise InputError(
            f"truth: expected that of the {len(indices)} images to evaluate on, found "
            f"{len(truth.images)} others; make it with labelled(dataset, indices)"
        )
    found: list[dict[str, Any]] = []
    progress = track(indices, description, total=len(indices))
    for size, index in zip(truth.images, progress, strict=True):
        try:
            image = dataset.image(index)
            _check_size(dataset, index, image, size)
            found.extend(found_annotations(segment(image), index))
        except Exception as error:  # any: it is this image's
            if not keep_going:
                raise
            failed[index] = summarize(error)
    if failed and len(failed) == len(indices) + len(truth.failed):
        raise InputError(
            f"expected images that can be segmented, found that all {len(failed)} fail, the first "
            f"with: {next(iter(failed.values()))}"
        )
    return replace(truth, found=found, failed=failed)


def _check_size(
    dataset: Annotated, index: int, image: NDArray[np.uint8], size: dict[str, int]
) -> None:
    if image.shape[:2] != (size["height"], size["width"]):
        raise InputError(
            f"image {getattr(dataset, 'names', {index: index})[index]}: expected "
            f"{size['width']}x{size['height']} pixels as its annotation says, found "
            f"{image.shape[1]}x{image.shape[0]}; annotation and image must cover the same pixels"
        )


def found_annotations(detections: Detections, image_id: int) -> list[dict[str, Any]]:
    """Detections as the COCO annotations that `Recording.found` holds."""
    return with_mask_areas(detections.to_coco(image_id))


def with_mask_areas(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """COCO results with the further fields that COCOeval needs of an annotation."""
    # One by one: pycocotools counts the masks of a list in eight bits.
    return [
        {**entry, "iscrowd": 0, "mask_area": int(coco_mask.area(entry["segmentation"]))}
        for entry in entries
    ]


def merge(recordings: Sequence[Recording]) -> Recording:
    """Merge the recordings of several processes; an image that two have counts once.

    The images are in the order of their ids, whichever process had them.

    Args:
        recordings: of parts of one dataset, at least one.
    """
    owner: dict[int, int] = {}
    for number, recording in enumerate(recordings):
        for image in recording.images:
            owner.setdefault(image["id"], number)

    def gather(field: str, key: str) -> list[dict[str, Any]]:
        kept = [
            entry
            for number, recording in enumerate(recordings)
            for entry in getattr(recording, field)
            if owner[entry[key]] == number
        ]
        return sorted(kept, key=lambda entry: int(entry[key]))

    return Recording(
        images=gather("images", "id"),
        truth=gather("truth", "image_id"),
        found=gather("found", "image_id"),
        class_names=recordings[0].class_names,
        coco_file=any(recording.coco_file for recording in recordings),
        failed={id_: why for recording in recordings for id_, why in recording.failed.items()},
    )


def class_names_of(dataset: Annotated) -> tuple[str, ...]:
    """The classes of a dataset, background first; background and person if it names none."""
    return tuple(getattr(dataset, "class_names", CLASS_NAMES))


def _truth(dataset: Annotated, index: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The entries of `Recording.images` and `Recording.truth` for one image."""
    annotations = getattr(dataset, "annotations", None)
    given: ImageAnnotations | None = None if annotations is None else annotations(index)
    if given is not None:
        height, width = given.size
        entries = [{"image_id": index, **entry} for entry in given.annotations]
        return {"id": index, "file_id": given.id, "height": height, "width": width}, entries
    truth = getattr(dataset, "truth", None)
    target: dict[str, Any] = dataset[index][1] if truth is None else truth(index)
    height, width = target["masks"].shape[-2:]
    entries = list(_truth_annotations(target, index))
    return {"id": index, "height": height, "width": width}, entries


def _truth_annotations(target: dict[str, Any], image_id: int) -> Iterable[dict[str, Any]]:
    masks = np.asarray(target["masks"], dtype=np.uint8)  # [N, H, W]
    rles = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0)))
    corners = np.asarray(target["boxes"], dtype=np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
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


def _area(annotation: dict[str, Any], kind: str) -> float:
    """The area that decides whether an unmatched detection counts for small, medium or large."""
    if kind == "segm" or annotation.get("mask_only"):
        return float(annotation["mask_area"])
    _, _, width, height = annotation["bbox"]
    return float(width * height)


def _coco(
    annotations: list[dict[str, Any]], images: list[dict[str, Any]], categories: list[int]
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
