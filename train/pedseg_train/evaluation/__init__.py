"""COCO accuracy of anything that segments an image: a checkpoint, an artifact, a function, a file.

recording     detections and ground truth
result        COCO's twelve numbers
matches       AP of any resample of the images
bootstrap     confidence intervals of AP, and of the difference of two models
outcomes      matches, false positives and false negatives, with their reasons
images        one row per image
analysis      all of the above
subject       the model that is evaluated, and the images
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
