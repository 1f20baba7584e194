r"""Digests of a dataset's content, to recognise the official one and the one trained on.

A folder's digest is SHA-256 over its image files in the order of their
names, each contributing `name.encode() + b"\0" + digest`, with the file name including its suffix
and the SHA-256 of the file as 32 raw bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pedseg_runtime.files import sha256_of

from .pennfudan_layout import (
    IMAGES,
    MASKS,
    check_root,
    image_files,
)

# Of the official archive with its 170 images.
OFFICIAL = {
    IMAGES: "25726ca9b61bd01c8202c223408b15ca682e94671db2bf58132feeb12cbf1267",
    MASKS: "2066a9acd9b98288a2388326ce9603209ab0ec98995d0ab8dfc8bc0d88df9b2d",
}


def dataset_digest(root: str | Path) -> dict[str, str]:
    """The digest of each folder, 64 hex digits: `{"PNGImages": ..., "PedMasks": ...}`.

    Raises:
        DatasetError: `root` is no dataset folder.
    """
    check_root(Path(root))
    return {folder: digest_of_files(file_digests(Path(root) / folder)) for folder in OFFICIAL}


def combined_digest(root: str | Path) -> str:
    """One digest of images and masks, 64 hex digits, for checkpoints and reports.

    Raises:
        DatasetError: `root` is no dataset folder.
    """
    return combine_digests(dataset_digest(root))


def combine_digests(digests: dict[str, str]) -> str:
    """The combined digest of the result of `dataset_digest`."""
    lines = "".join(f"{folder} {digest}\n" for folder, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every image file in `folder` as hex digits, by file name."""
    return {path.name: sha256_of(path) for path in image_files(folder)}


def digest_of_files(digests: dict[str, str], *, as_text: bool = False) -> str:
    """The digest of a folder from those of its files; `as_text` hashes their hex digits."""
    total = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        total.update(name.encode() + b"\0")
        total.update(digest.encode() if as_text else bytes.fromhex(digest))
    return total.hexdigest()


def is_official(root: Path) -> bool:
    """Whether `root` holds the official images and masks, to the byte."""
    return are_official({folder: file_digests(root / folder) for folder in OFFICIAL})


def are_official(files: dict[str, dict[str, str]]) -> bool:
    """Whether these are the official files: for each folder the result of `file_digests`.

    Whether the constants were made from raw digests or hex digits is unknown. Either proves the
    content, so both are accepted.
    """
    return any(
        all(digest_of_files(files[name], as_text=text) == OFFICIAL[name] for name in OFFICIAL)
        for text in (False, True)
    )
