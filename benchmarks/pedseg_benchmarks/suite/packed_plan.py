"""The steps of the suite from a kit, the most telling ones first; no step exports anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .runner import Step
from .unpack import Kit

CALLS = {"cpu": 3, "cuda": 50}  # of every contender on every image, one image at a time
STARTING = {"cpu": 6.0, "cuda": 9.0}  # seconds until a command has imported and loaded
CALL = {"cuda": 0.03}  # seconds of one call of a full-size network
CPU_CALL, FULL_SIZE_BYTES = 2.5, 176e6  # the same on two cores, by the size of the weights
COMPILING = {"cpu": 60.0, "cuda": 70.0}
PATIENCE = 3.0  # times what a step is expected to take after which it is ended
BATCHES = (1, 2, 4, 8)
OPTIONAL = {"cpu": "eager-autocast,eager-channels-last", "cuda": "eager-autocast,nhwc"}
PROFILED = ("fp32.onnx", "fp16.onnx", "cuda-fp16.onnx")
GPU_TESTS = ("tests/runtime/test_on_device.py",)
TEST_CALLS, TEST_LOADS = 150, 6.0  # of an artifact in the tests, and seconds to load it
VERIFY = "verify-"


class PackedPlan:
    """What is done with a kit on a device, in which order.

    Attributes:
        benchmarks: names of the steps that make a benchmark document.
    """

    benchmarks = ("single", "single-plain", "shapes", "offline", "compile")

    def __init__(self, kit: Kit, device: str, work: Path, threads: int | None = None) -> None:
        """A plan.

        Args:
            kit: unpacked.
            device: "cpu", "cuda" or "cuda:N".
            work: folder for what the steps make.
            threads: CPU threads of contenders; None for torch's default.
        """
        self._kit, self._device, self._work = kit, device, work
        self._kind = kind = "cuda" if device.startswith("cuda") else "cpu"
        self._threads = [] if threads is None else ["--threads", str(threads)]
        weights = kit.checkpoint.stat().st_size / FULL_SIZE_BYTES
        self._call = CALL.get(kind, 0.1 + CPU_CALL * weights)
        self._images = len(list(kit.measured.iterdir()))

    def steps(self) -> list[Step]:
        """All steps, in order."""
        profiled = [path for path in self._kit.artifacts() if path.name in PROFILED]
        return [
            self._facts(),
            *(self._verify(path) for path in self._kit.artifacts()),
            self._single(),
            self._single_plain(),
            self._shapes(),
            self._offline(),
            *(self._profile(path) for path in profiled),
            *self._tests(),
            self._compile(),
        ]

    def _facts(self) -> Step:
        made = self._work / "facts.json"
        words = ["python", "-m", "pedseg_benchmarks.suite.facts", str(made), *self._on()]
        return self._step("facts", lambda _done: words, made, calls=0, more=10)

    def _verify(self, artifact: Path) -> Step:
        made = self._work / f"{VERIFY}{artifact.name}.json"
        words = [
            *("pedseg-verify", str(artifact), "--checkpoint", str(self._kit.checkpoint)),
            *("--images", str(self._kit.shapes), *self._on(), "--report", str(made)),
        ]
        count = len(list(self._kit.shapes.iterdir()))
        return self._step(f"{VERIFY}{artifact.name}", lambda _done: words, made, calls=4 * count)

    def _single(self) -> Step:
        """All contenders in turn, one image per call."""
        optional = OPTIONAL[self._kind]
        options = ("--contenders", optional, "--stability", "3", "--limits")
        return self._bench("single", self._kit.measured, options, rounds=CALLS[self._kind])

    def _single_plain(self) -> Step:
        """The same without what may have brought the whole comparison down."""
        return self._bench(
            "single-plain",
            self._kit.measured,
            ("--stability", "3"),
            rounds=CALLS[self._kind],
            instead_of="single",
        )

    def _shapes(self) -> Step:
        """Images of several sizes in turn."""
        rounds = max(2, CALLS[self._kind] // 5)
        return self._bench("shapes", self._kit.shapes, (), rounds=rounds, static=False)

    def _offline(self) -> Step:
        batches = ",".join(map(str, BATCHES))
        calls = max(2, CALLS[self._kind] // 5)
        options = ("--limit", "1", "--offline", "--batches", batches, "--calls", str(calls))
        more = sum(BATCHES) * (calls + 1) * self._contenders(static=False) * self._call
        return self._bench(
            "offline", self._kit.measured, options, rounds=2, static=False, more=more
        )

    def _compile(self) -> Step:
        """Last, since it takes longest and says least of artifacts."""
        return self._bench(
            "compile",
            self._kit.measured,
            ("--contenders", "eager-compile", "--limit", "1"),
            rounds=CALLS[self._kind],
            kinds=(),
            more=COMPILING[self._kind],
        )

    def _profile(self, artifact: Path) -> Step:
        made = self._work / f"profile-{artifact.name}.json"
        image = sorted(self._kit.measured.iterdir())[0]
        words = [
            *("pedseg-bench", "profile", str(artifact), "--image", str(image), *self._on()),
            *("--output", str(self._work / "traces"), "--report", str(made), *self._threads),
        ]
        return self._step(f"profile-{artifact.name}", lambda _done: words, made, calls=8)

    def _tests(self) -> list[Step]:
        """Tests of pedseg on the device, with the artifacts of the kit."""
        root = self._kit.tests
        if root is None:
            return []
        made = self._work / "tests.xml"
        chosen = ("-m", "gpu") if self._kind == "cuda" else ("-k", "cpu")
        words = [
            *("pytest", *(str(root / file) for file in GPU_TESTS), *chosen, "--rootdir"),
            *(str(root), "-c", str(root / "pyproject.toml"), "-q", "--no-header"),
            *("-W", "default", "-p", "no:cacheprovider", f"--junitxml={made}"),
        ]
        files = len([path for path in self._kit.artifacts() if path.suffix == ".onnx"])
        return [
            self._step(
                "tests",
                lambda _done: words,
                made,
                calls=TEST_CALLS * files,
                more=TEST_LOADS * files,
                accepts=(0, 1),
            )
        ]

    def _bench(
        self,
        name: str,
        images: Path,
        options: Sequence[str],
        *,
        rounds: int,
        static: bool = True,
        kinds: tuple[str, ...] = (".onnx", ".torchscript"),
        more: float = 0.0,
        instead_of: str = "",
    ) -> Step:
        made = self._work / f"{name}.json"
        timed = [
            path
            for path in self._kit.artifacts(timed=True, static=static)
            if path.name.endswith(kinds or "/")
        ]

        def command(done: frozenset[str]) -> list[str]:
            right = [str(path) for path in timed if f"{VERIFY}{path.name}" in done]
            return [
                *("pedseg-bench", "run", str(self._kit.checkpoint), *right),
                *("--images", str(images), *self._on(), *self._threads),
                *("--rounds", str(rounds), "--warmup", "2", *options, "--output", str(made)),
            ]

        count = 1 if "--limit" in options else len(list(images.iterdir()))
        calls = (rounds + 4) * count * self._contenders(static=static, kinds=kinds)
        return self._step(
            name, command, made, calls=calls, more=more, accepts=(0, 1), instead_of=instead_of
        )

    def _contenders(self, *, static: bool, kinds: tuple[str, ...] = (".",)) -> int:
        """About so many, with eager and the optional ones."""
        return 3 + (len(self._kit.artifacts(timed=True, static=static)) if kinds else 0)

    def _on(self) -> tuple[str, str]:
        return "--device", self._device

    def _step(
        self,
        name: str,
        command: Callable[[frozenset[str]], list[str]],
        makes: Path,
        *,
        calls: int,
        more: float = 0.0,
        accepts: tuple[int, ...] = (0,),
        instead_of: str = "",
    ) -> Step:
        seconds = STARTING[self._kind] + calls * self._call + more
        return Step(
            name=name,
            command=command,
            makes=makes,
            seconds=seconds,
            accepts=accepts,
            patience=PATIENCE,
            prepare=partial(makes.unlink, missing_ok=True),  # what it leaves now is what counts
            instead_of=instead_of,
        )
