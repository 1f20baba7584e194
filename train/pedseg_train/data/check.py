"""Check a dataset: read every file, count, and report problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pedseg_runtime.errors import DatasetError

from .check_report import CheckReport, Problem, without_particulars
from .classes import renamed, select_classes
from .coco.box_agreement import BoxAgreement
from .coco.check import check_coco, inspect_image
from .coco.images import CocoImages
from .digests import are_official, digest_of_files, file_digests
from .id_maps import id_extents, id_map_fault
from .inspection import Inspection, Tally
from .loading import coco_file
from .pennfudan import PERSON, PennFudanImages, without_extent
from .pennfudan_layout import (
    IMAGES,
    MASKS,
    Progress,
    check_root,
    find_image,
    find_mask,
    image_files,
    image_names,
    mask_names,
    read_pair,
)
from .protocol import LabelledImages


def check_dataset(
    path: str | Path,
    *,
    categories: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every file of a dataset and report counts, sizes and problems.

    Args:
        path: the dataset, of any layout; see `open_dataset`.
        categories: the categories to check; all by default.
        class_map: other names for categories; see `open_dataset`.
        images: the folder of a COCO file's images.
        progress: called after each image with the number read and the total.

    Raises:
        DatasetError: `path` is no dataset. All other problems are reported.
    """
    file = coco_file(Path(path), images)
    if file is not None:
        return check_coco(
            file, categories=categories, class_map=class_map, images=images, progress=progress
        )
    check_root(Path(path))
    (person,) = renamed({1: PERSON}, class_map or {}, source=Path(path)).values()
    select_classes(Path(path), [person], categories=categories)
    return _check_penn_fudan(Path(path), progress, person)


@dataclass(frozen=True, slots=True)
class Look:
    """A short look at some images.

    Attributes:
        report: what was counted, and the problems.
        learnable: the number of instances to learn from, by position.
        dropped: the first reason of each kind to leave an annotation out, and for how many.
    """

    report: CheckReport
    learnable: dict[int, int]
    dropped: dict[str, tuple[str, int]]


def look_at(
    labelled: LabelledImages, indices: Sequence[int], *, progress: Progress | None = None
) -> Look:
    """Inspect some images as `check_dataset` does, without digests and duplicates.

    Args:
        labelled: from `open_images`.
        indices: their positions.
        progress: called after each image with the number read and the total.
    """
    agreement = BoxAgreement()
    root = labelled.path(0).parent
    if isinstance(labelled, CocoImages):
        root = labelled.file
    elif isinstance(labelled, PennFudanImages):
        root = labelled.root
    look = Look(CheckReport(root), {}, {})
    tally = Tally(look.report)
    for done, index in enumerate(indices, 1):
        if isinstance(labelled, CocoImages):
            inspection = inspect_image(labelled, index, agreement)
        elif isinstance(labelled, PennFudanImages):
            inspection = inspect_pair(labelled.root, labelled.names[index])
        else:
            break  # a layout of another library, whose images are its own affair
        tally.add(inspection)
        if inspection.found is not None:
            look.learnable[index] = int(inspection.found.learnable.sum())
        for each in inspection.dropped:
            reason = without_particulars(each.reason)
            example, count = look.dropped.get(reason, (each.reason, 0))
            look.dropped[reason] = (example, count + 1)
        if progress is not None:
            progress(done, len(indices))
    disagreement = agreement.problem(root.name)
    look.report.problems.extend([] if disagreement is None else [disagreement])
    tally.finish()
    return look


def _check_penn_fudan(root: Path, progress: Progress | None, person: str) -> CheckReport:
    report = CheckReport(root)
    files = {folder: file_digests(root / folder) for folder in (IMAGES, MASKS)}
    report.digests = {folder: digest_of_files(digests) for folder, digests in files.items()}
    report.official = are_official(files)
    images, masks = image_names(root), mask_names(root)
    _check_partners(report, set(images), set(masks))
    _check_other_files(report)
    _check_duplicates(report, files[IMAGES])
    tally = Tally(report, "people", "person")
    for done, name in enumerate(images, 1):
        if find_mask(root, name).is_file():
            tally.add(inspect_pair(root, name))
        if progress is not None:
            progress(done, len(images))
    report.classes = {person: report.instances}
    if not report.pairs and not report.errors:
        _add(report, "error", root, "expected images with masks, found none that can be used")
    elif not report.instances and not report.errors:
        message = "expected people to learn from, found none: all masks are empty"
        _add(report, "error", root, message)
    tally.finish()
    return report


def _check_partners(report: CheckReport, images: set[str], masks: set[str]) -> None:
    for name in images - masks:
        partner = find_mask(report.root, name)
        if not partner.is_file():
            message = f"expected the mask {partner.name} in {MASKS}, found nothing"
            _add(report, "error", find_image(report.root, name), message)
    for name in masks - images:
        partner = find_image(report.root, name)
        if not partner.is_file():
            message = f"expected the image {partner.name} in {IMAGES}, found nothing; not used"
            _add(report, "warning", find_mask(report.root, name), message)


def _check_other_files(report: CheckReport) -> None:
    """Warn of files that are not part of the dataset."""
    for folder in (IMAGES, MASKS):
        known = image_files(report.root / folder)
        for path in sorted((report.root / folder).iterdir()):
            if path not in known and not path.name.startswith("."):
                _add(report, "warning", path, "expected PNG files only, found another; not used")
        for path in known:
            used = find_image(report.root, path.stem)
            if folder == IMAGES and path.name != used.name:
                message = f"expected one image of a name, found {used.name} too; not used"
                _add(report, "warning", path, message)


def _check_duplicates(report: CheckReport, digests: dict[str, str]) -> None:
    """Warn of identical images, which may end up in different parts of a split."""
    first: dict[str, str] = {}
    for name, digest in sorted(digests.items()):
        if first.setdefault(digest, name) != name:
            message = f"expected different images, found the same as {first[digest]}"
            _add(report, "warning", report.root / IMAGES / name, message)


def inspect_pair(root: Path, name: str) -> Inspection:
    """Read one image with its mask."""
    path = find_mask(root, name)
    try:
        image, ids = read_pair(root, name)
    except DatasetError as error:
        message = str(error)
        culprit = path if message.startswith(f"{path}: ") else find_image(root, name)
        shown = culprit.relative_to(root).as_posix()
        return Inspection((Problem("error", shown, message.removeprefix(f"{culprit}: ")),))
    subject, size = path.relative_to(root).as_posix(), (image.shape[0], image.shape[1])
    fault = id_map_fault(ids)
    if fault is not None and fault[0] == "error":
        return Inspection((Problem(fault[0], subject, fault[1]),))
    found = id_extents(ids)
    problems = [] if fault is None else [Problem(fault[0], subject, fault[1])]
    if not problems and found.ids.tolist() != list(range(1, len(found) + 1)):
        shown = _format_ids(found.ids.tolist())
        message = f"expected the ids 1 to {len(found)}, found {shown}"
        problems.append(Problem("warning", subject, message))
    for place in np.flatnonzero(~found.learnable):
        x1, y1, x2, y2 = found.boxes[place].tolist()
        message = (
            f"expected people of at least 2x2 pixels, found instance {found.ids[place]} with "
            f"{x2 - x1 + 1}x{y2 - y1 + 1}; not trained on"
        )
        problems.append(Problem("warning", subject, message))
    return Inspection(tuple(problems), size, found, without_extent(found))


def _format_ids(ids: list[int]) -> str:
    shown = ", ".join(str(value) for value in ids[:8])
    return f"{shown}, ..." if len(ids) > 8 else shown


def _add(report: CheckReport, severity: str, path: Path, message: str) -> None:
    report.add(severity, path.relative_to(report.root).as_posix(), message)
