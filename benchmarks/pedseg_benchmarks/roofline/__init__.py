"""The roofline: how close a contender comes to the machine's peak rate.

`work` counts the operations of the model on one image, `PeakRateMeter` measures how many a second
the machine performs, and `roofline` divides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torchvision.models.detection import MaskRCNN

from ..contenders import Image
from ..results import ContenderResult
from ..scenario_results import Limit, Machine
from .machine import PeakRateMeter
from .work import count_work, per_unit

__all__ = ["PeakRateMeter", "roofline"]


def roofline(
    model: MaskRCNN,
    images: Sequence[Image],
    rows: Sequence[ContenderResult],
    machine: Machine,
) -> list[Limit]:
    """The share of the machine's peak rate that every timed contender reaches, image by image.

    Args:
        model: the eager model in eval mode, on any device; it runs once on every image.
        images: uint8 [H, W, 3] RGB each, the ones that the rows were measured on, in that order.
        rows: the contenders; those without times are left out.
        machine: its own rates, measured beside the contenders.

    Returns:
        Per image, one row for each contender that was timed.
    """
    unit = per_unit(model)
    rates = []
    for position, image in enumerate(images):
        work = count_work(model, image, unit)
        for row in rows:
            if row.latency is None:
                continue
            median_ms = float(np.median([sample[position] for sample in row.samples_ms]))
            gflop = work.flop(row.detections[position]) / 1e9
            gflops = gflop / (median_ms / 1e3)
            rates.append(
                Limit(
                    contender=row.name,
                    height=image.shape[0],
                    width=image.shape[1],
                    detections=row.detections[position],
                    gflop=gflop,
                    gflops=gflops,
                    share=gflops / machine.matmul_gflops,
                )
            )
    return rates
