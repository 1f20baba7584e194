"""A client of an ONNX artifact without pedseg: onnxruntime and numpy, and Pillow to read images.

    python plain_onnxruntime.py pedseg.onnx street.jpg --score 0.5 --masks masks/
    python plain_onnxruntime.py pedseg.onnx --manifest

One line of JSON per detection goes to standard output. The contract is explained in
docs/artifact.md. `pedseg_runtime.Segmenter` does the same and more: it replays the artifact's
self-test, explains what is wrong with a GPU, and encodes masks without full frames.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def load(path: Path, device: str) -> tuple[Any, dict[str, Any]]:
    """The session and the manifest of an artifact that is what was exported."""
    content = path.read_bytes()
    if content[-64:] != hashlib.sha256(content[:-64]).hexdigest().encode():
        raise SystemExit(f"{path}: damaged, edited or no artifact: its checksum does not match")
    session = ort.InferenceSession(content, providers=[CPU])
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["pedseg_manifest"])
    if device == "cuda":
        # Without TF32 float32 stays float32; half precision would lose its tensor cores with it.
        tf32 = "0" if manifest["precision"] == "fp32" else "1"
        options = {"use_tf32": tf32, "cudnn_conv_algo_search": "HEURISTIC"}
        session.set_providers([(CUDA, options), CPU])
        if session.get_providers()[0] == CPU:  # onnxruntime falls back silently
            raise SystemExit("CUDA was asked for and does not run: see this machine's CUDA, cuDNN")
    return session, manifest


def read(path: Path) -> np.ndarray:
    """An image as the contract wants it: uint8 [H, W, 3] RGB, upright, black 0 and white 255."""
    with Image.open(path) as image:
        tags = getattr(image, "tag_v2", {})  # of a TIFF
        upright = ImageOps.exif_transpose(image)
        is_unsigned = tags.get(339, (1,))[0] == 1
        if image.mode[0] not in "IF" and is_unsigned:
            return np.asarray(upright.convert("RGBA" if "P" in image.mode else "RGB"))[..., :3]
        # Grey of more than 8 bits, which Pillow would cut off at 255 rather than scale.
        bits, white_is_zero = tags.get(258, (16,))[0], bool(tags) and not tags.get(262)
        if image.mode == "F" or bits > 16 or not is_unsigned:
            raise SystemExit(f"{path}: signed, of 32 bits or floats; scale it to 8 bits")
        white = (1 << bits) - 1
        grey = np.asarray(upright).astype(np.uint32)
        grey = ((white - grey if white_is_zero else grey) * 255 + white // 2) // white
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def segment(session: Any, manifest: dict[str, Any], image: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for one image by name, each with D rows, best score first; D may be 0."""
    batch = image[None]
    if manifest["static_shape"]:
        count, *size = manifest["static_shape"]
        if list(image.shape[:2]) != size:
            raise SystemExit(f"expected an image of {size}, found {list(image.shape[:2])}")
        batch = np.repeat(batch, count, axis=0)  # a full batch; all answers but the first go
    names = [output["name"] for output in manifest["outputs"]]
    outputs = dict(zip(names, session.run(names, {"images": batch}), strict=True))
    own = outputs.pop("image_index") == 0
    return {name: values[own] for name, values in outputs.items()}


def paste(soft: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """A soft mask [28, 28] in the frame of its box -> bool [height, width], as torchvision does.

    The mask gets a border of zeros, the box grows with it and is cut to integers, and the mask is
    resized to it: rows @ mask @ columns, where each row of a matrix weighs two neighbours.
    """
    size = len(soft) + 2
    centre, half = (box[2:] + box[:2]) / 2, (box[2:] - box[:2]) / 2 * np.float32(size / len(soft))
    first, last = (centre - half).astype(np.int64), (centre + half).astype(np.int64)

    def weights(start: int, end: int, limit: int) -> tuple[slice, np.ndarray]:
        pixels = np.arange(max(start, 0), max(min(end + 1, limit), start, 0))
        at = np.maximum((pixels - start + 0.5) * size / (end - start + 1) - 0.5, 0)
        distance = np.abs(np.minimum(at, size - 1)[:, None] - np.arange(size))
        return slice(max(start, 0), max(start, 0) + len(pixels)), np.maximum(1 - distance, 0)

    rows, down = weights(first[1], last[1], height)
    columns, across = weights(first[0], last[0], width)
    mask = np.zeros((height, width), np.bool_)
    mask[rows, columns] = down @ np.pad(soft, 1) @ across.T >= 0.5
    return mask


def main() -> None:
    """Segment images, or show what the artifact says of itself."""
    parser = argparse.ArgumentParser(description="an artifact of pedseg by onnxruntime alone")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--score", type=float, default=0.5, help="show detections above it")
    parser.add_argument("--masks", type=Path, help="write every mask as a PNG into this folder")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--manifest", action="store_true", help="print the manifest and stop")
    options = parser.parse_args()
    session, manifest = load(options.artifact, options.device)
    if options.manifest:
        json.dump(manifest, sys.stdout, indent=2)
        return
    for path in options.images:
        image = read(path)
        found = segment(session, manifest, image)
        for index in np.flatnonzero(found["scores"] > options.score):
            if manifest["mask_format"] == "full":
                mask = found["masks"][index] > 0
            else:
                mask = paste(found["roi_masks"][index], found["boxes"][index], *image.shape[:2])
            if options.masks:
                options.masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(options.masks / f"{path.stem}_{index}.png")
            detection = {
                "image": path.name,
                "class": manifest["class_names"][found["labels"][index]],
                "score": float(found["scores"][index]),
                "box": found["boxes"][index].tolist(),
                "mask_pixels": int(mask.sum()),
            }
            print(json.dumps(detection))


if __name__ == "__main__":
    main()
