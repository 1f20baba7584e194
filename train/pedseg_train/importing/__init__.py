"""Mask R-CNN weights of other programs as pedseg checkpoints.

files          a foreign file -> the state dicts in it, without running its code
reading        state dicts -> one network's tensors by torchvision's names
recognition    its tensors -> architecture, classes, norm kind, mask-head width, or why not
diagnosis      what tensors that are no such network probably are
frozen_norm    the epsilon of frozen norms, which no tensor holds
verification   the user's own model, and proof that the import detects the same
importer       all of it: `import_weights`
"""

from __future__ import annotations

from .importer import ImportOptions, ImportResult, import_weights
from .reading import ForeignWeights, read_weights
from .recognition import Network, recognise

__all__ = [
    "ForeignWeights",
    "ImportOptions",
    "ImportResult",
    "Network",
    "import_weights",
    "read_weights",
    "recognise",
]
