"""How many images share a run, and what becomes of the others when one of them fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from .artifact.tensors import require_image_list
from .detections import Detections
from .errors import InputError, first_line
from .images import Source

logger = logging.getLogger(__name__)

_ON_CPU = ("CPUExecutionProvider", "torch:cpu", "openvino:CPU")
_BATCH_SIZE = 8  # elsewhere

OnError = Literal["raise", "return"]
Item = TypeVar("Item")
Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=BaseException)


def runs_on_cpu(provider: str) -> bool:
    """Whether a provider, see `Segmenter`, computes on the CPU."""
    return provider in _ON_CPU


def usual_batch_size(provider: str, static_shape: tuple[int, int, int] | None = None) -> int:
    """Most images in a run where the caller leaves it open.

    A graph of a fixed shape (N, H, W) takes N. On a CPU it is one: one image keeps all cores
    busy already, a batch needs its memory many times over, and takes no less time per image (see
    docs/embedding.md).
    """
    if static_shape is not None:
        return static_shape[0]
    return 1 if runs_on_cpu(provider) else _BATCH_SIZE


def read_each(
    read: Callable[[Source, str], NDArray[np.uint8]], images: Iterable[Source], on_error: OnError
) -> tuple[dict[int, NDArray[np.uint8]], dict[int, Detections | Exception]]:
    """Read a list of images.

    Args:
        read: reads one, given its name.
        images: the list.
        on_error: "raise" the first error, or "return" all of them.

    Returns:
        By position in the list the images that could be read, and the errors of the others.
    """
    if on_error not in ("raise", "return"):
        raise InputError(f"on_error: expected 'raise' or 'return', found {on_error!r}")
    arrays: dict[int, NDArray[np.uint8]] = {}
    errors: dict[int, Detections | Exception] = {}
    for index, image in enumerate(require_image_list(images)):
        try:
            arrays[index] = read(image, f"image {index}")
        except Exception as error:  # any: it is this image's
            if on_error == "raise":
                raise
            errors[index] = error
    return arrays, errors


def run_isolated(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], Sequence[Result]],
    *,
    catch: type[Failure],
) -> list[Result | Failure]:
    """Run items together, and each alone if that fails, to find out which of them is at fault.

    Args:
        items: at least one.
        run: one result per item.
        catch: the errors that are an item's own; others are raised.

    Returns:
        Per item its result, or the error that it alone fails with.
    """
    try:
        return list(run(items))
    except catch as error:
        if len(items) == 1:
            return [error]
        logger.warning(
            "a batch of %d images failed, trying each alone: %s: %s",
            len(items),
            type(error).__name__,
            first_line(error),
        )
    return [outcome for item in items for outcome in run_isolated([item], run, catch=catch)]
