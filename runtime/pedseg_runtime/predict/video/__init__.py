"""Videos as upright RGB frames with their times, read and written by PyAV."""

from __future__ import annotations

from .frames import Frame
from .reading import VideoReader, is_video, require_av
from .writing import VideoWriter

__all__ = ["Frame", "VideoReader", "VideoWriter", "is_video", "require_av"]
