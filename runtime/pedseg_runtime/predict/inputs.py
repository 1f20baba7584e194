"""The input files that a command line names, and those in its folders that are left out."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..images import SUFFIXES, readable_suffixes
from ..text import quote
from .outputs import JOURNAL_FILE, MASKS_FOLDER
from .video.reading import TRANSPORT_SUFFIXES, VIDEO_SUFFIXES, is_video

HIDDEN, FOLDER = "hidden", "a folder in a folder; name it, or use a pattern of **"
UNKNOWN = "no suffix of an image or a video; name the file to have it read"
NO_STREAM = "no MPEG transport stream, which some files of these suffixes are"
UNREADABLE = "pip install 'pedseg[heic]' to read HEIC, and Pillow 11.3 or later for AVIF"
NO_FILE = "a link to nothing, or no regular file"
RESULT = "written by an earlier prediction"


class LeftOut(NamedTuple):
    """A file in a folder, or one that matches a pattern, that is not segmented, and why."""

    file: Path
    reason: str


class Inputs(NamedTuple):
    """What a command line stands for.

    Attributes:
        files: the images and videos, each once, in the given order.
        left_out: what lies beside them and is neither.
    """

    files: list[Path]
    left_out: list[LeftOut]


def find_inputs(sources: Iterable[Path], *, output: Path) -> Inputs:
    """The images and videos that `sources` stand for, and what was left out.

    Args:
        sources: files, with any name; folders, for the images and videos in
            them; or patterns of `*`, `?`, `[...]` and `**` (any depth of folders) for files and
            folders. Folders and patterns leave out hidden files, and patterns also what an earlier
            prediction wrote. A link counts as a file of its own.
        output: where the results will be written.

    Raises:
        InputError: nothing is there, a folder or pattern yields neither image nor video, or the
            results would stand among the inputs.
    """
    files: dict[Path, Path] = {}
    left_out: dict[Path, LeftOut] = {}
    for source in sources:
        found = _found(source)
        files.update((key, file) for file in found.files if (key := _place(file)) not in files)
        left_out.update((_place(item.file), item) for item in found.left_out)
    folders = {folder for file in files for folder in (file.parent, file.resolve().parent)}
    if folders & {output.resolve(), output.resolve() / MASKS_FOLDER}:
        raise InputError(
            f"{output}: expected an output folder apart from the inputs, found files to segment "
            "in it; choose another --output, so that none is overwritten"
        )
    return Inputs(
        list(files.values()), [item for key, item in left_out.items() if key not in files]
    )


def collect_inputs(sources: Iterable[Path], *, output: Path) -> list[Path]:
    """The files of `find_inputs`, which says what the arguments are and what is raised."""
    return find_inputs(sources, output=output).files


def count_left_out(items: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """How many files of each suffix were left out for which reason, ready for JSON."""
    counts = Counter((item.reason, item.file.suffix.lower()) for item in items)
    return [
        {"reason": reason, "suffix": suffix, "files": count}
        for (reason, suffix), count in sorted(counts.items())
    ]


def describe_left_out(items: Sequence[LeftOut]) -> list[str]:
    """A line for each reason: `left out 2 .txt, 1 without suffix: no suffix of ...`."""
    lines = []
    for reason in dict.fromkeys(item.reason for item in items):
        counts = [count for count in count_left_out(items) if count["reason"] == reason]
        kinds = (f"{count['files']} {count['suffix'] or 'without suffix'}" for count in counts)
        lines.append(f"left out {quote(', '.join(kinds))}: {reason}")
    return lines


def _place(file: Path) -> Path:
    """Where a file or link itself is, however its folder is spelt."""
    return file.parent.resolve() / file.name


def _found(source: Path) -> Inputs:
    """The files one source stands for; a name that exists is no pattern."""
    if source.is_dir():
        found = _in_folder(source)
    elif source.exists():
        found = Inputs([source], [])
    elif glob.has_magic(str(source)):
        found = _matching(source)
    else:
        raise InputError(
            f"{quote(source)}: expected an image, a video, a folder or a pattern, found nothing; "
            "check the path"
        )
    if not found.files:
        suffixes = readable_suffixes() | VIDEO_SUFFIXES | TRANSPORT_SUFFIXES
        kinds = ", ".join(sorted(suffix[1:] for suffix in suffixes))
        others = "".join(f"; {line}" for line in describe_left_out(found.left_out))
        raise InputError(
            f"{quote(source)}: expected images or videos ({kinds}), found none{others}"
        )
    return found


def _in_folder(folder: Path) -> Inputs:
    return _sorted_out(sorted(folder.iterdir()))


def _matching(pattern: Path) -> Inputs:
    """The files that match, and those in folders that match, as if the shell had listed them."""
    listed: list[Path] = []
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
    for name in sorted(names):
        path = Path(name)
        listed.extend(sorted(path.iterdir()) if path.is_dir() else [path])
    found = _sorted_out(file for file in listed if not file.is_dir())
    are_results = {folder: _holds_results(folder) for folder in {file.parent for file in listed}}
    results = [LeftOut(file, RESULT) for file in found.files if are_results[file.parent]]
    others = [item for item in found.left_out if not are_results[item.file.parent]]
    return Inputs(
        [file for file in found.files if not are_results[file.parent]], [*others, *results]
    )


def _sorted_out(files: Iterable[Path]) -> Inputs:
    """Those that are images or videos by their suffix, and the others."""
    inputs = Inputs([], [])
    for file in files:
        reason = _reason_against(file)
        if reason is None:
            inputs.files.append(file)
        else:
            inputs.left_out.append(LeftOut(file, reason))
    return inputs


def _reason_against(file: Path) -> str | None:
    """Why a file of a folder is left out; None if it is not."""
    suffix = file.suffix.lower()
    if file.name.startswith("."):
        return HIDDEN
    if file.is_dir():
        return FOLDER
    if suffix not in SUFFIXES | VIDEO_SUFFIXES and not is_video(file):
        return NO_STREAM if suffix in TRANSPORT_SUFFIXES else UNKNOWN
    if not file.is_file():
        return NO_FILE
    return UNREADABLE if suffix in SUFFIXES - readable_suffixes() else None


def _holds_results(folder: Path) -> bool:
    """Whether an earlier prediction wrote into `folder`: its images are no inputs."""
    root = folder.parent if folder.name == MASKS_FOLDER else folder
    return (root / JOURNAL_FILE).exists()
