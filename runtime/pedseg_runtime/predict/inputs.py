"""The input files that a command line names."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..images import SUFFIXES
from .outputs import JOURNAL_FILE, MASKS_FOLDER
from .video_reading import VIDEO_SUFFIXES


def collect_inputs(sources: Iterable[Path], *, output: Path) -> list[Path]:
    """The images and videos that `sources` stand for, each once, in the given order.

    Args:
        sources: files, with any name; folders, for the images and videos in
            them; or patterns of `*`, `?`, `[...]` and `**` (any depth of folders) for files and
            folders. Folders and patterns leave out hidden files, and patterns also what an earlier
            prediction wrote.
        output: where the results will be written.

    Raises:
        InputError: nothing is there, a folder or pattern yields neither image nor video, or the
            results would stand among the inputs.
    """
    files: dict[Path, Path] = {}
    for source in sources:
        for file in _found(source):
            files.setdefault(file.resolve(), file)
    folders = {resolved.parent for resolved in files}
    if folders & {output.resolve(), output.resolve() / MASKS_FOLDER}:
        raise InputError(
            f"{output}: expected an output folder apart from the inputs, found files to segment "
            "in it; choose another --output, so that none is overwritten"
        )
    return list(files.values())


def _found(source: Path) -> list[Path]:
    """The files one source stands for; a name that exists is no pattern."""
    if source.is_dir():
        found = _in_folder(source)
    elif source.exists():
        found = [source]
    elif glob.has_magic(str(source)):
        found = _matching(source)
    else:
        raise InputError(
            f"{source}: expected an image, a video, a folder or a pattern, found nothing; check "
            "the path"
        )
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES | VIDEO_SUFFIXES))
        raise InputError(f"{source}: expected images or videos ({kinds}), found none")
    return found


def _in_folder(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_input(file))


def _matching(pattern: Path) -> list[Path]:
    """The files that match, and those in folders that match, as if the shell had listed them."""
    found: list[Path] = []
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
    for name in sorted(names):
        path = Path(name)
        if path.is_dir():
            found.extend(_in_folder(path))
        elif _is_input(path):
            found.append(path)
    are_results = {folder: _holds_results(folder) for folder in {file.parent for file in found}}
    return [file for file in found if not are_results[file.parent]]


def _is_input(file: Path) -> bool:
    known = file.suffix.lower() in SUFFIXES or file.suffix.lower() in VIDEO_SUFFIXES
    return known and not file.name.startswith(".") and file.is_file()


def _holds_results(folder: Path) -> bool:
    """Whether an earlier prediction wrote into `folder`: its images are no inputs."""
    root = folder.parent if folder.name == MASKS_FOLDER else folder
    return (root / JOURNAL_FILE).exists()
