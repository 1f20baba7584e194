"""Making a kit: the models and libraries with which another machine runs the suite, offline."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from pedseg_export.commands.export import main as export_command
from pedseg_runtime._version import __version__
from pedseg_runtime.errors import InputError
from pedseg_runtime.images import read_image

from ..contenders import Image
from ..dataset_selection import choose_images
from ..kit import files, wheels
from ..kit.archive import Archive, read_listing, writing
from .layout import calibration_streets, measured_street
from .runner import Budget, Outcome, Runner, Status, Step

ONNX = ("--format", "onnx")
HALF = ("--precision", "fp16")
STATIC = ("--static", "1x{height}x{width}")
CUDA = ("--device-target", "cuda")


@dataclass(frozen=True, slots=True)
class Variant:
    """An artifact of the kit.

    Attributes:
        file: its name.
        options: of pedseg-export, with the size of the measured images for {height} and {width}.
            A variant with an option that pedseg-export does not have is left out.
        is_timed: whether it is a contender; if not, it is only verified and tested.
    """

    file: str
    options: tuple[str, ...]
    is_timed: bool = True


VARIANTS = (
    Variant("fp32.onnx", ONNX),
    Variant("fp16.onnx", (*ONNX, *HALF)),
    Variant("fp32.torchscript", ("--format", "torchscript")),
    Variant("static.onnx", (*ONNX, *STATIC)),
    Variant("static-fp16.onnx", (*ONNX, *HALF, *STATIC)),
    Variant("full-masks.onnx", (*ONNX, "--masks", "full"), is_timed=False),
    Variant("cuda-fp32.onnx", (*ONNX, *CUDA)),
    Variant("cuda-fp16.onnx", (*ONNX, *CUDA, *HALF)),
    Variant("split-fp16.onnx", (*ONNX, *CUDA, *HALF, "--split")),
)
FULL_SIZE = (600, 800)  # height and width of the images; 800x1066 in the network
MANTISSA_BITS = "4"
MEASURED = 3  # images of one size
# The shorter and the longer side, as parts of the measured image's, of those of other sizes.
SHAPES = ((1.0, 1.0), (0.8, 0.8), (1.0, 0.75), (0.75, 1.0), (0.6, 1.0), (1.2, 0.9))
DAY = 86400.0
PACKAGES = ("pedseg_runtime", "pedseg_train", "pedseg_export", "pedseg_benchmarks")
CHECKPOINT = "models/checkpoint.safetensors"
MEASURED_IMAGES, OTHER_SHAPES = "images/measured", "images/shapes"


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """What goes into a kit.

    Attributes:
        kit: the folder that becomes it.
        cache: folder for what is made on the way; a second run continues there.
        checkpoint: to measure; None makes a full-size network.
        images: with people on them, for `checkpoint`.
        requirements: packages that the other machine lacks: `NAME==VERSION`, or paths of wheels.
        python: its version of Python.
        gpus: its compute capabilities, 90 for 9.0; machine code for others is left out.
        part_bytes: most bytes of a part.
    """

    kit: Path
    cache: Path
    checkpoint: Path | None
    images: Path | None
    requirements: Sequence[str]
    python: str
    gpus: Sequence[int]
    part_bytes: int

    def __post_init__(self) -> None:
        if (self.checkpoint is None) != (self.images is None):
            raise InputError(
                "pack: expected a checkpoint and --images together, found one of them; without "
                "both a full-size network is made"
            )


def pack(
    options: PackOptions,
    *,
    notify: Callable[[str], object] = lambda _line: None,
    on_outcome: Callable[[Outcome], object] = lambda _outcome: None,
) -> dict[str, Any]:
    """Make a kit and give its listing.

    Args:
        options: what goes into it.
        notify: is told what begins.
        on_outcome: is told what became of each export.

    Raises:
        InputError: an option cannot be used, or nothing could be exported.
    """
    checkpoint = options.checkpoint or options.cache / "full.safetensors"
    outcomes = _make_models(options, checkpoint, notify, on_outcome)
    made = [one for one in VARIANTS if _made(one, outcomes)]
    if not made:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in outcomes)
        raise InputError(f"pack: expected artifacts to pack, found none: {reasons}")
    images = _images(options)
    facts: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "pedseg": __version__,
        "python": options.python,
        "gpus": list(options.gpus),
        "artifacts": [asdict(one) for one in made],
        "left_out": {one.name: one.reason for one in outcomes if one.status is Status.FAILED},
    }
    with writing(options.kit, part_bytes=options.part_bytes, facts=facts) as archive:
        notify("packing weights and artifacts")
        models = options.cache / "models"
        named = [(f"models/{one.file}", models / one.file) for one in made]
        facts["models"] = files.add_files(archive, [(CHECKPOINT, checkpoint), *named])
        for name, image in images.items():
            archive.add(name, _png(image))
        _add_sources(archive)
        with tempfile.TemporaryDirectory() as scratch:
            facts["wheels"] = _add_wheels(archive, options, Path(scratch), notify)
    return read_listing(options.kit)


def known_variants() -> list[Variant]:
    """Those whose options this pedseg-export has."""
    known = {name for parameter in export_command.params for name in parameter.opts}
    return [
        one for one in VARIANTS if {word for word in one.options if word.startswith("--")} <= known
    ]


def export_steps(checkpoint: Path, models: Path, size: tuple[int, int]) -> list[Step]:
    """A step per variant.

    Args:
        checkpoint: to export.
        models: folder for the artifacts.
        size: height and width of the images, for static ones.
    """
    steps = []
    for one in known_variants():
        made = models / one.file
        options = [word.format(height=size[0], width=size[1]) for word in one.options]
        words = ["pedseg-export", str(checkpoint), "--output", str(made), *options]
        steps.append(Step(name=one.file, command=_always(words), makes=made, seconds=60))
    return steps


def _always(words: list[str]) -> Callable[[frozenset[str]], list[str]]:
    """The command of a step that is the same whatever was done before."""
    return lambda _done: words


def _make_models(
    options: PackOptions,
    checkpoint: Path,
    notify: Callable[[str], object],
    on_outcome: Callable[[Outcome], object],
) -> list[Outcome]:
    runner = Runner(options.cache, Budget(total=DAY), notify)
    steps = []
    if options.images is None:
        height, width = size = FULL_SIZE
        words = [
            *("python", "-m", "pedseg_benchmarks.suite.full_size", str(checkpoint)),
            *("--streets", str(_streets(options)), "--height", str(height)),
            *("--width", str(width), "--mantissa-bits", MANTISSA_BITS),
        ]
        steps.append(Step(name="make-full", command=_always(words), makes=checkpoint, seconds=120))
    else:
        first = read_image(choose_images(options.images, 1)[0])
        size = (first.shape[0], first.shape[1])
    outcomes = []
    for step in [*steps, *export_steps(checkpoint, options.cache / "models", size)]:
        outcome = runner(step)
        on_outcome(outcome)
        outcomes.append(outcome)
    return outcomes


def _made(variant: Variant, outcomes: Sequence[Outcome]) -> bool:
    made = {one.name for one in outcomes if one.status in (Status.DONE, Status.REUSED)}
    return variant.file in made


def _streets(options: PackOptions) -> Path:
    return options.cache / "streets"


def _images(options: PackOptions) -> dict[str, Image]:
    """Name in the kit -> image: some of one size, and the first of them in other sizes."""
    if options.images is None:
        streets = _streets(options)
        paths = [measured_street(streets), *sorted(calibration_streets(streets).iterdir())]
    else:
        paths = choose_images(options.images, None)
    first = read_image(paths[0])
    same = [first]
    for path in paths[1:]:
        if len(same) < MEASURED and (image := read_image(path)).shape == first.shape:
            same.append(image)
    found = {f"{MEASURED_IMAGES}/{number}.png": image for number, image in enumerate(same)}
    for part, other in SHAPES:
        height, width = round(first.shape[0] * part), round(first.shape[1] * other)
        resized = PIL.Image.fromarray(first).resize((width, height))
        found[f"{OTHER_SHAPES}/{height}x{width}.png"] = np.asarray(resized)
    return found


def _png(image: Image) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def _add_sources(archive: Archive) -> None:
    """The four packages, and where they come from a checkout its tests."""
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        archive.add_folder(f"source/{name}", Path(spec.origin).parent)
    if (root := checkout()) is not None:
        archive.add_folder("source/tests/runtime", root / "tests" / "runtime")
        for name in ("tests/conftest.py", "pyproject.toml"):
            archive.add(f"source/{name}", (root / name).read_bytes())


def checkout() -> Path | None:
    """The folder with the tests of the running pedseg, in a checkout or an unpacked kit."""
    own = Path(__file__).parents[2]
    return next((root for root in (own, own.parent) if (root / "tests/conftest.py").exists()), None)


def _add_wheels(
    archive: Archive, options: PackOptions, site: Path, notify: Callable[[str], object]
) -> dict[str, Any]:
    """What was packed of the wheels, and whether it loads."""
    zeroed, names = 0, []
    for requirement in options.requirements:
        notify(f"fetching {requirement} for Python {options.python}")
        wheel = wheels.fetch(requirement, options.cache / "wheels", python=options.python)
        zeroed += wheels.unpack(wheel, site, options.gpus)
        names.append(wheel.name)
    loading = wheels.check_loading(site)
    notify("packing libraries")
    archive.add_folder("site", site)
    return {"files": names, "zeroed_bytes": zeroed, "cuda_library": loading}


def this_python() -> str:
    """Major and minor version of the running Python."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
