"""What can be asked of an export, and what cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pedseg_export.commands.export import METHODS, default_path
from pedseg_export.options import ExportOptions, Target, parse_shape
from pedseg_export.quantization import activation_ranges
from pedseg_runtime.errors import InputError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "tflite"}, "onnx, torchscript, pt2"),
        ({"precision": "fp8"}, "fp32, fp16, bf16, int8"),
        ({"mask_format": "rle"}, "roi, full"),
        ({"format": "pt2", "precision": "int8"}, r"--format onnx$"),
        ({"format": "torchscript", "static_shape": (1, 64, 64)}, "take any size"),
        ({"static_shape": (1, 15, 64)}, "at least 16 pixels, found 1x15x64"),
        ({"static_shape": (0, 64, 64)}, "at least one image"),
        ({"target": Target("onnxruntime-gpu", "1.13.1")}, "1.14 or newer"),
        ({"precision": "bf16"}, "--format torchscript or pt2"),
        ({"device_target": "tpu"}, "cpu, cuda"),
        ({"device_target": "cuda", "format": "pt2"}, "one graph for all devices"),
        ({"device_target": "cuda", "precision": "int8"}, "--precision fp16"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_said(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ExportOptions(**options)


def test_artifacts_of_one_checkpoint_have_names_of_their_own() -> None:
    chosen = [{}, {"precision": "fp16"}, {"device_target": "cuda", "precision": "fp16"}]
    names = [default_path(Path("best.safetensors"), ExportOptions(**one)).name for one in chosen]
    assert names == ["best.onnx", "best.fp16.onnx", "best.fp16.cuda.onnx"]


def test_old_targets_do_not_matter_to_other_formats() -> None:
    assert ExportOptions(format="pt2", target=Target("onnxruntime", "1.10.0")).format == "pt2"


def test_the_networks_compute_in_what_the_precision_says() -> None:
    found = [ExportOptions(precision=name).dtype for name in ("fp32", "fp16", "int8")]
    assert found == [torch.float32, torch.float16, torch.float32]
    assert ExportOptions(format="pt2", precision="bf16").dtype == torch.bfloat16


@given(st.integers(1, 64), st.integers(16, 4000), st.integers(16, 4000))
def test_a_shape_is_read_as_it_is_written(count: int, height: int, width: int) -> None:
    assert parse_shape(f"{count}x{height}x{width}") == (count, height, width)


@pytest.mark.parametrize("text", ["", "480x640", "1x480x640x3", "1x-480x640", "ax2x3", "1x8x640"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="static shape"):
        parse_shape(text)


@pytest.mark.parametrize("text", ["", "onnxruntime", "onnxruntime-gpu>=1.2", "tensorrt==10.0"])
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"onnxruntime-gpu==1\.31\.1"):
        Target.parse(text)


def test_a_release_without_the_cuda_kernel_is_named() -> None:
    (warning,) = Target.parse("onnxruntime-gpu==1.24.2").warnings({"RoiAlign", "Conv"})
    assert "no CUDA kernel for RoiAlign" in warning
    assert "1.25" in warning
    assert not Target.parse("onnxruntime-gpu==1.25.0").warnings({"RoiAlign"})
    assert not Target.parse("onnxruntime==1.24.2").warnings({"RoiAlign"}), "it has no CUDA at all"
    assert not Target.parse("onnxruntime-gpu==1.24.2").warnings({"Conv"})


def test_int8_is_not_recommended_for_cuda() -> None:
    (warning,) = Target.parse("onnxruntime-gpu==1.31.1").warnings({"QuantizeLinear", "RoiAlign"})
    assert "use fp16" in warning
    assert not Target.parse("onnxruntime==1.31.1").warnings({"QuantizeLinear"})


def test_the_command_line_offers_every_method_of_calibration() -> None:
    assert set(METHODS) == set(activation_ranges.METHODS)


def test_the_oldest_opset_that_will_do_is_chosen() -> None:
    target = Target.parse("onnxruntime-gpu==1.31.1")
    assert target.opset() == 18
    assert str(target) == "onnxruntime-gpu==1.31.1"


def test_the_default_target_is_what_is_installed() -> None:
    import onnxruntime

    assert ExportOptions().target.version == onnxruntime.__version__
