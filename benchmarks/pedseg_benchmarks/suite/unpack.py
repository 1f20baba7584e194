"""A kit on the machine that it was packed for: unpacked, checked, and what its commands need."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import write_json

from ..kit import files, wheels
from ..kit.archive import LISTING, check_parts, extract, read_listing
from .pack import CHECKPOINT, MEASURED_IMAGES, OTHER_SHAPES, checkout, this_python


@dataclass(frozen=True, slots=True)
class Kit:
    """An unpacked kit.

    Attributes:
        folder: of its files.
        listing: what was packed.
    """

    folder: Path
    listing: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """The network's weights."""
        return self.folder / CHECKPOINT

    @property
    def models(self) -> Path:
        """The folder of the checkpoint and all artifacts."""
        return self.checkpoint.parent

    @property
    def measured(self) -> Path:
        """Images of one size."""
        return self.folder / MEASURED_IMAGES

    @property
    def shapes(self) -> Path:
        """One image in several sizes, the measured one among them."""
        return self.folder / OTHER_SHAPES

    @property
    def tests(self) -> Path | None:
        """The folder with pedseg's tests: of the running checkout, else the kit's own."""
        packed = self.folder / "source"
        return checkout() or (packed if (packed / "tests").is_dir() else None)

    def artifacts(self, *, timed: bool = False, static: bool = True) -> list[Path]:
        """Those that were packed, by what they are for."""
        return [
            self.models / one["file"]
            for one in self.listing["artifacts"]
            if (one["is_timed"] or not timed) and (static or "--static" not in one["options"])
        ]

    def environment(self) -> dict[str, str]:
        """What commands need to import the packed libraries, and to find CUDA's.

        onnxruntime looks for CUDA's libraries beside itself, where NVIDIA's packages are not if it
        comes from a kit.
        """
        paths = [str(self.folder / "site"), os.environ.get("PYTHONPATH", "")]
        libraries = [*map(str, wheels.cuda_folders()), os.environ.get("LD_LIBRARY_PATH", "")]
        return {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "LD_LIBRARY_PATH": os.pathsep.join(path for path in libraries if path),
            "PYTHONUNBUFFERED": "1",
        }


def unpack(folder: Path) -> Kit:
    """Join, check and unpack the kit in `folder`, into `folder/unpacked`; once.

    Raises:
        InputError: it is no kit, is damaged, or was packed for another Python.
    """
    listing = read_listing(folder)
    if listing["wheels"]["files"] and listing["python"] != this_python():
        raise InputError(
            f"{folder}: expected a kit for Python {this_python()}, found one for "
            f"{listing['python']}; run it by that, or pack with --python {this_python()}"
        )
    target = folder / "unpacked"
    if not (target / LISTING).exists() or read_listing(target) != listing:
        parts = check_parts(folder, listing)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        extract(parts, target)
        files.rebuild_files(target)
        write_json(target / LISTING, listing)
    return Kit(target, listing)
