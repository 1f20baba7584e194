"""Who is compared: torchvision's eager model in several ways, and exported artifacts.

All stand behind one protocol, `Loaded`; `roster` makes the list of those that were asked for.
"""

from __future__ import annotations

from .protocol import EAGER, Contender, Image, Loaded, NotRunError

__all__ = ["EAGER", "Contender", "Image", "Loaded", "NotRunError"]
