"""Find the first stage of an artifact that disagrees with eager torchvision.

    report = examine(artifact, reference, samples)
    if not report:
        print(report.summary())

`examine` records the intermediate values of eager torchvision, splits the artifact into stages, and
compares each stage's outputs by one check per stage.

Every stage of the artifact is fed with eager's values, so that the error of one stage does not
affect the next. The only exception is the size of the resized image, which later stages read from
the artifact itself; where it is wrong, these stages are not judged.
"""

from __future__ import annotations

from .examination import examine
from .report import Difference, StageReport, StageResult

__all__ = ["Difference", "StageReport", "StageResult", "examine"]
