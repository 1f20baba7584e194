from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import BatchingSegmenter, Detections, InputError, Segmenter, ShadowSegmenter
from pedseg_runtime.parity import FP32, TOLERANCES
from pedseg_runtime.serving.shadow import _tolerances


class Reference:
    """A second segmenter that can differ, fail and wait, and tells when it was asked."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.real = segmenter
        self.manifest, self.provider = segmenter.manifest, segmenter.provider
        self.shift, self.failure = 0.0, ""
        self.gate, self.asked = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self.images: list[NDArray[np.uint8]] = []

    def predict(self, images: list[Any], **options: Any) -> list[Detections]:
        self.asked.release()
        assert self.gate.wait(30)
        self.images += images
        if self.failure:
            raise RuntimeError(self.failure)
        found = self.real.predict(images, **options)
        return [replace(one, boxes=one.boxes + np.float32(self.shift)) for one in found]


@pytest.fixture
def reference(segmenter: Segmenter) -> Reference:
    return Reference(segmenter)


class Reports:
    """Collects reports, and lets the test wait for the next."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.arrived = threading.Semaphore(0)

    def __call__(self, report: Any) -> None:
        self.all.append(report)
        self.arrived.release()


def settled(shadow: ShadowSegmenter, count: int) -> None:
    """Wait until so many samples were compared or have failed."""
    done = threading.Event()
    for _ in range(3000):
        report = shadow.report()
        if report.compared + report.failures >= count:
            return
        done.wait(0.01)
    pytest.fail("the shadow compared nothing")


def test_agreement_is_counted(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1) as shadow:
        assert len(shadow(street)) == 2
        settled(shadow, 1)
        assert len(shadow(np.zeros_like(street))) == 0  # nobody on either side is agreement too
        settled(shadow, 2)
        report = shadow.report()
    assert (report.images, report.sampled, report.compared) == (2, 2, 2)
    assert (report.mismatches, report.failures, report.last_mismatch) == (0, 0, "")
    assert report.differences["boxes"] == 0
    assert report.to_dict()["compared"] == 2


def test_a_mismatch_is_reported_in_the_words_of_parity(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    reference.shift = 0.5
    reports = Reports()
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1, on_mismatch=reports) as shadow:
        found = shadow(street)
        assert reports.arrived.acquire(timeout=30)
        report = shadow.report()
    assert found.boxes.tolist() == segmenter(street).boxes.tolist(), "the primary's answer"
    assert report.mismatches == 1
    assert report.differences["boxes"] == pytest.approx(0.5)
    assert "boxes" in report.last_mismatch
    assert not reports.all[0]


def test_an_invented_person_is_a_mismatch(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    reference.predict = lambda images, **options: segmenter.predict(  # type: ignore[method-assign]
        [np.zeros_like(image) for image in images]
    )
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1) as shadow:
        shadow(street)
        settled(shadow, 1)
        assert shadow.report().mismatches == 1


def test_nobody_waits_for_the_reference(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    reference.gate.clear()
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1, queue_limit=2) as shadow:
        shadow(street)
        assert reference.asked.acquire(timeout=30)
        for _ in range(5):
            assert len(shadow(street)) == 2
        report = shadow.report()
        assert (report.sampled, report.dropped, report.compared) == (6, 3, 0)
        reference.gate.set()
    report = shadow.report()
    assert report.sampled == report.dropped + report.compared


def test_the_callers_array_may_change_after_its_answer(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    reference.gate.clear()
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1) as shadow:
        image = street.copy()
        shadow(image)
        image[:] = 0
        reference.gate.set()
        settled(shadow, 1)
        assert shadow.report().mismatches == 0
    np.testing.assert_array_equal(reference.images[0], street)


def test_what_the_reference_raises_reaches_nobody(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    reference.failure = "the other GPU fell off"
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1) as shadow:
        assert len(shadow(street)) == 2
        settled(shadow, 1)
        assert shadow.report().failures == 1
        assert shadow.report().last_failure == "the other GPU fell off"
        reference.failure = ""
        shadow(street)
        settled(shadow, 2)
        assert shadow.report().compared == 1


def test_a_listener_that_fails_does_not_end_the_shadow(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    reference.shift = 1
    called = threading.Semaphore(0)

    def listener(report: Any) -> None:
        called.release()
        raise RuntimeError("no disk")

    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1, on_mismatch=listener) as shadow:
        for _ in range(2):
            shadow(street)
            assert called.acquire(timeout=30)


def test_samples_are_chosen_by_rate_and_seed(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    def sampled(rate: float, seed: int) -> int:
        with ShadowSegmenter(segmenter, reference, rate=rate, seed=seed) as shadow:
            shadow.predict([street[:9, :9]] * 400)
            return shadow.report().sampled

    assert sampled(0, 1) == 0
    assert sampled(1, 1) == 400
    assert 60 <= sampled(0.25, 1) <= 140
    assert sampled(0.25, 1) == sampled(0.25, 1)
    assert len({sampled(0.25, seed) for seed in range(5)}) > 1


def test_the_reference_rests_as_long_as_it_must(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    """At a share of one in a million it is not asked again while the test runs; close is prompt."""
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1e-6) as shadow:
        shadow(street)
        settled(shadow, 1)
        shadow(street)
        assert reference.asked.acquire(timeout=30)
        assert not reference.asked.acquire(timeout=0.2)
    assert shadow.report().compared == 1


def test_it_can_be_batched_and_leaves_no_thread(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    with (
        ShadowSegmenter(segmenter, reference, rate=1, max_share=1) as shadow,
        BatchingSegmenter(shadow) as batching,
    ):
        assert len(batching(street)) == 2
        assert batching.provider == segmenter.provider
        settled(shadow, 1)
    forgotten = ShadowSegmenter(segmenter, reference)
    del forgotten, shadow, batching
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name.startswith("pedseg-")]


def test_limits_are_those_of_the_less_precise_artifact(
    segmenter: Segmenter, reference: Reference
) -> None:
    assert _tolerances(segmenter, reference) is FP32
    reference.manifest = replace(segmenter.manifest, precision="fp16")
    assert _tolerances(segmenter, reference) is TOLERANCES["fp16"]
    assert _tolerances(reference, segmenter) is TOLERANCES["fp16"]


@pytest.mark.parametrize("options", [{"rate": 1.5}, {"max_share": 0}, {"queue_limit": 0}], ids=str)
def test_numbers_that_cannot_be_are_refused(
    segmenter: Segmenter, reference: Reference, options: Any
) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        ShadowSegmenter(segmenter, reference, **options)


def test_artifacts_of_other_classes_are_refused(
    segmenter: Segmenter, reference: Reference, tiny_path: Path
) -> None:
    reference.manifest = replace(segmenter.manifest, class_names=("background", "car"))
    with pytest.raises(InputError, match="expected the primary's classes"):
        ShadowSegmenter(segmenter, reference)


def test_one_image_in_place_of_a_list_is_refused(
    segmenter: Segmenter, reference: Reference, street: NDArray[np.uint8]
) -> None:
    """Its rows would pass for grey images."""
    with (
        ShadowSegmenter(segmenter, reference) as shadow,
        pytest.raises(InputError, match="expected a list of images, found one"),
    ):
        shadow.predict(street)


FORKED = """
import os, sys, warnings
import numpy as np
from pedseg_runtime import ClosedError, Segmenter, ShadowSegmenter

warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: the point here
primary, reference = (Segmenter.load(sys.argv[1], device="cpu") for _ in range(2))
shadow = ShadowSegmenter(primary, reference, rate=0)
child = os.fork()
if child == 0:
    try:
        shadow.report()
    except ClosedError as error:
        print(error, flush=True)
    shadow.close()
    sys.exit(7)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status))
shadow.close()
print("images", shadow.report().images)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_no_shadow_and_ends(tiny_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tiny_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    error, *rest = done.stdout.splitlines()
    assert error.startswith("shadow: expected the process that made it, found one that was forked")
    assert rest == ["child 7", "images 0"]
