"""Two benchmarks against each other: what became slower, and whether the two can be compared."""

from .compare import compare
from .differences import Comparison, Difference, Row, differences

__all__ = ["Comparison", "Difference", "Row", "compare", "differences"]
