"""The process that `cold_start` starts: it imports, loads and answers as a fresh service does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..memory import process_peak_rss


def main() -> None:
    """Import, load and answer once; print the moments as JSON, in seconds of the system's clock."""
    order = json.loads(sys.argv[1])
    start = prepare_eager if order["kind"] == "eager" else prepare_artifact
    load = start(order)
    import numpy as np

    image = np.load(order["image"])
    imported = time.time()
    answer = load()
    loaded = time.time()
    answer(image)
    answered = time.time()
    stamps = {"imported": imported, "loaded": loaded, "answered": answered}
    print(json.dumps({**stamps, "peak_rss": process_peak_rss()}))


def prepare_artifact(order: dict[str, Any]) -> Callable[[], Callable[[Any], Any]]:
    """Import the runtime alone; torch comes only if the artifact is one of torch's."""
    from pedseg_runtime import Segmenter

    def load() -> Callable[[Any], Any]:
        segmenter = Segmenter.load(
            order["path"], device=order["device"], threads=order["threads"], self_test=False
        )
        return lambda image: segmenter(image).masks()

    return load


def prepare_eager(order: dict[str, Any]) -> Callable[[], Callable[[Any], Any]]:
    """Import torch and torchvision."""
    import torch

    from pedseg_train.checkpoint import load_checkpoint, with_settings
    from pedseg_train.eager import EagerSegmenter

    torch.set_num_threads(order["threads"])

    def load() -> Callable[[Any], Any]:
        loaded = with_settings(load_checkpoint(Path(order["path"])), **order["settings"])
        return EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device=order["device"]
        )

    return load


if __name__ == "__main__":
    main()
