"""pt2 artifacts, `torch.export`'s archives, by torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from .failures import one_line
from .suppression import register_suppression
from .torchscript import TorchScriptBackend


class Pt2Backend(TorchScriptBackend):
    """An exported program in this process's torch; runs and closes as TorchScript does."""

    def _load(self, path: Path) -> Any:
        """The program as a module on the device.

        torch names this format unstable between versions, so the message tells both.
        """
        torch = self._torch
        register_suppression(torch)
        try:
            with warnings.catch_warnings(), path.open("rb") as stream:
                warnings.simplefilter("ignore")  # of deserialising: nothing a user could act on
                program = torch.export.load(stream)
                if self._device != "cpu":
                    move = torch.export.passes.move_to_device_pass
                    program = move(program, self._device)
                return program.module()
        except Exception as error:  # torch's deserialiser fails in any way it can
            exported_by = self.artifact.manifest.versions.get("torch", "an unknown version")
            raise ArtifactError(
                f"{path}: expected an exported program that torch {torch.__version__} can load, "
                f"found {one_line(error)}; it was exported by torch {exported_by}: use that one, "
                "or export the checkpoint again with pedseg-export"
            ) from error
