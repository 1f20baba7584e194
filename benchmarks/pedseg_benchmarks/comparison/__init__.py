"""Two benchmarks against each other: what became slower, and may the two be compared at all?"""

from .compare import Comparison, Row, compare
from .differences import Difference, differences

__all__ = ["Comparison", "Difference", "Row", "compare", "differences"]
