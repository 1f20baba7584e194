"""What goes into a run and what comes out: images stacked, outputs checked and split by image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import ArtifactError, InputError
from ..images import Source
from .manifest import Manifest, output_specs

# boxes, labels, scores, roi_masks or masks, image_index: `manifest.output_specs` has dtypes and
# shapes. The fourth is float32 or uint8, by the manifest's mask format.
Outputs = tuple[
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.float32],
    NDArray[Any],
    NDArray[np.int64],
]


def require_image_list(images: Iterable[Source]) -> Iterable[Source]:
    """The argument itself, unless it is one image: its rows or letters would pass for images."""
    if isinstance(images, np.ndarray):
        is_one = images.ndim != 4
    else:
        is_one = isinstance(images, str | bytes) or not isinstance(images, Iterable)
    if is_one:
        raise InputError(
            f"images: expected a list of images, found one {type(images).__name__}; "
            "call segmenter(image) for a single image"
        )
    return images


def stack_images(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Images [H, W, 3] of one size as [N, H, W, 3]; a single one is not copied."""
    return images[0][None] if len(images) == 1 else np.stack(images)


def group_by_size(
    sizes: Sequence[tuple[int, ...]], batch_size: int, max_pixels: int | None = None
) -> list[list[int]]:
    """Indices of images that can share a run: equal sizes, order kept.

    Groups come in the order of their first image.

    Args:
        sizes: (height, width) of each image; further dimensions do not count as pixels.
        batch_size: most images in a group.
        max_pixels: most pixels in a group of several; None sets no limit.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(sizes):
        by_size.setdefault(size, []).append(index)
    groups = []
    for (height, width, *_), indices in by_size.items():
        most = batch_size
        if max_pixels is not None:
            most = max(1, min(batch_size, max_pixels // max(1, height * width)))
        groups += [indices[start : start + most] for start in range(0, len(indices), most)]
    return sorted(groups)


def check_outputs(outputs: Outputs, shape: tuple[int, ...], manifest: Manifest) -> None:
    """Refuse outputs that break the artifact's contract rather than hand on nonsense.

    Args:
        outputs: what a backend returned, see `manifest.output_specs`.
        shape: of the images, [N, H, W, 3].
        manifest: what the artifact promises.

    Raises:
        ArtifactError: a wrong dtype or shape, values that are not finite or not 0 and 1, labels
            without a name, or images out of order.
    """
    arrays: tuple[NDArray[Any], ...] = outputs
    specs = output_specs(manifest.mask_format)
    if len(arrays) != len(specs):
        raise _broken(f"{len(specs)} outputs", str(len(arrays)))
    sizes = {"D": len(outputs[0]), "H": shape[1], "W": shape[2]}
    for array, spec in zip(arrays, specs, strict=True):
        expected = tuple(sizes.get(size, size) for size in spec["shape"])
        if array.dtype != spec["dtype"] or array.shape != expected:
            raise _broken(
                f"{spec['name']} of {spec['dtype']} {list(expected)}",
                f"{array.dtype} {list(array.shape)}",
            )
    if sizes["D"]:
        _check_values(outputs, shape[0], manifest)


def split_outputs(outputs: Outputs, shape: tuple[int, ...], manifest: Manifest) -> list[Detections]:
    """One `Detections` per image from checked outputs for images of `shape` [N, H, W, 3]."""
    boxes, labels, scores, masks, image_index = outputs
    is_full = manifest.mask_format == "full"
    edges = np.searchsorted(image_index, np.arange(shape[0] + 1))
    return [
        Detections(
            boxes=boxes[start:end],
            labels=labels[start:end],
            scores=scores[start:end],
            roi_masks=None if is_full else masks[start:end],
            full_masks=masks[start:end] if is_full else None,
            image_size=(shape[1], shape[2]),
            class_names=manifest.class_names,
        )
        for start, end in itertools.pairwise(edges)
    ]


def _check_values(outputs: Outputs, image_count: int, manifest: Manifest) -> None:
    """The part of `check_outputs` that needs at least one detection."""
    boxes, labels, scores, masks, image_index = outputs
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise _broken("finite boxes and scores", "NaN or infinity")
    if labels.min() < 1 or labels.max() >= len(manifest.class_names):
        raise _broken(
            f"labels 1 to {len(manifest.class_names) - 1}", f"{labels.min()} to {labels.max()}"
        )
    if image_index[0] < 0 or image_index[-1] >= image_count or (np.diff(image_index) < 0).any():
        raise _broken(f"image_index ascending in 0 to {image_count - 1}", str(image_index.tolist()))
    if manifest.mask_format == "full" and masks.max() > 1:
        raise _broken("masks of 0 and 1", str(masks.max()))


def _broken(expected: str, found: str) -> ArtifactError:
    return ArtifactError(
        f"outputs: expected {expected}, found {found}; the artifact is not what its manifest says, "
        "export the checkpoint again with pedseg-export"
    )
