"""CUDA libraries without the code of other GPUs, and wheels."""

from __future__ import annotations

import mmap
import struct
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from pedseg_benchmarks.kit import wheels
from pedseg_benchmarks.kit.fatbin import CUBIN, MAGIC, PTX, Entry, find_entries, slim
from pedseg_runtime.errors import InputError

NAMES = b"\0.text\0.nv_fatbin\0.shstrtab\0"


def entry(kind, architecture, payload):
    header = struct.pack("<HHIQ", kind, 0x101, 64, len(payload)).ljust(28, b"\0")
    return (header + struct.pack("<I", architecture)).ljust(64, b"\0") + payload


def container(*entries):
    body = b"".join(entries)
    return struct.pack("<IHHQ", MAGIC, 1, 16, len(body)) + body


def library(fatbin):
    """An ELF file with a section of code, one of CUDA code, and the names of both."""
    sections = [(1, b"code" * 4), (7, fatbin), (18, NAMES)]
    data, table = bytearray(b"\x7fELF\x02".ljust(64, b"\0")), b"\0" * 64
    for name, content in sections:
        table += struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, len(data), len(content), 0, 0, 8, 0)
        data += content
    struct.pack_into("<Q", data, 40, len(data))
    struct.pack_into("<HHH", data, 58, 64, len(sections) + 1, len(sections))
    return bytearray(data + table)


@pytest.fixture
def slimmable():
    first = container(entry(CUBIN, 80, b"eighty  "), entry(CUBIN, 90, b"ninety  "))
    padding = b"\0" * 8
    second = container(entry(PTX, 80, b"assembly"), entry(CUBIN, 120, b"hundred "))
    return library(first + padding + second)


def test_only_what_the_gpu_can_use_is_left(slimmable):
    before = bytes(slimmable)
    assert slim(slimmable, [90]) == 16
    assert len(slimmable) == len(before)
    expected = before.replace(b"eighty  ", b"\0" * 8).replace(b"hundred ", b"\0" * 8)
    assert slimmable == expected


def test_for_two_gpus_both_codes_are_left(slimmable):
    assert slim(slimmable, [80, 120]) == 8
    assert b"ninety" not in slimmable
    assert b"eighty" in slimmable


@pytest.mark.parametrize(
    ("kind", "architecture", "gpu", "suits"),
    [(CUBIN, 80, 86, True), (CUBIN, 86, 80, False), (CUBIN, 80, 90, False), (PTX, 80, 90, True)],
)
def test_machine_code_runs_within_a_major_version(kind, architecture, gpu, suits):
    assert Entry(kind, architecture, 0, 0).suits(gpu) is suits


def test_a_gpu_without_code_is_named():
    with pytest.raises(InputError, match=r"expected code for compute capability 7\.5, found it"):
        slim(library(container(entry(CUBIN, 90, b"ninety  "))), [75])


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF\x01" + b"\0" * 80])
def test_other_files_stay_as_they_are(content):
    assert slim(bytearray(content), [90]) == 0


def installed_library():
    spec = find_spec("onnxruntime")
    path = Path(spec.origin).parent / "capi" / wheels.CUDA if spec and spec.origin else Path()
    return path if path.is_file() else None


@pytest.mark.skipif(installed_library() is None, reason="onnxruntime-gpu is not installed")
def test_the_layout_is_that_of_the_installed_library():
    with (
        installed_library().open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        entries = list(find_entries(content))
    assert {80, 90} <= {one.architecture for one in entries}
    assert all(one.kind in (PTX, CUBIN) for one in entries)
    assert sum(one.size for one in entries) > 10**8


@pytest.mark.slow
@pytest.mark.skipif(installed_library() is None, reason="onnxruntime-gpu is not installed")
def test_onnxruntime_loads_the_slimmed_library_and_not_a_broken_one(tmp_path):
    """By a driver that fails at its first call."""
    capi = tmp_path / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (tmp_path / f"onnxruntime_gpu-{wheels.metadata.version('onnxruntime-gpu')}.dist-info").mkdir()
    content = bytearray(installed_library().read_bytes())
    assert slim(content, [90]) > 10**8
    (capi / wheels.CUDA).write_bytes(content)
    answer = wheels.check_loading(tmp_path)
    if answer.startswith("not tried"):
        pytest.skip(answer)
    assert answer == "loads"
    (capi / wheels.CUDA).write_bytes(content[:1000])
    with pytest.raises(InputError, match="expected onnxruntime to load the slimmed library"):
        wheels.check_loading(tmp_path)


def test_a_wheel_is_unpacked_slim_and_without_what_python_does_not_use(tmp_path, slimmable):
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("onnxruntime/capi/x.so", bytes(slimmable))
        archive.writestr("onnxruntime/capi/libonnxruntime.so.1.2.3", b"for programs in C")
        archive.writestr("onnxruntime/__init__.py", b"")
    assert wheels.unpack(wheel, tmp_path / "site", [90]) == 16
    names = sorted(path.name for path in (tmp_path / "site").rglob("*") if path.is_file())
    assert names == ["__init__.py", "x.so"]
    assert b"eighty" not in (tmp_path / "site/onnxruntime/capi/x.so").read_bytes()


def test_a_wheel_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.whl: expected a wheel, found no file"):
        wheels.fetch("nothing.whl", tmp_path, python="3.12")
