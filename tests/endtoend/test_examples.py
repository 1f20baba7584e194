"""The examples do what their first lines say, on an artifact that sees colours."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import ArtifactError, DeviceError, InputError, Segmenter
from pedseg_runtime.masks import encode_crops

pytestmark = pytest.mark.slow

fastapi_testing = pytest.importorskip("fastapi.testclient", reason="needs fastapi and httpx")

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "runtime" / "golden" / "tiny.onnx"
WORKER = ROOT / "examples" / "worker.py"
DASHBOARD = ROOT / "examples" / "service" / "grafana-dashboard.json"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def service() -> ModuleType:
    return load("service_example", ROOT / "examples" / "service" / "app.py")


@pytest.fixture(scope="module")
def worker() -> ModuleType:
    return load("worker_example", WORKER)


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
    answered = 'pedseg_requests_total{error="",outcome="answered",segmenter="default"} 2.0'
    assert answered in client.get("/metrics").text.splitlines()


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


def test_the_services_responses_are_counted_by_route(client: object) -> None:
    for path in ("/health", "/wp-login.php", "/.env"):
        client.get(path)
    lines = client.get("/metrics").text.splitlines()
    for route, code, count in (("/health", 200, 1), ("none", 404, 2)):
        name = f'pedseg_http_request_duration_seconds_count{{code="{code}",route="{route}"}}'
        assert f"{name} {count}.0" in lines


def test_the_dashboard_shows_what_the_service_has(client: object) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client")
    families = list(parser.text_string_to_metric_families(client.get("/metrics").text))
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    known = {
        family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))
    }
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    variables = dashboard["templating"]["list"]
    queries = [query for panel in dashboard["panels"] for query in panel["targets"]]
    texts = [query["expr"] for query in queries]
    texts += [variable.get("definition", "") for variable in variables]
    used = set(re.findall(r"\b(?:pedseg|process)_\w+", " ".join(texts)))
    assert used <= known
    for family in families:
        if family.name.startswith("pedseg_") and not family.name.endswith("_created"):
            assert any(name.startswith(family.name) for name in used), f"{family.name} is not on it"
    named = set(re.findall(r"\$\{?([a-z]+)", json.dumps(dashboard)))
    assert named == {variable["name"] for variable in variables}


def test_the_dashboard_is_laid_out_as_grafana_wants() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["title"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    taken = set()
    for panel in panels:
        assert {panel["type"]} <= {"stat", "timeseries"}
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert max(column for column, _ in cells) < 24
        assert not cells & taken, f"{panel['title']} overlaps another panel"
        taken |= cells
        references = [query["refId"] for query in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        assert all(
            query["expr"].count("(") == query["expr"].count(")") for query in panel["targets"]
        )


@pytest.fixture
def address(service: ModuleType) -> Iterator[str]:
    """A service with little room, on a port of this machine."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn")
    app = service.create_app(str(TINY), device="cpu", queue_limit=4, seconds=0.5)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_services_metrics_are_what_its_clients_count(
    address: str, street: NDArray[np.uint8], tmp_path: Path
) -> None:
    (tmp_path / "street.png").write_bytes(png(street))
    load_test = load("load_test_example", ROOT / "examples" / "service" / "load_test.py")
    counts, metrics = asyncio.run(
        load_test.load(address, folder=tmp_path, clients=64, seconds=1, hostile=0.2, seed=0)
    )
    assert dict(counts.wrong) == {}
    assert set(counts.by_code()) >= {200, 400}
    assert load_test.disagreements(counts, metrics) == []
    counts.seconds[200].pop()
    assert "the clients count" in load_test.disagreements(counts, metrics)[0]


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


def test_the_service_answers_after_any_failure(
    client: object, failing_runs: Any, street: NDArray[np.uint8]
) -> None:
    failing_runs.on_images(77)
    marked = street.copy()
    marked[0, 0, 0] = 77
    expected = 400 if isinstance(failing_runs.error, InputError) else 500
    for image, status in ((street, 200), (marked, expected), (street, 200)):
        answer = client.post("/segment", content=png(image))
        assert answer.status_code == status
        assert ("error" in answer.json()) is (status != 200)
    strip = client.post("/segment", content=png(np.zeros((1, 2000, 3), np.uint8)))
    assert (strip.status_code, strip.json()["error"]) == (400, "InputError")
    assert "times the shorter one" in strip.json()["message"]


def test_the_worker_puts_aside_what_fails(
    worker: ModuleType, failing_runs: Any, boxes: tuple[Path, Path], street: NDArray[np.uint8]
) -> None:
    failing_runs.on_images(77)
    inbox, outbox = boxes
    marked = street.copy()
    marked[0, 0, 0] = 77
    (inbox / "marked.png").write_bytes(png(marked))
    taken = outbox / "taken"
    taken.mkdir(parents=True)
    with Segmenter.load(TINY, device="cpu") as segmenter:
        worker.answer(segmenter, worker.claim(inbox, taken, 8), outbox)
    assert list(taken.iterdir()) == []
    assert (outbox / "street.png.json").exists()
    assert sorted(file.name for file in (outbox / "failed").iterdir()) == [
        *("broken.png", "broken.png.json", "marked.png", "marked.png.json")
    ]


def test_a_worker_whose_device_is_gone_ends(
    worker: ModuleType, failing_runs: Any, boxes: tuple[Path, Path]
) -> None:
    inbox, outbox = boxes
    (inbox / "broken.png").unlink()
    (inbox / "late.png").write_bytes((inbox / "street.png").read_bytes())
    taken = outbox / "taken"
    taken.mkdir(parents=True)
    with Segmenter.load(TINY, device="cpu") as segmenter:
        if isinstance(failing_runs.error, InputError):
            return
        failing_runs.on_run(*range(1, 100))
        with pytest.raises(DeviceError, match="segment a black image after a failure"):
            worker.answer(segmenter, worker.claim(inbox, taken, 8), outbox)
    assert (outbox / "failed" / "late.png").exists()
    assert [file.name for file in taken.iterdir()] == ["street.png"]


def test_an_image_that_kills_workers_is_put_aside(
    worker: ModuleType, boxes: tuple[Path, Path]
) -> None:
    inbox, outbox = boxes
    taken = outbox / "taken"
    taken.mkdir(parents=True)

    class Killed:
        def __call__(self, image: Path) -> None:
            raise SystemExit(137)

    (inbox / "broken.png").unlink()
    for _ in range(2):
        with pytest.raises(SystemExit):
            worker.answer(Killed(), worker.claim(inbox, taken, 8), outbox)
        assert (taken / "street.png").exists()
    worker.answer(Killed(), worker.claim(inbox, taken, 8), outbox)
    assert list(taken.iterdir()) == []
    reason = json.loads((outbox / "failed" / "street.png.json").read_text(encoding="utf-8"))
    assert reason["reason"] == "2 workers died of it"
