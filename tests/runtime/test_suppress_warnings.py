"""Pillow's warnings of odd metadata reach nobody, and nobody else's are touched."""

from __future__ import annotations

import io
import struct
import threading
import warnings

import pytest
from PIL import Image

from pedseg_runtime import read_image


def _odd_tiff() -> bytes:
    """A TIFF that Pillow warns of: its width is there twice, where one is expected."""
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "TIFF")
    content = bytearray(stream.getvalue())
    directory = struct.unpack_from("<I", content, 4)[0]
    entries = struct.unpack_from("<H", content, directory)[0]
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", content, entry)
        if tag == 0x0100:
            struct.pack_into("<HHIHH", content, entry, tag, 3, 2, 4, 4)
    return bytes(content)


def test_pillows_warnings_of_odd_metadata_reach_nobody() -> None:
    with pytest.warns(UserWarning, match="Metadata Warning"):
        Image.open(io.BytesIO(_odd_tiff()))
    assert read_image(_odd_tiff()).shape == (4, 4, 3)


def test_a_thread_that_reads_images_leaves_the_warnings_of_others_alone() -> None:
    stop, warned = threading.Event(), threading.Event()

    def read_until_stopped() -> None:
        while not stop.is_set():
            read_image(_odd_tiff())
            warned.set()

    worker = threading.Thread(target=read_until_stopped)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        worker.start()
        try:
            assert warned.wait(60)
            for _ in range(200):
                warnings.warn("mine", UserWarning, stacklevel=1)
        finally:
            stop.set()
            worker.join()
    assert [str(warning.message) for warning in caught] == ["mine"] * 200


def test_reading_images_makes_python_repeat_no_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for _ in range(3):
            read_image(_odd_tiff())
            warnings.warn("shown once per place", UserWarning, stacklevel=1)
    assert len(caught) == 1
