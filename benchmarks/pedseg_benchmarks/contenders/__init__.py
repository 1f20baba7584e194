"""The contenders: torchvision's eager model in several ways, and exported artifacts.

All implement one protocol, `ContenderModel`; `registry` lists those that were requested.
"""

from __future__ import annotations

from .base import EAGER, Contender, ContenderModel, Image, NotRunError

__all__ = ["EAGER", "Contender", "ContenderModel", "Image", "NotRunError"]
