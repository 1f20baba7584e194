"""What a COCO file holds, and everything that is wrong with it, at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pedseg_runtime.errors import DatasetError
from pedseg_runtime.files import sha256_of

from ..check_report import CheckReport
from ..digests import digest_of_files
from ..pennfudan_layout import Progress
from ..protocol import Instances
from .images import CocoImages

Measured = dict[str, list[float]]


def check_coco(
    file: Path,
    *,
    categories: Sequence[str] | None = None,
    images: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every image of a COCO file and decode every annotation; see `check_dataset`.

    Raises:
        DatasetError: no COCO JSON, or none of the categories. Everything else is reported.
    """
    report = CheckReport(file, layout="COCO JSON")
    labelled = CocoImages(file, categories=categories, images=images, tolerant=True)
    report.problems.extend(labelled.problems)
    measured: Measured = {}
    digests: dict[str, str] = {}
    labels: Counter[int] = Counter()
    for index in range(len(labelled)):
        path = labelled.path(index)
        if path.is_file():
            digests[labelled.file_name(index)] = sha256_of(path)
            _check_image(report, labelled, index, labels, measured)
        if progress is not None:
            progress(index + 1, len(labelled))
    _check_doubles(report, digests)
    report.classes = {name: labels[i] for i, name in enumerate(labelled.class_names) if i}
    for name, count in report.classes.items():
        if not count:
            message = f"expected instances of every category, found none of {name!r}; it is learnt "
            report.add(
                "warning", file.name, message + "from nothing, select others to leave it out"
            )
    report.digests = {"annotations": sha256_of(file), "images": digest_of_files(digests)}
    if not report.pairs:
        report.add("error", file.name, "expected images that can be read, found none")
    report.finish(measured)
    return report


def _check_image(
    report: CheckReport,
    images: CocoImages,
    index: int,
    labels: Counter[int],
    measured: Measured,
) -> None:
    """Read one image with its annotations and add to what was counted and `measured`."""
    path = images.path(index)
    try:
        image, instances = images.sample(index)
        dropped, clipped = images.dropped(index), images.clipped(index)
    except DatasetError as error:
        message, at = str(error), images.file
        in_file = message.startswith(f"{at}: ")
        subject = at.name if in_file else images.file_name(index)
        report.add("error", subject, message.removeprefix(f"{at if in_file else path}: "))
        return
    subject = images.file_name(index)
    for instance, reason in dropped:
        report.add("warning", subject, f"annotation {instance} is not used: {reason}")
    for instance, pixels in clipped:
        message = f"annotation {instance} reaches {pixels:.0f} px out of the frame and is cut off"
        report.add("warning", subject, message)
    found = instances[instances.has_extent & ~instances.crowd]
    report.pairs += 1
    report.instances += len(found)
    report.empty += not len(found)
    report.crowds += int(instances.crowd.sum())
    labels.update(found.labels.tolist())
    for key, numbers in _measures(image.shape, found).items():
        measured.setdefault(key, []).extend(numbers)


def _measures(shape: tuple[int, ...], found: Instances) -> Measured:
    sides = found.boxes[:, 2:] - found.boxes[:, :2] + 1
    return {
        "image width": [shape[1]],
        "image height": [shape[0]],
        "instances in an image": [len(found)],
        "instance width": sides[:, 0].tolist(),
        "instance height": sides[:, 1].tolist(),
        "instance area": found.masks.sum(axis=(1, 2)).tolist(),
    }


def _check_doubles(report: CheckReport, digests: dict[str, str]) -> None:
    """The same image twice may end up on both sides of a split."""
    first: dict[str, str] = {}
    for name, digest in sorted(digests.items()):
        if first.setdefault(digest, name) != name:
            message = f"expected different images, found the same as {first[digest]}"
            report.add("warning", name, message)
