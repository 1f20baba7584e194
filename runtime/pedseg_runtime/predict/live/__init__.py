"""Streams and cameras: the newest frame is segmented, a lost connection is made again."""

from __future__ import annotations

from .segment import LivePrediction, predict_live
from .sources import LiveSource, find_live_source

__all__ = ["LivePrediction", "LiveSource", "find_live_source", "predict_live"]
