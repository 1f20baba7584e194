"""From a foreign file of weights to a checkpoint of pedseg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.models.detection import MaskRCNN

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.parity import ParityReport

from ..architectures import ANCHOR_SIZES, ARCHITECTURES, FROZEN, Norm, assemble
from ..checkpoint import SUFFIX, CheckpointHeader, save_checkpoint
from ..synthetic.dataset import draw_scene
from .files import StateDict
from .frozen_norm import DEFAULT_EPS, Effect, ask_for_eps, effect_of_eps, proven_eps
from .reading import read_weights
from .recognition import Network, recognise
from .verification import (
    NamedImage,
    check_settings,
    check_tensors,
    load_user_model,
    settings_of,
    verify_import,
)

EFFECT_IMAGES = 2  # of which the effect of eps is computed: a network of 800 pixels takes seconds
GENERATED = 4  # scenes, where the user gives no images
_TORCHVISION: dict[str, Any] = {
    "min_size": 800,
    "max_size": 1333,
    "score_threshold": 0.05,
    "nms_threshold": 0.5,
    "detections_per_image": 100,
    "anchor_sizes": ANCHOR_SIZES,
}


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user says of the weights; None is read from them or is torchvision's default.

    Attributes:
        entry: which network of a file that holds several.
        architecture: registry name.
        class_names: one name per label, with or without the background before them.
        norm: kind of the backbone's normalisation.
        norm_eps: epsilon of the backbone's normalisation.
        min_size, max_size: torchvision's resize rule, in pixels.
        score_threshold, nms_threshold, detections_per_image: of the box head.
        anchor_sizes: anchor side in resized pixels per pyramid level.
        verify_against: `SCRIPT.py:FUNCTION` that builds the user's own model.
    """

    entry: str | None = None
    architecture: str | None = None
    class_names: tuple[str, ...] | None = None
    norm: str | None = None
    norm_eps: float | None = None
    min_size: int | None = None
    max_size: int | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    detections_per_image: int | None = None
    anchor_sizes: tuple[int, ...] | None = None
    verify_against: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import made.

    Attributes:
        path: the checkpoint.
        header: what it says of itself.
        network: what the tensors said.
        eps_reason: why the header has its epsilon.
        effect: what the other epsilon would change; None without frozen norms.
        report: the comparison with the user's own model; None where there was none.
        notes: what was left out, converted or assumed, a line each.
    """

    path: Path
    header: CheckpointHeader
    network: Network
    eps_reason: str
    effect: Effect | None
    report: ParityReport | None
    notes: tuple[str, ...]


def import_weights(
    weights: Path,
    *,
    output: Path,
    options: ImportOptions | None = None,
    images: Sequence[NamedImage] = (),
    notify: Callable[[str], object] = lambda _line: None,
) -> ImportResult:
    """Turn a state dict of torchvision's Mask R-CNN into a checkpoint of pedseg.

    Args:
        weights: a file that torch.save or safetensors wrote; no code in it is run.
        output: the checkpoint, which is written last and whole.
        options: what the tensors do not say.
        images: to compare on, a few generated scenes by default.
        notify: is told in one line what happens.

    Raises:
        CheckpointError: the file holds no network that pedseg knows, or the checkpoint could not
            be written.
        InputError: options that contradict the weights, or an epsilon that has to be given.
        ParityError: the user's own model detects otherwise.
    """
    options = options or ImportOptions()
    weights, output = Path(weights), Path(output)
    _check_output(weights, output)
    notify(f"reading {weights}")
    foreign = read_weights(weights, options.entry)
    network, tensors, notes = recognise(
        foreign.tensors, str(weights), architecture=options.architecture, norm=options.norm
    )
    class_names = _class_names(options.class_names, network.num_classes, weights)
    user = load_user_model(options.verify_against) if options.verify_against else None
    if user is not None:
        check_tensors(user, foreign.tensors, str(weights))
    settings = _settings(options, user)
    model = _build(network, settings, tensors)
    shown = list(images) or _generated()
    effect = None
    if network.norm == FROZEN.kind:
        notify("computing what the eps of the frozen norms changes")
        effect = effect_of_eps(model, class_names, [one.image for one in shown[:EFFECT_IMAGES]])
        notify(effect.summary())
    eps, reason = _choose_eps(weights, foreign.tensors, network, effect, options, user)
    model = _build(network, {**settings, "norm_eps": eps}, tensors)
    report = None
    if user is not None:
        check_settings(user, model)
        notify(f"comparing with {options.verify_against} on {len(shown)} images")
        report = verify_import(user, model, class_names, shown)
    header = CheckpointHeader.of(
        model,
        architecture=network.architecture,
        class_names=class_names,
        imported={
            "file": weights.name,
            "sha256": sha256_of(weights),
            "entry": foreign.entry,
            "norm_eps": reason,
            "verified": _verdict(options.verify_against, report),
        },
    )
    save_checkpoint(output, model, header)
    return ImportResult(
        path=output,
        header=header,
        network=network,
        eps_reason=reason,
        effect=effect,
        report=report,
        notes=(*foreign.notes, *notes),
    )


def _check_output(weights: Path, output: Path) -> None:
    if output.suffix != SUFFIX:
        raise InputError(f"output: expected a name that ends in {SUFFIX}, found {output.name!r}")
    if output.is_dir():
        raise InputError(f"output: expected a file, found the folder {output}")
    if output.exists() and weights.exists() and output.samefile(weights):
        raise InputError(f"output: expected another file than {weights}, which would be replaced")


def _class_names(names: tuple[str, ...] | None, labels: int, source: Path) -> tuple[str, ...]:
    """One name per label, background first; placeholders where none were given."""
    if names is None:
        people = ("person",) if labels == 2 else tuple(f"class{i}" for i in range(1, labels))
        return ("background", *people)
    if len(names) == labels and names[0].strip("_").lower() == "background":
        names = names[1:]
    if len(names) != labels - 1:
        raise InputError(
            f"class names: expected {labels - 1} for the labels 1 to {labels - 1} of {source}, "
            f"found {len(names)} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
        )
    if len(set(names)) < len(names) or "background" in names:
        raise InputError(
            f"class names: expected different names, none of them background, found "
            f"{', '.join(names)}"
        )
    return ("background", *names)


def _settings(options: ImportOptions, user: MaskRCNN | None) -> dict[str, Any]:
    """What was asked for, else what the user's own model has, else torchvision's defaults."""
    given = {name: getattr(options, name) for name in _TORCHVISION}
    theirs = settings_of(user) if user is not None else {}
    chosen = {
        name: theirs.get(name, default) if given[name] is None else given[name]
        for name, default in _TORCHVISION.items()
    }
    if any(isinstance(size, tuple) for size in chosen["anchor_sizes"]):
        raise InputError(
            f"verify-against: expected one anchor size per pyramid level, found "
            f"{chosen['anchor_sizes']}"
        )
    for name in ("score_threshold", "nms_threshold"):
        if not 0 <= chosen[name] < 1:
            raise InputError(f"{name}: expected at least 0 and less than 1, found {chosen[name]}")
    if chosen["detections_per_image"] < 1:
        raise InputError(
            f"detections_per_image: expected at least 1, found {chosen['detections_per_image']}"
        )
    return chosen


def _build(network: Network, settings: dict[str, Any], tensors: StateDict) -> MaskRCNN:
    """The network with its weights, in eval mode on the CPU."""
    arguments = dict(settings)
    norm = Norm(network.norm, arguments.pop("norm_eps", DEFAULT_EPS))
    model = assemble(
        ARCHITECTURES[network.architecture],
        num_classes=network.num_classes,
        norm=norm,
        mask_width=network.mask_width,
        **arguments,
    )
    # Counters of trained norms may be missing; the recognition has compared all other names.
    model.load_state_dict(tensors, strict=False)
    return model.eval()


def _choose_eps(
    weights: Path,
    tensors: StateDict,
    network: Network,
    effect: Effect | None,
    options: ImportOptions,
    user: MaskRCNN | None,
) -> tuple[float, str]:
    """The epsilon of the backbone's norms, and why.

    Raises:
        InputError: nothing tells, and it matters.
    """
    if options.norm_eps is not None:
        return options.norm_eps, "given by --norm-eps"
    if user is not None:
        theirs = settings_of(user)["norm_eps"]
        if isinstance(theirs, tuple):
            raise InputError(
                f"verify-against: expected one eps for all norms of the backbone, found {theirs}; "
                "such a network cannot be kept in a checkpoint"
            )
        return theirs, f"read from {options.verify_against}"
    if effect is None:
        return DEFAULT_EPS, f"torch's default for {network.norm.replace('_', ' ')}"
    proven = proven_eps(weights, tensors)
    if proven is not None:
        return proven
    if effect.matters:
        raise ask_for_eps(str(weights), effect)
    return DEFAULT_EPS, "not in the tensors; with 0 the detections are the same here"


def _generated() -> list[NamedImage]:
    """Street scenes with people, where the user has no images at hand."""
    return [
        NamedImage(f"generated street {index}", draw_scene(1, index)[0])
        for index in range(GENERATED)
    ]


def _verdict(target: str | None, report: ParityReport | None) -> dict[str, Any]:
    """For the header: against what, on how much, and the largest differences."""
    if report is None:
        return {}
    return {
        "against": target,
        "images": report.counts.images,
        "detections": report.counts.matched,
        **{field.name: field.max for field in report.fields},
    }
