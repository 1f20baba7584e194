"""What only OpenVINO does; what all devices promise is in the tests that take `cpu_device`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import ArtifactError, DeviceError, InputError, Manifest, Segmenter
from pedseg_runtime.backends import Resources, base, open_backend, openvino, openvino_graph
from pedseg_runtime.devices import Device
from pedseg_runtime.image_limits import resized_size

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
CPU = Device("openvino", target="CPU")


def load(path: Path, **resources: Any) -> openvino.OpenVinoBackend:
    backend = open_backend(path, device="openvino", resources=Resources(**resources))
    assert isinstance(backend, openvino.OpenVinoBackend)
    return backend


def test_without_the_package_the_extra_is_named(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(openvino.importlib, "import_module", missing)
    with pytest.raises(DeviceError, match=r"No module named 'openvino'\); pip install 'pedseg\[op"):
        Segmenter.load(tiny_path, device="openvino")


@needs_openvino
def test_a_device_that_is_not_there_is_one_clear_line(tiny_path: Path) -> None:
    message = r"^openvino:GPU\.7: expected OpenVINO to find that device, found CPU.* alone; install"
    with pytest.raises(DeviceError, match=message):
        Segmenter.load(tiny_path, device="openvino:GPU.7")


def test_an_archive_is_nothing_for_openvino(
    tmp_path: Path, write_archive: Callable[..., Path]
) -> None:
    manifest = Manifest(
        architecture="tiny",
        class_names=("background", "person"),
        checkpoint_sha256="0" * 64,
        format="torchscript",
    )
    path = write_archive(tmp_path / "tiny.torchscript", manifest)
    with pytest.raises(InputError, match=r"which torch runs, found 'openvino'; .*--format onnx"):
        Segmenter.load(path, device="openvino")


@needs_openvino
def test_onnxruntimes_profile_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="profile: expected a device"):
        load(tiny_path, profile=tmp_path / "trace")


@pytest.mark.parametrize(
    ("places", "precision", "message"),
    [
        (["GPU", "CPU"], "f32", "run all of the model there, found CPU, GPU; use"),
        (["CPU"], "bf16", "to compute in float32, as the artifact was verified, found bf16; use"),
    ],
)
def test_another_device_or_precision_than_asked_for_is_refused(
    places: list[str], precision: str, message: str
) -> None:
    found = {
        "EXECUTION_DEVICES": places,
        "INFERENCE_PRECISION_HINT": SimpleNamespace(to_string=lambda: precision),
    }
    model = SimpleNamespace(get_property=found.__getitem__)
    with pytest.raises(DeviceError, match=message):
        openvino._check_execution(model, CPU, SimpleNamespace(to_string=lambda: "f32"))


@needs_openvino
def test_threads_follow_the_caller_or_the_quota(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "thread_limit", lambda: 1)
    for resources in ({}, {"threads": 1}):
        backend = load(tiny_path, **resources)
        assert backend.threads == 1
        assert backend._model.get_property("INFERENCE_NUM_THREADS") == 1
        assert not backend._model.get_property("ENABLE_CPU_PINNING")


@needs_openvino
def test_what_was_compiled_is_kept_by_artifact(
    tiny_path: Path, street: NDArray[np.uint8], tmp_path: Path
) -> None:
    expected = load(tiny_path).run(street[None])
    for _ in ("made", "used", "damaged"):
        backend = load(tiny_path, engine_cache=tmp_path)
        for found, wanted in zip(backend.run(street[None]), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        (blob,) = tmp_path.rglob("*.blob")
        assert blob.parent.name == backend.artifact.digest[:16]
        made = blob.stat().st_mtime_ns
    blob.write_bytes(b"damaged")
    assert len(load(tiny_path, engine_cache=tmp_path).run(street[None])[0]) == 2
    assert blob.stat().st_mtime_ns > made


@needs_openvino
@pytest.mark.parametrize(
    ("message", "error", "expected"),
    [
        ("Exception from a.cpp:1:\nstd::bad_alloc\n", DeviceError, "found std::bad_alloc; use a"),
        (
            "Check 'x' failed at a.cpp:1:\nno\nsuch\n",
            ArtifactError,
            "1 image of 4x4, found no such",
        ),
    ],
)
def test_a_run_that_fails_says_what_to_do_and_the_next_one_runs(
    tiny_path: Path,
    street: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    error: type[Exception],
    expected: str,
) -> None:
    def fail() -> None:
        raise RuntimeError(message)

    backend = load(tiny_path)
    with monkeypatch.context() as patched:
        patched.setattr(backend._request, "infer", fail)
        with pytest.raises(error, match=expected):
            backend.run(np.zeros((1, 4, 4, 3), np.uint8))
    assert len(backend.run(street[None])[0]) == 2


@needs_openvino
def test_a_request_keeps_no_image(tiny_path: Path, street: NDArray[np.uint8]) -> None:
    backend = load(tiny_path)
    image = street[None].copy()
    kept = weakref.ref(image)
    backend.run(image)
    del image
    assert kept() is None


@needs_openvino
def test_an_image_that_may_not_be_written_or_is_a_view_is_taken(
    tiny_path: Path, street: NDArray[np.uint8]
) -> None:
    backend = load(tiny_path)
    frozen = street[None].copy()
    frozen.flags.writeable = False
    expected = backend.run(frozen)
    view = np.ascontiguousarray(street[:, ::-1])[None, :, ::-1]
    for found, wanted in zip(backend.run(view), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@needs_openvino
def test_the_layers_that_were_compiled_are_counted(tiny_path: Path) -> None:
    placement = load(tiny_path).placement
    assert list(placement) == ["openvino:CPU"]
    assert placement["openvino:CPU"]["GatherND"] == 3
    assert "Const" not in placement["openvino:CPU"]


def test_the_reason_is_taken_out_of_openvinos_report() -> None:
    report = (
        "Exception from core.cpp:84:\nCheck 'false' failed at a.cpp:151:\nModel wasn't fully "
        "converted.\n-- A with a message:\nlong\n\nSummary:\n-- No conversion rule for: Mix-18\n\n"
    )
    assert openvino.explain(RuntimeError(report)) == "-- No conversion rule for: Mix-18"
    assert openvino.explain(RuntimeError("Exception from a.cpp:1:\n")) == "Exception from a.cpp:1:"


def sized(*computed: str) -> Any:
    """A graph of images whose height and width go through float64, once per name."""
    import openvino as library
    from openvino import opset11 as op

    images = op.parameter([-1, -1, -1, 3], np.uint8, name="images")
    sides = op.gather(op.shape_of(images, "i64"), np.array([1, 2]), np.array(0))
    results = []
    for name in computed:
        results.append(op.convert(op.floor(op.convert(sides, "f64")), "i64"))
        results[-1].output(0).set_names({name})
    return library.Model([op.add(result, np.array(1)) for result in results], [images], "sized")


@needs_openvino
def test_the_size_that_float64_computes_becomes_an_input(tiny_path: Path) -> None:
    model = sized("size")
    assert openvino_graph.take_size_as_input(model)
    assert [port.get_any_name() for port in model.inputs] == ["images", openvino_graph.SIZE_NAME]
    backend = load(tiny_path)
    assert not backend._takes_size
    manifest = backend.artifact.manifest
    resized = resized_size((7, 9), manifest.min_size, manifest.max_size)
    assert tuple(backend._resized(np.zeros((1, 7, 9, 3), np.uint8))) == resized


@needs_openvino
def test_a_graph_with_more_float64_is_refused(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="4 nodes compute in float64"):
        openvino_graph.take_size_as_input(sized("size", "other"))

    def refuse(model: Any) -> bool:
        raise ValueError("2 nodes compute in float64, the first is a")

    monkeypatch.setattr(openvino, "take_size_as_input", refuse)
    with pytest.raises(InputError, match=r"which has no float64: 2 nodes .*; export with --masks"):
        load(tiny_path)


@needs_openvino
def test_equal_values_keep_their_order() -> None:
    import openvino as library
    from openvino import opset11 as op

    values = op.parameter([-1], np.float32, name="values")
    found = op.topk(values, np.array(3), 0, "max", "value", "i64")
    found.output(1).set_names({"indices"})
    model = library.Model([found.output(1)], [values], "order")
    openvino_graph.make_order_stable(model)
    (node,) = (node for node in model.get_ordered_ops() if node.get_type_name() == "TopK")
    assert node.get_attributes()["stable"]
    assert model.output("indices").get_node().get_type_name() == "Result"


SIGNALLED = """
import faulthandler, gc, os, signal, sys
from pedseg_runtime import Segmenter

faulthandler.enable()  # it has an alternate stack for signals, as OpenVINO does
first, second = (Segmenter.load(sys.argv[1], device="openvino") for _ in range(2))
for segmenter in (first, second):
    segmenter.close()
del first, second, segmenter
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@needs_openvino
def test_signals_reach_a_process_that_closed_its_segmenters_in_the_order_it_loaded_them(
    tiny_path: Path,
) -> None:
    """In a process of its own: it was ended by a segmentation fault."""
    command = [sys.executable, "-c", SIGNALLED, str(tiny_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr
