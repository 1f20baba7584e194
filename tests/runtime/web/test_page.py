"""The folder that pedseg-web writes, its server, and the page in headless Chromium."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import ArtifactError, InputError, Segmenter
from pedseg_runtime.artifact.manifest import SELF_TEST_KEY
from pedseg_runtime.artifact.self_test import SelfTestSample, encode_samples
from pedseg_runtime.errors import DownloadError
from pedseg_runtime.web import fetch_library, write_page
from pedseg_runtime.web.build import HEADERS
from pedseg_runtime.web.cli import main
from pedseg_runtime.web.library import WASM_FILES, WEBGPU_FILES, read_library
from pedseg_runtime.web.serving import page_server


@pytest.fixture(scope="module")
def library() -> bytes:
    """A package with the files of the pinned one, by name only."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in (*WASM_FILES, *WEBGPU_FILES):
            content = f"// {name}".encode()
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def tested(
    tmp_path: Path,
    segmenter: Segmenter,
    street: NDArray[np.uint8],
    tiny_content: bytes,
    with_metadata: Callable[[bytes, str, str], bytes],
    write_finished: Callable[[Path, bytes], Path],
) -> Path:
    """The tiny artifact with a self-test."""
    samples = encode_samples([SelfTestSample("two persons", street, segmenter(street))])
    content = with_metadata(tiny_content, SELF_TEST_KEY, samples)
    return write_finished(tmp_path / "tested.onnx", content)


@pytest.mark.parametrize("webgpu", [False, True])
def test_the_folder_holds_all_that_the_page_names(
    tmp_path: Path, tested: Path, library: bytes, webgpu: bool
) -> None:
    folder = tmp_path / "site"
    files = write_page(tested, folder, library=library, webgpu=webgpu)
    assert {file for file in folder.rglob("*") if file.is_file()} == set(files)
    names = {str(file.relative_to(folder)) for file in files}
    assert {f"onnxruntime/{name}" for name in WASM_FILES} <= names
    assert (f"onnxruntime/{WEBGPU_FILES[0]}" in names) is webgpu
    facts = json.loads((folder / "pedseg.json").read_text(encoding="utf-8"))
    assert facts["manifest"]["class_names"] == ["background", "person"]
    assert (folder / facts["artifact"]).read_bytes() == tested.read_bytes()
    (sample,) = facts["samples"]
    assert [found["label"] for found in sample["detections"]] == [1, 1]
    assert len(sample["detections"][0]["soft"]) == 28 * 28
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http-equiv", "")
    assert "<script>" not in page


def test_a_folder_is_renewed_and_a_foreign_one_is_left_alone(
    tmp_path: Path, tested: Path, tiny_path: Path, library: bytes
) -> None:
    folder = tmp_path / "site"
    write_page(tested, folder, library=library)
    write_page(tiny_path, folder, library=library)
    assert json.loads((folder / "pedseg.json").read_text(encoding="utf-8"))["samples"] == []
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years", encoding="utf-8")
    with pytest.raises(InputError, match="found other files; choose another"):
        write_page(tiny_path, foreign, library=library)
    assert [file.name for file in foreign.iterdir()] == ["thesis.txt"]


def test_an_artifact_that_a_page_cannot_run_is_refused(
    tmp_path: Path, fixed_path: Path, library: bytes
) -> None:
    with pytest.raises(ArtifactError, match=r"expected an artifact of any size .*--static"):
        write_page(fixed_path, tmp_path / "site", library=library)
    assert not (tmp_path / "site").exists()


def test_the_server_isolates_the_page(tmp_path: Path, tiny_path: Path, library: bytes) -> None:
    write_page(tiny_path, tmp_path / "site", library=library)
    for address in serve(tmp_path / "site"):
        for name, kind in (
            ("worker.js", "text/javascript"),
            ("onnxruntime/ort.wasm.min.mjs", "text/javascript"),
            ("onnxruntime/ort-wasm-simd-threaded.wasm", "application/wasm"),
        ):
            with urllib.request.urlopen(f"{address}/{name}", timeout=30) as answer:
                assert answer.headers["Content-Type"] == kind
                assert {key: answer.headers[key] for key in HEADERS} == HEADERS


def serve(folder: Path) -> Iterator[str]:
    """The address of a server of `folder`, for as long as the loop lasts."""
    with page_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_another_package_than_the_pinned_one_is_refused(tmp_path: Path, tiny_path: Path) -> None:
    other = tmp_path / "other.tgz"
    other.write_bytes(b"other")
    command = [str(tiny_path), str(tmp_path / "site"), "--library", str(other)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "expected onnxruntime-web@" in result.output
    assert not (tmp_path / "site").exists()
    with pytest.raises(InputError, match="found none"):
        read_library(tmp_path / "missing.tgz")


def test_the_command_writes_the_folder_and_says_how_to_look_at_it(
    tmp_path: Path, tested: Path, library: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pedseg_runtime.web.cli.read_library", lambda path: library)
    result = CliRunner().invoke(main, [str(tested), str(tmp_path / "site"), "--library", "x.tgz"])
    assert result.exit_code == 0, result.output
    assert f"into {tmp_path / 'site'}" in result.stdout
    assert "--serve 8000" in result.stderr
    assert (tmp_path / "site" / "index.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a shell script")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "expected npm to fetch it, found npm error"),
        ("printf other > onnxruntime-web-1.30.0.tgz", "expected onnxruntime-web@.* found another"),
    ],
    ids=["not found", "another file"],
)
def test_what_npm_does_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DownloadError, match=message):
        fetch_library()


def test_without_npm_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DownloadError, match=r"install Node\.js, or run 'npm pack onnxruntime-web@"):
        fetch_library()


FIND = """(async () => {
  const { Segmenter, readPixels } = await import("/segmenter.js");
  const segmenter = await Segmenter.load();
  const blob = await (await fetch("/street.png")).blob();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { detections } = await segmenter.segment(readPixels(bitmap));
  segmenter.close();
  return detections.map(({ name, score, box, mask }) => {
    const { top, left, height, width, bits } = mask();
    return { name, score, box: [...box], at: [top, left, height, width], bits: [...bits] };
  });
})()"""


@pytest.mark.slow
def test_the_page_finds_what_the_runtime_finds(
    tmp_path: Path,
    browser: Any,
    package: bytes,
    tested: Path,
    segmenter: Segmenter,
    street: NDArray[np.uint8],
) -> None:
    site = tmp_path / "site"
    write_page(tested, site, library=package)
    Image.fromarray(street).save(site / "street.png")
    expected = segmenter(street)
    for address in serve(site):
        browser.open(address)
        browser.wait_for("document.body.classList.contains('ready')")
        assert browser.evaluate("self.crossOriginIsolated")
        assert text(browser, "self-test") == "passed on 1 sample"
        found = browser.evaluate(FIND)
        assert [one["name"] for one in found] == ["person", "person"]
        assert np.allclose([one["box"] for one in found], expected.boxes)
        assert np.allclose([one["score"] for one in found], expected.scores)
        for one, crop in zip(found, expected.crops(), strict=True):
            assert one["at"] == [crop.top, crop.left, *crop.bits.shape]
            assert one["bits"] == crop.bits.ravel().astype(int).tolist()
        browser.choose_file("#file", site / "street.png")
        browser.wait_for("document.body.classList.contains('shown')")
        assert text(browser, "found").startswith("1 × person")
        browser.evaluate("document.getElementById('threshold').value = 0.1")
        browser.evaluate("document.getElementById('threshold').dispatchEvent(new Event('input'))")
        assert text(browser, "found").startswith("2 × person")
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        browser.call("Emulation.setDeviceMetricsOverride", **phone)
        assert browser.evaluate("document.documentElement.scrollWidth") == 390
        assert browser.problems() == []


@pytest.mark.slow
def test_a_wrong_self_test_is_told_and_nothing_can_be_opened(
    tmp_path: Path, browser: Any, package: bytes, tested: Path
) -> None:
    site = tmp_path / "site"
    write_page(tested, site, library=package)
    facts = json.loads((site / "pedseg.json").read_text(encoding="utf-8"))
    facts["samples"][0]["detections"][0]["score"] -= 0.01
    (site / "pedseg.json").write_text(json.dumps(facts), encoding="utf-8")
    for address in serve(site):
        browser.open(address)
        browser.wait_for("document.getElementById('message').className === 'bad'")
        told = text(browser, "message")
        assert "self-test: expected the answers of the export on two persons" in told
        assert browser.evaluate("document.getElementById('choose').disabled")


def text(browser: Any, name: str) -> str:
    """The text of the element with that id."""
    content: str = browser.evaluate(f"document.getElementById({name!r}).textContent")
    return content
