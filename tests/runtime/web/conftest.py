"""Headless Chromium, steered over a pipe by its DevTools protocol; no driver is needed."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pedseg_runtime.errors import DownloadError
from pedseg_runtime.lifecycle import Closeable
from pedseg_runtime.web import fetch_library

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Chromium(Closeable):
    """One tab.

    Args:
        program: its path.
        profile: a folder for what the browser writes.
    """

    def __init__(self, program: str, profile: Path) -> None:
        (child_in, self._out), (self._in, child_out) = os.pipe(), os.pipe()
        command = [
            *(program, "--headless", "--no-sandbox", "--remote-debugging-pipe"),
            *("--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}"),
            "about:blank",
        ]
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        script = (
            "import os, sys; os.dup2({}, 3); os.dup2({}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        )
        wrapper = [sys.executable, "-c", script.format(child_in, child_out)]
        self._process = subprocess.Popen(
            [*wrapper, *command],
            pass_fds=(child_in, child_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_in)
        os.close(child_out)
        self._ids = itertools.count(1)
        self._received = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, timeout: float = 60, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come first are kept in `events`."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def evaluate(self, expression: str, timeout: float = 60) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = self.call(
            "Runtime.evaluate",
            timeout,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str, timeout: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"{expression} did not come true"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        """Go to an address and wait until its document is there."""
        self.call("Page.navigate", url=address)
        self.wait_for(
            f"document.readyState === 'complete' && location.href.startsWith({address!r})"
        )

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in the `<input type=file>` of that CSS selector."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def problems(self) -> list[str]:
        """Errors so far: exceptions, blocked or missing files, what the console says."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown")
        return [json.dumps(event) for event in self.events if event["method"] in kinds]

    def _attach(self) -> None:
        """Take the tab that is open, and hear of what goes on in it."""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium ended"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    """A headless Chromium."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    with Chromium(program, tmp_path / "profile") as started:
        yield started


@pytest.fixture(scope="session")
def package() -> bytes:
    """The real package of onnxruntime-web; `npm cache add onnxruntime-web@VERSION` gets it."""
    try:
        return fetch_library(offline=True)
    except DownloadError as error:
        pytest.skip(f"onnxruntime-web is not in npm's cache: {error}")
