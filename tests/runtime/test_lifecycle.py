"""A forked child gets a clear error from what it inherited, and ends: it never hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# The parent has run the model, so that onnxruntime's threads exist. The child then tries it, closes
# it, forgets it and ends as any interpreter does, which takes apart all that is left.
PROGRAM = """
import os, sys, warnings
import numpy as np
from pedseg_runtime import ClosedError, Segmenter

warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: the point here
image = np.full((64, 64, 3), 200, np.uint8)
segmenter = Segmenter.load(sys.argv[1], device="cpu", threads=4)
assert len(segmenter(image)) == 3
child = os.fork()
if child == 0:
    try:
        segmenter(image)
    except ClosedError as error:
        print(error, flush=True)
    try:
        segmenter.info
    except ClosedError:
        print("no info", flush=True)
    segmenter.close()
    del segmenter
    own = Segmenter.load(sys.argv[1], device="cpu", threads=2)
    print(len(own(image)), "found by its own", flush=True)
    sys.exit(7)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status), flush=True)
print("parent", len(segmenter(image)), flush=True)
"""


def test_a_forked_child_gets_an_error_and_ends(tiny_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    error, *rest = done.stdout.splitlines()
    assert error == (
        "segmenter: expected an open one, found it inherited from the process that forked this "
        "one; load it again"
    )
    assert rest == ["no info", "3 found by its own", "child 7", "parent 3"]


OPENVINO_PROGRAM = """
import os, sys, warnings
import numpy as np
from pedseg_runtime import ClosedError, DeviceError, Segmenter

warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: the point here
image = np.full((64, 64, 3), 200, np.uint8)
segmenter = Segmenter.load(sys.argv[1], device="openvino", threads=4)
child = os.fork()
if child == 0:
    try:
        segmenter(image)
    except ClosedError as error:
        print("closed", flush=True)
    try:
        Segmenter.load(sys.argv[1], device="openvino")
    except DeviceError as error:
        print(error, flush=True)
    print(len(Segmenter.load(sys.argv[1], device="cpu")(image)), "found by another", flush=True)
    sys.exit(7)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status), flush=True)
print("parent", len(segmenter(image)), flush=True)
"""


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_a_forked_child_of_openvino_is_told_to_start_otherwise(tiny_path: Path) -> None:
    """OpenVINO's TBB would wait for ever for threads that a fork left behind."""
    done = subprocess.run(
        [sys.executable, "-c", OPENVINO_PROGRAM, str(tiny_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    closed, error, *rest = done.stdout.splitlines()
    assert closed == "closed"
    assert error.startswith(
        "openvino:CPU: expected a process of its own, found one that was forked"
    )
    assert rest == ["3 found by another", "child 7", "parent 3"]


TELEMETRY = "import os, pedseg_runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"


@pytest.mark.parametrize("choice", [None, "0"], ids=["by default", "by the user's choice"])
def test_onnxruntime_sends_nothing_home_unless_asked_to(choice: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {} if choice is None else {"ORT_DISABLE_TELEMETRY": choice}
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (choice or "1")
