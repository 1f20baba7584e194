"""The named recipes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .recipe import Recipe

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # https://docs.pytorch.org/tutorials/intermediate/torchvision_tutorial.html
        "tutorial": Recipe(),
        # The tutorial's network and time. Tuned on 120 photographs, MobileNetV2 at 400 pixels:
        # steps of one image and the cosine gained most, a higher rate lost.
        "default": Recipe(
            preset="default",
            epochs=10,
            batch_size=1,
            optimizer="adamw",
            lr=3e-4,
            weight_decay=0.02,
            norm_decay=False,
            ema=0.995,
            schedule="cosine",
            lr_final=0.01,
            warmup=30,
            box_batch=128,
            proposals=1000,
            scale_min=0.75,
            scale_max=1.33,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            hue=0.02,
        ),
        # Learns generated scenes from random weights within minutes on two CPU cores.
        "smoke": Recipe(
            preset="smoke",
            architecture="maskrcnn_resnet10_fpn_lite",
            weights="none",
            min_size=192,
            max_size=320,
            anchor_sizes=(16, 32, 64, 128, 256),
            box_batch=128,
            proposals=200,
            epochs=9,
            batch_size=4,
            workers=0,
            optimizer="adamw",
            lr=2e-3,
            weight_decay=0.01,
            lr_step=3,
            lr_gamma=0.35,
            warmup=20,
        ),
    }
)
