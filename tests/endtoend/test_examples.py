"""The examples do what their first lines say, on an artifact that sees colours."""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import ArtifactError, Segmenter
from pedseg_runtime.masks import encode_crops

pytestmark = pytest.mark.slow

fastapi_testing = pytest.importorskip("fastapi.testclient", reason="needs fastapi and httpx")

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "runtime" / "golden" / "tiny.onnx"
WORKER = ROOT / "examples" / "worker.py"


@pytest.fixture(scope="module")
def service() -> ModuleType:
    path = ROOT / "examples" / "service" / "app.py"
    spec = importlib.util.spec_from_file_location("service_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(service: ModuleType) -> Iterator[object]:
    app = service.create_app(str(TINY), device="cpu", max_bytes=10_000, max_pixels=10_000)
    with fastapi_testing.TestClient(app) as client:
        yield client


@pytest.fixture
def street() -> NDArray[np.uint8]:
    image = np.zeros((40, 60, 3), np.uint8)
    image[5:20, 10:30, 0] = 200
    image[8:30, 40:55, 2] = 100
    return image


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def test_the_service_answers_as_the_runtime(client: object, street: NDArray[np.uint8]) -> None:
    answer = client.post("/segment", content=png(street))
    assert answer.status_code == 200
    found = answer.json()
    with Segmenter.load(TINY, device="cpu") as segmenter:
        expected = segmenter(street)
    assert (found["width"], found["height"]) == (60, 40)
    assert [entry["score"] for entry in found["detections"]] == pytest.approx(expected.scores)
    assert [entry["segmentation"] for entry in found["detections"]] == encode_crops(
        expected.crops(), (40, 60)
    )
    strong = client.post("/segment?score_threshold=0.5", content=png(street)).json()
    assert len(strong["detections"]) == 1
    assert client.get("/stats").json()["answered"] == 2


def test_the_services_health_is_what_really_runs(client: object) -> None:
    health = client.get("/health").json()
    assert health["provider"] == "CPUExecutionProvider"
    assert health["nodes"] == {"CPUExecutionProvider": 31}
    assert health["self_test"] == "not in the artifact"


def test_the_service_refuses_what_it_cannot_answer(
    client: object, street: NDArray[np.uint8]
) -> None:
    broken = client.post("/segment", content=b"no image")
    assert (broken.status_code, broken.json()["error"]) == (400, "InputError")
    wide = client.post("/segment", content=png(np.zeros((101, 100, 3), np.uint8)))
    assert (wide.status_code, wide.json()["error"]) == (400, "InputError")
    assert "10000 pixels" in wide.json()["message"]
    heavy = client.post("/segment", content=b"x" * 10_001)
    assert (heavy.status_code, heavy.json()["error"]) == (413, "TooLarge")
    assert client.post("/segment?score_threshold=7", content=png(street)).status_code == 422
    assert client.post("/segment", content=png(street)).status_code == 200


def test_the_service_turns_away_what_it_has_no_place_for(
    service: ModuleType, street: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, gate = threading.Event(), threading.Event()
    predict = Segmenter.predict

    def blocked(*arguments: object, **options: object) -> object:
        entered.set()
        assert gate.wait(30)
        return predict(*arguments, **options)

    monkeypatch.setattr(Segmenter, "predict", blocked)
    app = service.create_app(str(TINY), device="cpu", queue_limit=1, seconds=0.2)
    codes: list[int] = []
    with fastapi_testing.TestClient(app) as client:
        first = threading.Thread(
            target=lambda: codes.append(client.post("/segment", content=png(street)).status_code)
        )
        first.start()
        assert entered.wait(30)
        first.join()
        gate.set()
    assert codes == [504]


def test_a_service_that_cannot_load_does_not_start(service: ModuleType, tmp_path: Path) -> None:
    app = service.create_app(str(tmp_path / "missing.onnx"))
    with (
        pytest.raises(ArtifactError, match="No such file"),
        fastapi_testing.TestClient(app),
    ):
        pass


@pytest.fixture
def boxes(tmp_path: Path, street: NDArray[np.uint8]) -> tuple[Path, Path]:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (inbox / "street.png").write_bytes(png(street))
    (inbox / "broken.png").write_bytes(b"no image")
    (inbox / "notes.txt").write_text("stays", encoding="utf-8")
    return inbox, outbox


def test_the_worker_empties_its_inbox(boxes: tuple[Path, Path], street: NDArray[np.uint8]) -> None:
    inbox, outbox = boxes
    left = outbox / "taken-worker"  # a worker of this name was killed over this image
    left.mkdir(parents=True)
    (left / "earlier.png").write_bytes(png(street))
    command = [sys.executable, str(WORKER), str(TINY), str(inbox), str(outbox), "--once"]
    subprocess.run([*command, "--device", "cpu"], check=True, capture_output=True, timeout=120)
    assert [file.name for file in inbox.iterdir()] == ["notes.txt"]
    assert list(left.iterdir()) == []
    for name in ("street.png", "earlier.png"):
        answer = json.loads((outbox / f"{name}.json").read_text(encoding="utf-8"))
        assert len(answer["detections"]) == 2
    reason = json.loads((outbox / "failed" / "broken.png.json").read_text(encoding="utf-8"))
    assert "expected an image" in reason["reason"]
    assert (outbox / "failed" / "broken.png").read_bytes() == b"no image"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_the_worker_ends_on_a_signal(boxes: tuple[Path, Path]) -> None:
    inbox, outbox = boxes
    command = [sys.executable, str(WORKER), str(TINY), str(inbox), str(outbox), "--device", "cpu"]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert worker.stderr is not None
        assert "ready on CPUExecutionProvider" in worker.stderr.readline()
        deadline = time.monotonic() + 60
        while not (outbox / "street.png.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.communicate()
