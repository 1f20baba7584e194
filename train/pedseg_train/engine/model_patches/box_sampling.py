"""Which anchors and proposals a step learns from, drawn by seeds of their own, and how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler


class SeededSampler:
    """Torchvision's sampler with one seed per image, so that an image's draw is its own.

    In which process an image is trained on, and beside which others, then does not matter.

    Attributes:
        seeds: one per image of the next call.
        positives, total: boxes that the last call chose, over all images.
    """

    def __init__(self, sampler: BalancedPositiveNegativeSampler) -> None:
        self._size: int = sampler.batch_size_per_image
        self._positives = int(self._size * sampler.positive_fraction)
        self._generators: dict[torch.device, torch.Generator] = {}
        self.seeds: Sequence[int] = ()
        self.positives = self.total = 0

    def __call__(
        self, matched_idxs: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Choose among the boxes of each image.

        Args:
            matched_idxs: per image [B]: 1 or more for positives, 0 for negatives, else -1.

        Returns:
            Per image uint8 [B], 1 at the chosen positives; the same for the chosen negatives.
        """
        chosen: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        self.positives = self.total = 0
        for matched, seed in zip(matched_idxs, self.seeds, strict=True):
            generator = self._generator(matched.device).manual_seed(seed)
            positive = torch.where(matched >= 1)[0]
            negative = torch.where(matched == 0)[0]
            most = min(len(positive), self._positives)
            counts = (most, min(len(negative), self._size - most))
            for masks, places, count in zip(chosen, (positive, negative), counts, strict=True):
                order = torch.randperm(len(places), generator=generator, device=matched.device)
                mask = torch.zeros_like(matched, dtype=torch.uint8)
                mask[places[order[:count]]] = 1
                masks.append(mask)
            self.positives += counts[0]
            self.total += sum(counts)
        return chosen

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
        return self._generators[device]


class BoxSampling:
    """The two samplers of a network, and what each loss is the mean of."""

    def __init__(self, model: MaskRCNN) -> None:
        self._rpn = SeededSampler(model.rpn.fg_bg_sampler)
        self._heads = SeededSampler(model.roi_heads.fg_bg_sampler)
        model.rpn.fg_bg_sampler = self._rpn
        model.roi_heads.fg_bg_sampler = self._heads

    def seed(self, seeds: Sequence[int]) -> None:
        """Set the seeds of the next batch's images."""
        self._rpn.seeds = self._heads.seeds = seeds

    def counts(self) -> Mapping[str, int]:
        """For every loss of the last batch: the number of boxes that it was the mean over."""
        return {
            "loss_classifier": self._heads.total,
            "loss_box_reg": self._heads.total,
            "loss_mask": self._heads.positives,
            "loss_objectness": self._rpn.total,
            "loss_rpn_box_reg": self._rpn.total,
        }
