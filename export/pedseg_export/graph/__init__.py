"""The inference graph: a trained torchvision Mask R-CNN with the artifact's contract around it.

    preprocessing   pixels -> the network's input
    trunk           the network's input -> feature pyramid
    proposals       pyramid -> proposals, one NMS per (image, level)
    model           proposals -> detections -> masks, and the whole in order
    pyramid, suppression, boxes, normalisation, sizes: the steps they share

The modules hold the eager model's own submodules and re-express only the steps that do not
export, do not batch, or waste work. The same code runs eagerly, is traced by `torch.export`, and
is compiled by TorchScript.
"""

from .model import InferenceGraph

__all__ = ["InferenceGraph"]
