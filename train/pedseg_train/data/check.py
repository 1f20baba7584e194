"""Check a dataset: read every file, count, and report problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pedseg_runtime.errors import DatasetError

from .check_report import CheckReport
from .classes import select_classes
from .coco.check import check_coco
from .digests import are_official, digest_of_files, file_digests
from .loading import coco_file
from .pennfudan import PERSON, people
from .pennfudan_layout import (
    IMAGES,
    MASKS,
    Progress,
    check_root,
    image_names,
    image_path,
    mask_names,
    mask_path,
    png_files,
    read_pair,
)

Measurements = dict[str, list[float]]


def check_dataset(
    path: str | Path,
    *,
    categories: Sequence[str] | None = None,
    images: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every file of a dataset and report counts, sizes and problems.

    Args:
        path: the dataset, of any layout; see `open_dataset`.
        categories: the categories to check; all by default.
        images: the folder of a COCO file's images.
        progress: called after each image with the number read and the total.

    Raises:
        DatasetError: `path` is no dataset. All other problems are reported.
    """
    file = coco_file(Path(path), images)
    if file is not None:
        return check_coco(file, categories=categories, images=images, progress=progress)
    check_root(Path(path))
    select_classes(Path(path), [PERSON], categories=categories)
    return _check_penn_fudan(Path(path), progress)


def _check_penn_fudan(root: Path, progress: Progress | None) -> CheckReport:
    report = CheckReport(root)
    files = {folder: file_digests(root / folder) for folder in (IMAGES, MASKS)}
    report.digests = {folder: digest_of_files(digests) for folder, digests in files.items()}
    report.official = are_official(files)
    images, masks = image_names(root), mask_names(root)
    _check_partners(report, set(images), set(masks))
    _check_other_files(report)
    _check_duplicates(report, files[IMAGES])
    measured: Measurements = {}
    known = set(masks)
    for done, name in enumerate(images, 1):
        if name in known:
            _check_pair(report, name, measured)
        if progress is not None:
            progress(done, len(images))
    report.classes = {PERSON: report.instances}
    if not report.pairs:
        _add(report, "error", root, "expected images with masks, found none that can be used")
    report.finish(measured)
    return report


def _check_partners(report: CheckReport, images: set[str], masks: set[str]) -> None:
    for name in images - masks:
        partner = mask_path(report.root, name).name
        message = f"expected the mask {partner} in {MASKS}, found nothing"
        _add(report, "error", image_path(report.root, name), message)
    for name in masks - images:
        partner = image_path(report.root, name).name
        message = f"expected the image {partner} in {IMAGES}, found nothing; not used"
        _add(report, "warning", mask_path(report.root, name), message)


def _check_other_files(report: CheckReport) -> None:
    """Warn of files that are not part of the dataset."""
    for folder in (IMAGES, MASKS):
        known = set(png_files(report.root / folder))
        for path in (report.root / folder).iterdir():
            if path not in known and not path.name.startswith("."):
                _add(report, "warning", path, "expected PNG files only, found another; not used")


def _check_duplicates(report: CheckReport, digests: dict[str, str]) -> None:
    """Warn of identical images, which may end up in different parts of a split."""
    first: dict[str, str] = {}
    for name, digest in sorted(digests.items()):
        if first.setdefault(digest, name) != name:
            message = f"expected different images, found the same as {first[digest]}"
            _add(report, "warning", report.root / IMAGES / name, message)


def _check_pair(report: CheckReport, name: str, measured: Measurements) -> None:
    """Read one image with its mask and add to `measured`."""
    path = mask_path(report.root, name)
    try:
        image, ids = read_pair(report.root, name)
    except DatasetError as error:
        message = str(error)
        unreadable = path if message.startswith(f"{path}: ") else image_path(report.root, name)
        _add(report, "error", unreadable, message.removeprefix(f"{unreadable}: "))
        return
    found = people(ids)
    report.pairs += 1
    report.instances += len(found)
    report.empty += not len(found)
    if found.ids.tolist() != list(range(1, len(found) + 1)):
        shown = _format_ids(found.ids.tolist())
        _add(report, "warning", path, f"expected the ids 1 to {len(found)}, found {shown}")
    thin = found[~found.has_extent]
    for instance, (x1, y1, x2, y2) in zip(thin.ids.tolist(), thin.boxes.tolist(), strict=True):
        message = (
            f"expected people of at least 2x2 pixels, found instance {instance} with "
            f"{x2 - x1 + 1}x{y2 - y1 + 1}; not trained on"
        )
        _add(report, "warning", path, message)
    sides = found.boxes[:, 2:] - found.boxes[:, :2] + 1
    values = {
        "image width": [image.shape[1]],
        "image height": [image.shape[0]],
        "people in an image": [len(found)],
        "person width": sides[:, 0].tolist(),
        "person height": sides[:, 1].tolist(),
        "person area": found.masks.sum(axis=(1, 2)).tolist(),
    }
    for key, numbers in values.items():
        measured.setdefault(key, []).extend(numbers)


def _format_ids(ids: list[int]) -> str:
    shown = ", ".join(str(value) for value in ids[:8])
    return f"{shown}, ..." if len(ids) > 8 else shown


def _add(report: CheckReport, severity: str, path: Path, message: str) -> None:
    report.add(severity, path.relative_to(report.root).as_posix(), message)
