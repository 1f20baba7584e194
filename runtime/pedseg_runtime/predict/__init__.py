"""Segment files: images and videos in; overlays, masks, JSON and COCO results out.

    from pedseg_runtime.predict import collect_inputs, predict_files

    files = collect_inputs([Path("photos"), Path("cams/**/*.mp4")], output=Path("out"))
    prediction = predict_files(segmenter, files, output=Path("out"), formats=["overlay", "coco"])

`pedseg-predict` is the same for the command line.
"""

from .inputs import collect_inputs, find_inputs
from .jobs import FailedFile, PredictedFile, Prediction
from .live.segment import LivePrediction, predict_live
from .outputs import DEFAULT_FORMATS, FORMATS
from .run import predict_files

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "FailedFile",
    "LivePrediction",
    "PredictedFile",
    "Prediction",
    "collect_inputs",
    "find_inputs",
    "predict_files",
    "predict_live",
]
