"""What a COCO file holds, and everything that is wrong with it, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pedseg_runtime.errors import DatasetError
from pedseg_runtime.files import sha256_of

from ..check_report import CheckReport, Problem
from ..digests import digest_of_files
from ..inspection import Inspection, Tally
from ..pennfudan_layout import Progress, orientation_of
from .box_agreement import BoxAgreement
from .images import CocoImages

_AS_THEY_ARE = 4  # EXIF orientations up to here keep width and height


def check_coco(
    file: Path,
    *,
    categories: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every image of a COCO file and decode every annotation; see `check_dataset`.

    Raises:
        DatasetError: no COCO JSON, or none of the categories. Everything else is reported.
    """
    report = CheckReport(file, layout="COCO JSON")
    labelled = CocoImages(
        file, categories=categories, class_map=class_map, images=images, tolerant=True
    )
    report.problems.extend(labelled.problems)
    tally, agreement = Tally(report), BoxAgreement()
    digests: dict[str, str] = {}
    for index in range(len(labelled)):
        if labelled.present[index]:
            digests[labelled.file_name(index)] = sha256_of(labelled.path(index))
            tally.add(inspect_image(labelled, index, agreement))
        if progress is not None:
            progress(index + 1, len(labelled))
    disagreement = agreement.problem(file.name)
    report.problems.extend([] if disagreement is None else [disagreement])
    _check_doubles(report, digests)
    report.classes = {
        name: tally.labels.get(i, 0) for i, name in enumerate(labelled.class_names) if i
    }
    _check_counts(report)
    report.digests = {"annotations": sha256_of(file), "images": digest_of_files(digests)}
    tally.finish()
    return report


def inspect_image(images: CocoImages, index: int, agreement: BoxAgreement) -> Inspection:
    """Read one image, and its annotations one after the other; `agreement` gets their boxes."""
    path, at, name = images.path(index), images.file, images.file_name(index)
    try:
        size = images.check_size(index)
        found, dropped = images.extents(index), images.dropped(index)
    except DatasetError as error:
        message = str(error)
        in_file = message.startswith(f"{at}: ")
        subject = at.name if in_file else name
        text = message.removeprefix(f"{at if in_file else path}: ")
        return Inspection((Problem("error", subject, text),))
    problems = [
        Problem("warning", name, f"annotation {instance} is not used: {reason}")
        for instance, reason in dropped
    ]
    problems += [
        Problem("warning", name, f"annotation {instance} {remark}")
        for instance, remark in images.remarks(index)
    ]
    turn = orientation_of(path)
    if turn is not None and (turn <= _AS_THEY_ARE or size[0] == size[1]):
        message = (
            f"expected an upright image, found an EXIF orientation of {turn}; the annotations are "
            "taken for those of the upright image: look at it with `pedseg-data show`"
        )
        problems.append(Problem("warning", name, message))
    boxes = images.file_boxes(index)
    agreement.add(name, size, found, boxes, images.segmentations(index))
    return Inspection(tuple(problems), size, found, dropped)


def _check_counts(report: CheckReport) -> None:
    """Say what there is nothing to learn from, unless an error before it is the reason."""
    file = report.root.name
    if report.errors and not report.instances:
        return
    if not report.pairs:
        report.add("error", file, "expected images that can be read, found none")
    elif not report.instances and report.crowds:
        report.add("error", file, only_crowds(report.crowds))
    elif not report.instances:
        report.add("error", file, "expected instances to learn from, found none that can be used")
    else:
        for name in (name for name, count in report.classes.items() if not count):
            message = f"expected instances of every category, found none of {name!r}; it is learnt "
            report.add("warning", file, f"{message}from nothing, select others to leave it out")


def only_crowds(count: int) -> str:
    """The error of a dataset that has crowd regions only."""
    return (
        f"expected instances to learn from, found {count} crowd regions (iscrowd 1) only, which "
        "are not trained on; if each is one instance, as CVAT writes brush masks, set their "
        "iscrowd to 0"
    )


def _check_doubles(report: CheckReport, digests: dict[str, str]) -> None:
    """The same image twice may end up on both sides of a split."""
    first: dict[str, str] = {}
    for name, digest in sorted(digests.items()):
        if first.setdefault(digest, name) != name:
            message = f"expected different images, found the same as {first[digest]}"
            report.add("warning", name, message)
