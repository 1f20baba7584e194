from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pedseg_runtime import InputError, Manifest, Segmenter
from pedseg_runtime.image_limits import ImageLimits, check_resizable, resized_size


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 6000)),
    tall=st.booleans(),
    rule=st.sampled_from([(800, 1333), (192, 320), (64, 96), (31, 31)]),
)
def test_the_rule_is_torchvisions_own(
    sides: tuple[int, int], tall: bool, rule: tuple[int, int]
) -> None:
    torch: Any = pytest.importorskip("torch")
    transform: Any = pytest.importorskip("torchvision.models.detection.transform")
    size = sides if tall else sides[::-1]
    resize = transform.GeneralizedRCNNTransform(*rule, [0.0], [1.0]).eval().resize
    found = resized_size(size, *rule)
    if 0 in found:
        with pytest.raises(RuntimeError, match="size"):
            resize(torch.zeros(1, *size))
        with pytest.raises(InputError, match="longer side of at most"):
            check_resizable("image", size, *rule)
    else:
        assert tuple(resize(torch.zeros(1, *size))[0].shape[-2:]) == found
        check_resizable("image", size, *rule)


def test_a_strip_is_refused_by_its_name_and_the_limits() -> None:
    with pytest.raises(InputError) as caught:
        check_resizable("strip.png", (1, 500), 192, 320)
    assert str(caught.value) == (
        "strip.png: expected a longer side of at most 320 times the shorter one, so that resizing "
        "(min_size 192, max_size 320) leaves a pixel of both, found 1x500 (height x width), which "
        "becomes 0x320; crop it"
    )
    check_resizable("strip.png", (1, 320), 192, 320)
    check_resizable("strip.png", (500, 2), 192, 320)


def test_what_memory_cannot_hold_is_refused_before_it_is_tried() -> None:
    check_resizable("large.png", (1000, 1000), 800, 1333, memory=32 << 20)
    with pytest.raises(InputError, match=r"large.png: .* within 24 MiB.*1000x1000.*takes 30 MiB"):
        check_resizable("large.png", (1000, 1000), 800, 1333, memory=24 << 20)
    with pytest.raises(InputError, match="resized to 90000x90000, which takes"):
        check_resizable("tiny.png", (1, 1), 90_000, 90_000, memory=8 << 30)


def test_the_segmenter_refuses_what_the_rule_refuses(
    segmenter: Segmenter, street: NDArray[np.uint8]
) -> None:
    strip = np.zeros((1, 2000, 3), np.uint8)
    with pytest.raises(InputError, match=r"^image: expected a longer side"):
        segmenter(strip)
    with pytest.raises(InputError, match=r"^image 1: expected a longer side"):
        segmenter.predict([street, strip])
    with pytest.raises(InputError, match=r"^frame 7: expected a longer side"):
        segmenter.read(strip, "frame 7")


def test_memory_counts_on_the_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pedseg_runtime.image_limits.memory_limit", lambda: 1 << 20)
    manifest = Manifest(
        architecture="none", class_names=("background",), checkpoint_sha256="", format="onnx"
    )
    image = np.zeros((300, 300, 3), np.uint8)
    with pytest.raises(InputError, match="within 1 MiB"):
        ImageLimits(manifest, "CPUExecutionProvider", None).read(image, "image")
    assert ImageLimits(manifest, "CUDAExecutionProvider", None).read(image, "image") is not None
