"""Writing the folder: page, onnxruntime-web, artifact, and what the page must know of it."""

from __future__ import annotations

import base64
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact.reading import Artifact, read_artifact
from ..artifact.self_test import SelfTestSample, decode_samples
from ..errors import ArtifactError, InputError
from ..files import replacing
from ..parity import TOLERANCES
from .library import VERSION, WASM_FILES, WEBGPU_FILES, library_files

FACTS_FILE = "pedseg.json"
ARTIFACT_FILE = "artifact.onnx"
LIBRARY_FOLDER = "onnxruntime"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""What a server must send for WebAssembly to have threads: the page is then isolated."""
_SOFT_STEPS = 65535  # the page divides by it


def write_page(path: Path, folder: Path, *, library: bytes, webgpu: bool = False) -> list[Path]:
    """Write an artifact as a static web page.

    Args:
        path: an ONNX artifact of any image size with soft masks.
        folder: where to write; made if missing. One that was written earlier is renewed.
        library: the package of onnxruntime-web, see `fetch_library`.
        webgpu: whether the page shall offer WebGPU beside WebAssembly, which takes over where
            WebGPU does not run the artifact; its part of onnxruntime-web is 27 MB.

    Returns:
        The files that were written.

    Raises:
        ArtifactError: the artifact cannot be used, or not in a page.
        InputError: the folder holds something else.
    """
    artifact = read_artifact(path)
    _check_suitable(artifact)
    if folder.exists() and any(folder.iterdir()) and not (folder / FACTS_FILE).exists():
        raise InputError(
            f"{folder}: expected a new folder or one that pedseg-web wrote, found other files; "
            "choose another"
        )
    facts = json.dumps(_facts(artifact, webgpu), allow_nan=False)
    files = [*WASM_FILES, *(WEBGPU_FILES if webgpu else ())]
    written = [_write(folder / FACTS_FILE, facts.encode("utf-8"))]  # so that it counts as ours
    written += [
        _write(folder / source.name, source.read_bytes())
        for source in (resources.files(__package__) / "page").iterdir()
        if source.is_file()
    ]
    written += [
        _write(folder / LIBRARY_FOLDER / name, content)
        for name, content in library_files(library, tuple(files))
    ]
    # Hosts that read such a file (Cloudflare Pages, Netlify) send the headers.
    lines = ["/*", *(f"  {name}: {value}" for name, value in HEADERS.items())]
    written.append(_write(folder / "_headers", "\n".join([*lines, ""]).encode("ascii")))
    written.append(_write(folder / ARTIFACT_FILE, path.read_bytes()))
    return written


def _check_suitable(artifact: Artifact) -> None:
    """Refuse what the page cannot run."""
    manifest = artifact.manifest
    for is_wrong, expected, found in (
        (manifest.format != "onnx", "an ONNX artifact", manifest.format),
        (manifest.static_shape is not None, "an artifact of any size", "a fixed one (--static)"),
        (manifest.mask_format != "roi", "soft masks (--masks roi)", manifest.mask_format),
    ):
        if is_wrong:
            raise ArtifactError(
                f"{artifact.path}: expected {expected} for a page, found {found}; export the "
                "checkpoint again with pedseg-export"
            )


def _facts(artifact: Artifact, webgpu: bool) -> dict[str, Any]:
    """What `segmenter.js` reads: names, digest, manifest, and the self-test with its limits."""
    manifest = artifact.manifest
    if manifest.precision not in TOLERANCES:
        raise ArtifactError(
            f"{artifact.path}: expected a precision of {', '.join(TOLERANCES)}, found "
            f"{manifest.precision!r}; upgrade pedseg"
        )
    limits = TOLERANCES[manifest.precision]
    text = artifact.self_test
    samples = decode_samples(text, str(artifact.path)) if text is not None else ()
    return {
        "artifact": ARTIFACT_FILE,
        "digest": artifact.digest,
        "manifest": json.loads(manifest.to_json()),
        "library": VERSION,
        "backends": ["wasm", "webgpu"] if webgpu else ["wasm"],
        "limits": {name: getattr(limits, name) for name in ("scores", "boxes", "roi_masks")},
        "samples": [_sample(sample) for sample in samples],
    }


def _sample(sample: SelfTestSample) -> dict[str, Any]:
    """A self-test sample: its image as PNG in base64, soft masks in steps of 1 / 65535."""
    from PIL import Image

    found = sample.detections
    assert found.roi_masks is not None  # as in artifacts with soft masks
    png = io.BytesIO()
    Image.fromarray(sample.image).save(png, "PNG", optimize=True)
    steps = np.rint(found.roi_masks.astype(np.float64) * _SOFT_STEPS).astype(int)
    return {
        "name": sample.name,
        "image": base64.b64encode(png.getvalue()).decode("ascii"),
        "detections": [
            {"box": box, "label": label, "score": score, "soft": soft}
            for box, label, score, soft in zip(
                found.boxes.tolist(),
                found.labels.tolist(),
                found.scores.tolist(),
                [soft.ravel().tolist() for soft in steps],
                strict=True,
            )
        ],
    }


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
