"""Which stage of an artifact is the first to disagree with eager torchvision?

    report = examine(artifact, reference, samples)
    if not report:
        print(report.summary())

    passage     what eager torchvision passes from stage to stage, for one image
    cutting     an artifact, run stage by stage: one module per format
    borders     the names of what stands between the stages
    limits      the largest differences per stage, each with its unit
    judges      one per stage: collect differences over the images, come to a verdict
    report      the verdicts as a value

Every stage of the artifact is fed with what eager passed to that stage, so that one stage's error
does not spoil the next. Only the size of the resized image reaches later stages by itself; where
that is wrong, the stages that read it are not judged.
"""

from __future__ import annotations

from .examination import examine
from .report import Difference, StageReport, StageResult

__all__ = ["Difference", "StageReport", "StageResult", "examine"]
