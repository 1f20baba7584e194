"""pedseg's runtime: numpy in, detections out, no torch."""

__version__ = "0.1.0"
