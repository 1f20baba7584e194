"""The eager reference: torchvision's own forward, one image at a time, as numpy detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.backends.float32 import float32_only
from pedseg_runtime.containers import memory_limit
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DeviceError, InputError
from pedseg_runtime.image_limits import check_resizable


def resolve_device(device: str) -> torch.device:
    """The torch device that `device` ("auto", "cpu", "cuda", "cuda:1") names.

    Raises:
        DeviceError: CUDA was asked for and torch sees no such GPU, or the name is unknown.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(
            f"device: expected auto, cpu, cuda or cuda:N, found {device!r}"
        ) from error
    if found.type not in ("cpu", "cuda"):
        raise DeviceError(f"device: expected auto, cpu, cuda or cuda:N, found {device!r}")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {device!r} was asked for, torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs; install torch for CUDA and check nvidia-smi, "
            "or use --device cpu"
        )
    return found


class EagerSegmenter:
    """Turns images into detections with torchvision's own `MaskRCNN.forward`, in float32.

    This is the reference that artifacts are compared with. Order and number of the detections are
    torchvision's. Not thread-safe: a call registers hooks on the model.

    Args:
        model: the network; put in eval mode on `device`.
        class_names: one name per label, background first.
        device: see `resolve_device`.
        paste: let torchvision paste its masks into full frames. The result is discarded, since
            `Detections` pastes on demand; it only counts in the timing of eager.

    Attributes:
        model: the network, in eval mode on `device`.
        class_names: one name per label, background first.
        device: of the model.
    """

    def __init__(
        self,
        model: MaskRCNN,
        *,
        class_names: tuple[str, ...],
        device: str = "cpu",
        paste: bool = True,
    ) -> None:
        self.device = resolve_device(device)
        self.model = model.to(self.device).float().eval()
        self.class_names = class_names
        self._memory = memory_limit() if self.device.type == "cpu" else None
        self._keep = _copy_roi_masks if paste else _remove_roi_masks

    @property
    def provider(self) -> str:
        """What runs the model, e.g. `torch:cpu`."""
        return f"torch:{self.device}"

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detect in one image, uint8 [H, W, 3] RGB."""
        return self.predict([image])[0]

    def with_noise(self, image: NDArray[np.uint8], *, noise: float, seed: int) -> Detections:
        """Detect in one image, uint8 [H, W, 3] RGB, with noise on the RPN's outputs.

        Detections that change under noise of the size of rounding errors depend on rounding.

        Args:
            image: uint8 [H, W, 3] RGB.
            noise: standard deviation of the noise on the RPN's objectness logits and box deltas
                (fractions of an anchor's size).
            seed: of the noise.
        """
        hook = self.model.rpn.head.register_forward_hook(_add_noise(noise, seed))
        try:
            return self(image)
        finally:
            hook.remove()

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect in several images, uint8 [H, W, 3] RGB each, in one forward.

        torchvision pads all images of a call to one size, so that the results differ slightly from
        those of one image at a time: for throughput, not as the reference.

        Raises:
            InputError: an image has another dtype or shape, or the model's resize rule leaves
                nothing of it or more than memory holds; artifacts refuse the same images.
        """
        for image in images:
            self._check(image)
        tensors = [
            torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1).float() / 255
            for image in images
        ]
        soft_masks: list[torch.Tensor] = []
        hook = self.model.roi_heads.register_forward_hook(self._keep(soft_masks))
        try:
            with float32_only(torch):
                found = self.model(tensors)
        finally:
            hook.remove()
        # Under autocast some outputs are bfloat16, which numpy lacks.
        return [
            Detections(
                boxes=one["boxes"].float().cpu().numpy(),
                labels=one["labels"].cpu().numpy(),
                scores=one["scores"].float().cpu().numpy(),
                roi_masks=masks[:, 0].float().cpu().numpy(),
                image_size=(image.shape[0], image.shape[1]),
                class_names=self.class_names,
            )
            for one, masks, image in zip(found, soft_masks, images, strict=True)
        ]

    def _check(self, image: NDArray[np.uint8]) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(
                f"image: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}"
            )
        transform = self.model.transform
        check_resizable(
            "image",
            (image.shape[0], image.shape[1]),
            transform.min_size[-1],
            transform.max_size,
            memory=self._memory,
        )


def _add_noise(noise: float, seed: int) -> Any:
    """A forward hook that adds noise to all logits and box deltas of an `RPNHead`."""
    random = torch.Generator().manual_seed(seed)

    def perturbed(level: torch.Tensor) -> torch.Tensor:
        return level + noise * torch.randn(level.shape, generator=random).to(level.device)

    def hook(_module: nn.Module, _inputs: Any, result: Any) -> Any:
        return tuple([perturbed(level) for level in levels] for levels in result)

    return hook


def _copy_roi_masks(kept: list[torch.Tensor]) -> Any:
    """A forward hook that keeps the RoI heads' masks [D, 1, 28, 28] before they are pasted."""

    def hook(_module: nn.Module, _inputs: Any, result: Any) -> None:
        detections, _losses = result
        kept.extend(found["masks"] for found in detections)

    return hook


def _remove_roi_masks(kept: list[torch.Tensor]) -> Any:
    """A forward hook that keeps and removes them, which leaves torchvision none to paste."""

    def hook(_module: nn.Module, _inputs: Any, result: Any) -> None:
        detections, _losses = result
        kept.append(detections[0].pop("masks"))

    return hook
