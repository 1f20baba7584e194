"""The inference graph: a trained torchvision Mask R-CNN with the artifact's contract around it.

The stages in order: preprocessing (pixels -> network input), backbone (-> feature pyramid),
proposals (one NMS per image and level), box head (-> detections), mask head, and for full masks
pasting. `model` connects them.

The modules hold copies of the eager model's submodules and rewrite only the steps that do not
export, do not batch, or waste work. The same code runs eagerly, is traced by `torch.export`, and
is compiled by TorchScript.
"""

from .model import InferenceGraph

__all__ = ["InferenceGraph"]
