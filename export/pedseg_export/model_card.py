"""The model card of an artifact: Markdown for people, with the YAML header that model hubs read.

Everything in it is of the artifact's manifest. The header follows Hugging Face's metadata of model
cards: https://huggingface.co/docs/hub/model-cards and `modelcard.md` in huggingface/hub-docs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.files import replacing, sha256_of

KINDS = {"bbox": "box", "segm": "mask"}
NUMBERS = ("AP", "AP50", "AP75")


def write_model_card(artifact: Path, manifest: Manifest) -> Path:
    """Write the card of `artifact` beside it, as `NAME.md`.

    Args:
        artifact: the finished file; its digest and size go into the card.
        manifest: of the artifact.

    Returns:
        The card. A model hub shows it if it is called README.md there.
    """
    card = artifact.with_name(f"{artifact.name}.md")
    with replacing(card) as temporary:
        temporary.write_text(model_card(artifact, manifest), encoding="utf-8")
    return card


def model_card(artifact: Path, manifest: Manifest) -> str:
    """The card of `artifact` as text, see `write_model_card`."""
    sections = (
        _title(artifact, manifest),
        _use(artifact, manifest),
        _data(manifest),
        _accuracy(manifest),
        _parity(manifest),
        _limits(manifest),
        _origin(artifact, manifest),
        _license(manifest),
    )
    return f"---\n{_header(artifact, manifest)}---\n\n" + "\n\n".join(sections) + "\n"


def _header(artifact: Path, manifest: Manifest) -> str:
    """The YAML between the dashes; texts are quoted as in JSON, which is YAML too."""
    lines = ["library_name: pedseg", "pipeline_tag: image-segmentation"]
    if manifest.license:
        lines.append(f"license: {manifest.license.lower()}")
    tags = ("instance-segmentation", "mask-rcnn", manifest.format, manifest.precision)
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    results = _results(manifest)
    if results:
        lines += ["metrics:", "- mean_average_precision", "model-index:"]
        lines += [f"- name: {json.dumps(artifact.stem)}", "  results:"]
        lines += [
            "  - task:",
            "      type: image-segmentation",
            "      name: Instance segmentation",
        ]
        lines += [
            "    dataset:",
            "      type: custom",
            "      name: the exporter's labelled images",
        ]
        lines += ["    metrics:"]
        for name, value in results:
            lines += ["    - type: mean_average_precision", f"      name: {name}"]
            lines += [f"      value: {value:.4f}"]
    return "\n".join(lines) + "\n"


def _results(manifest: Manifest) -> list[tuple[str, float]]:
    """AP by name: measured on the artifact if it was, else what training recorded."""
    if manifest.accuracy:
        return [
            (f"{name} AP", manifest.accuracy[kind]["candidate"]) for kind, name in KINDS.items()
        ]
    return [
        (f"{name} {number}", manifest.metrics[kind][number])
        for kind, name in KINDS.items()
        for number in NUMBERS
        if manifest.metrics.get(kind, {}).get(number) is not None
    ]


def _title(artifact: Path, manifest: Manifest) -> str:
    classes = ", ".join(manifest.class_names[1:])
    return (
        f"# {artifact.name}\n\n"
        f"Instance segmentation: an image in, and for each {classes} on it a box, a score and a "
        f"mask out. `{manifest.architecture}` in {manifest.precision}, exported by pedseg to "
        f"{manifest.format}; resizing, normalisation and NMS are inside."
    )


def _use(artifact: Path, manifest: Manifest) -> str:
    extra = {"onnx": "pedseg"}.get(manifest.format, '"pedseg[train]"')
    return f"""## Use

```
pip install {extra}
```

```python
from pedseg_runtime import Segmenter

segmenter = Segmenter.load({json.dumps(artifact.name)})
(detections,) = segmenter.predict(["street.jpg"], score_threshold=0.5)
detections.boxes, detections.scores, detections.masks()
```

Input and outputs for programs without pedseg are in the manifest inside the file and in pedseg's
page on the artifact."""


def _data(manifest: Manifest) -> str:
    split = manifest.split
    if not split and not manifest.dataset_digest:
        return "## Training data\n\nUnknown: the checkpoint does not say what it was trained on."
    lines = ["## Training data", ""]
    if {"train", "val", "test"} <= split.keys():
        lines.append(
            f"{split['train']} images to learn from, {split['val']} to validate, {split['test']} "
            f"to test. The {split.get('chosen_by', 'test')} images chose the epoch."
        )
    digests = [f"- {_inline(name)}: `{digest}`" for name, digest in manifest.dataset_digest.items()]
    if digests:
        lines += ["", "SHA-256 of the data, as `pedseg-train` computes it:", "", *digests]
    return "\n".join(lines)


def _accuracy(manifest: Manifest) -> str:
    lines = ["## Accuracy", ""]
    gate = manifest.accuracy
    if gate:
        percent = f"{gate['confidence']:.0%}"
        lines += [
            f"Of this file, on {gate['images']} labelled images with {gate['instances']} instances "
            f"({gate['outcome']}: {gate['reason']}):",
            "",
            *_table(
                ("COCO", "this file", f"{percent} interval", "checkpoint", "difference in points"),
                [_gate_row(name, gate[kind]) for kind, name in KINDS.items()],
            ),
            "",
        ]
    recorded = [kind for kind in KINDS if manifest.metrics.get(kind)]
    if recorded:
        part = manifest.split.get("chosen_by", "test")
        lines += [
            f"As training recorded it for the checkpoint, on its {part} images, without interval:",
            "",
            *_table(
                ("COCO", *NUMBERS),
                [
                    (KINDS[kind], *(_number(manifest.metrics[kind].get(one)) for one in NUMBERS))
                    for kind in recorded
                ],
            ),
            "",
        ]
    if not gate:
        lines += [
            "No interval was measured at the export. `pedseg-eval FILE --data DATASET` measures "
            "this file with intervals, and `pedseg-export --data DATASET` puts them here."
        ]
    return "\n".join(lines).rstrip()


def _gate_row(name: str, kind: dict[str, Any]) -> Sequence[str]:
    sure = kind.get("candidate_interval")
    return (
        f"{name} AP",
        _number(kind["candidate"]),
        f"{sure[0]:.3f} to {sure[1]:.3f}" if sure else "–",
        _number(kind["reference"]),
        f"{kind['difference']:+.2f} ({kind['low']:+.2f} to {kind['high']:+.2f})",
    )


def _parity(manifest: Manifest) -> str:
    report = manifest.parity
    if not report:
        return "## Parity\n\nNot compared with its checkpoint."
    counts = report["counts"]
    rows = [
        (field["name"], f"{field['max']:.2g}", f"{field['limit']:g}", field["unit"])
        for field in report["fields"]
    ]
    return "\n".join(
        [
            "## Parity",
            "",
            f"Compared with eager PyTorch on {counts['images']} images before it was put in place: "
            f"{counts['matched']} pairs of detections, {counts['benign_flips']} benign flips, "
            f"{counts['defects']} defects ({report['reason']}).",
            "",
            *_table(("field", "largest difference", "limit", "unit"), rows),
        ]
    )


def _limits(manifest: Manifest) -> str:
    classes = ", ".join(manifest.class_names[1:])
    lines = [
        f"It knows {classes} and nothing else, and images like those it was trained on. Measure it "
        "on labelled images of yours before you rely on it; nothing here speaks of the safety of "
        "people or of groups of people that the data lacks.",
        f"Detections score above {manifest.score_threshold:g}; at most "
        f"{manifest.detections_per_image} an image; boxes that overlap a better one by more than "
        f"{manifest.nms_threshold:g} are dropped.",
        f"Images are resized to a shorter side of {manifest.min_size} pixels, a longer one of at "
        f"most {manifest.max_size}: what is a few pixels small after that is not found.",
    ]
    if manifest.static_shape:
        shape = " × ".join(map(str, manifest.static_shape))
        lines.append(f"It takes exactly {shape} (images, height, width).")
    lines += [f"In float32 still: {note}." for note in manifest.precision_notes]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _origin(artifact: Path, manifest: Manifest) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    rows = [
        ("file", f"{artifact.stat().st_size / 1e6:.1f} MB, SHA-256 `{sha256_of(artifact)}`"),
        ("checkpoint", f"SHA-256 `{manifest.checkpoint_sha256}`"),
        ("exported", f"{manifest.created} by {manifest.exporter or 'pedseg'}"),
        ("made for", manifest.target or "torch"),
        ("libraries", versions or "unknown"),
    ]
    return "\n".join(["## Origin", "", *_table(("", ""), rows)])


def _license(manifest: Manifest) -> str:
    if manifest.license:
        said = f"`{manifest.license}`, as who exported it said."
    else:
        said = (
            "None was stated. That is for whoever trained the weights to do, with an eye on the "
            "terms of the data and of the weights that training began with: "
            "`pedseg-export --license ID`."
        )
    return f"## License\n\n{said}"


def _table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    cells = [[_inline(cell) for cell in row] for row in (heading, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{' --- |' * len(cells[0])}", *lines[1:]]


def _inline(text: str) -> str:
    """A text that stays in its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
