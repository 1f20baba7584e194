"""Paths in the suite's folder, and taking models over from another suite's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pedseg_runtime.errors import InputError

from .runner import carried_mark

NETWORKS = ("small", "full")


def measured_street(streets: Path) -> Path:
    """The street that the full-size network is measured on, in the folder of its streets."""
    return streets / "measured.png"


def calibration_streets(streets: Path) -> Path:
    """The folder of those that its int8 is calibrated on."""
    return streets / "calibration"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths in the suite's folder."""

    folder: Path

    @property
    def data(self) -> Path:
        """The generated dataset."""
        return self.folder / "data"

    @property
    def scenes(self) -> Path:
        """Its images."""
        return self.data / "PNGImages"

    @property
    def streets(self) -> Path:
        """Streets that the full-size network was made for."""
        return self.folder / "streets"

    @property
    def measured_image(self) -> Path:
        """The street that it is measured on."""
        return measured_street(self.streets)

    def calibration(self, network: str) -> Path:
        """Images to calibrate int8 on."""
        return calibration_streets(self.streets) if network == "full" else self.scenes

    @property
    def untrained(self) -> Path:
        """The full-size network before its training on CUDA."""
        return self.folder / "runs" / "untrained.safetensors"

    def run(self, network: str) -> Path:
        """The training run of `small` or `full`, with its split."""
        return self.folder / "runs" / network

    def checkpoint(self, network: str) -> Path:
        """The checkpoint of `small` or `full`."""
        return self.run(network) / "best.safetensors"

    def artifact(self, network: str, file: str) -> Path:
        """An artifact of `small` or `full`."""
        return self.folder / "models" / network / file

    def part(self, name: str) -> Path:
        """The document of a part."""
        return self.folder / "parts" / f"{name}.json"

    def take_over(self, other: Path) -> list[str]:
        """Copy checkpoints, splits, artifacts and streets from another machine's suite.

        Returns:
            Paths of the copies, relative to the folder.

        Raises:
            InputError: there is no checkpoint to take.
        """
        patterns = ("runs/*/best.safetensors", "runs/*/split.json", "models/*/*.*")
        if (other / "streets").is_dir():
            shutil.copytree(other / "streets", self.streets, dirs_exist_ok=True)
        taken = []
        for source in (path for pattern in patterns for path in sorted(other.glob(pattern))):
            name = source.relative_to(other)
            if source.parent.name not in NETWORKS or source.suffix == ".carried":
                continue
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            carried_mark(target).touch()
            taken.append(str(name))
        if not any(name.endswith(".safetensors") for name in taken):
            raise InputError(
                f"{other}: expected runs/small/best.safetensors or runs/full/best.safetensors as "
                "a suite writes them, found neither; give the folder of a suite"
            )
        return taken
