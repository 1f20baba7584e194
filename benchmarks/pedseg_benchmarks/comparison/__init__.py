"""Two benchmarks against each other: what became slower, and may the two be compared at all?"""

from .compare import compare
from .differences import Difference, differences
from .result import Comparison, Row

__all__ = ["Comparison", "Difference", "Row", "compare", "differences"]
