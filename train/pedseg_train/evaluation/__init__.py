"""COCO accuracy of anything that segments an image: a checkpoint, an artifact, a function, a file.

recording     what was found beside what is there
result        COCO's twelve numbers
matches       the same numbers for any mixture of the pictures
bootstrap     intervals of AP, and of a difference of two
outcomes      what became of every detection and every person, and why
images        one row per picture
analysis      all of that at once
predictions   COCO results from a file
"""

from .analysis import Analysis, analyse
from .recording import Annotated, Recording, Segment, labelled, merge, record
from .result import NUMBERS, CocoResult, Numbers, count, evaluate

__all__ = [
    "NUMBERS",
    "Analysis",
    "Annotated",
    "CocoResult",
    "Numbers",
    "Recording",
    "Segment",
    "analyse",
    "count",
    "evaluate",
    "labelled",
    "merge",
    "record",
]
