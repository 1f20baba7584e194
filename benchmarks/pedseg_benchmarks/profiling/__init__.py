"""The time of every node of a model, so that the next optimisation starts from facts."""

from .profile import profile
from .result import Node, OperatorTotal, Profile

__all__ = ["Node", "OperatorTotal", "Profile", "profile"]
