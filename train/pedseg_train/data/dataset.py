"""Datasets for torch: images of any layout with the targets of torchvision's tutorial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors

from pedseg_runtime.errors import DatasetError

from .coco.images import CocoImages
from .loading import open_images
from .pennfudan import PennFudanImages
from .protocol import Dropped, ImageAnnotations, Instances, LabelledImages, Target

Transform = Callable[[torch.Tensor, Target], tuple[torch.Tensor, Target]]


class InstanceDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Labelled images as a torch dataset; a `SegmentationDataset`.

    `dataset[i]` is `(image, target)`, both passed through `transform`. Before it, the image is a
    `tv_tensors.Image` uint8 [3, H, W] RGB and the target holds, for N instances:

        boxes     `tv_tensors.BoundingBoxes` float32 [N, 4], x1 y1 x2 y2 in pixels; taken from the
                  mask, whatever box the annotation names. In the Penn-Fudan layout x2 and y2 are
                  the last pixel that belongs to the instance, as in the tutorial; in COCO they are
                  the mask's right and bottom edge, one further
        labels    int64 [N], positions in `class_names`, from 1
        masks     `tv_tensors.Mask` uint8 [N, H, W], 0 or 1
        image_id  int, the position among all images, whatever `indices` says
        area      float32 [N], square pixels: of the box in the Penn-Fudan layout, as in the
                  tutorial; the annotation's own in COCO, or the mask's where it has none
        iscrowd   int64 [N], all 0

    An image without instances is fine: N is 0. An instance whose box has no width or height cannot
    be trained on and is left out; `dropped(i)` tells which and why. Crowd regions are no targets to
    train on; `truth(i)` has them.

    Args:
        images: all of them.
        transform: takes and returns `(image, target)`; see `transforms`.
        indices: the positions to keep, in this order; all by default.

    Attributes:
        images: all of them; those of a COCO file know its ids.
        names: the name of every image kept.
        class_names: one name per label, background first.
        box_edge: see `LabelledImages`.

    Raises:
        DatasetError: a bad index; on access, a damaged file or an image of another size than its
            annotation.
    """

    def __init__(
        self,
        labelled_images: LabelledImages,
        *,
        transform: Transform | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        self.labelled_images = labelled_images
        self._transform = transform
        self._ids = _checked_indices(indices, len(labelled_images))
        self.names: tuple[str, ...] = tuple(labelled_images.names[i] for i in self._ids)
        self.class_names: tuple[str, ...] = labelled_images.class_names
        self.box_edge = labelled_images.box_edge

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        pixels, instances = self.sample(index)
        image = tv_tensors.Image(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
        target = _target(instances[instances.has_extent & ~instances.crowd], self._ids[index])
        if self._transform is None:
            return image, target
        return self._transform(image, target)

    def truth(self, index: int) -> Target:
        """The target of image `index` to measure with: no transform, and with crowd regions.

        Like the one to train on, but for the crowd regions, whose `iscrowd` is 1: COCOeval neither
        asks for a detection there nor blames one.
        """
        instances = self.sample(index)[1]
        return _target(instances[instances.has_extent], self._ids[index])

    def annotations(self, index: int) -> ImageAnnotations | None:
        """The annotations of image `index` as its COCO file has them; None in other layouts.

        What COCO data is measured with; the image is not read.
        """
        return self.labelled_images.annotations(self._ids[index])

    def path(self, index: int) -> Path:
        """The file of image `index`."""
        return self.labelled_images.path(self._ids[index])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Image `index` without transforms, uint8 [H, W, 3] RGB."""
        return self.labelled_images.image(self._ids[index])

    def sample(self, index: int) -> tuple[NDArray[np.uint8], Instances]:
        """Image `index`, uint8 [H, W, 3] RGB, and all its instances, crowd regions among them."""
        return self.labelled_images.sample(self._ids[index])

    def masks(self, index: int) -> NDArray[np.bool_]:
        """Every instance of image `index`, bool [N, H, W], without crowd regions."""
        return self._instances(index).masks

    def labels(self, index: int) -> NDArray[np.int64]:
        """The label of each of `masks(index)`, int64 [N]."""
        return self._instances(index).labels

    def dropped(self, index: int) -> tuple[Dropped, ...]:
        """The annotations of image `index` that are in no target, with their ids."""
        return self.labelled_images.dropped(self._ids[index])

    def digest(self) -> dict[str, str]:
        """SHA-256 of the whole dataset, whatever `indices` says; reads every file."""
        return self.labelled_images.digest()

    def _instances(self, index: int) -> Instances:
        found = self.sample(index)[1]
        return found[~found.crowd]


class PennFudanDataset(InstanceDataset):
    """A folder in the Penn-Fudan layout; arguments and errors as for `open_dataset`.

    Attributes:
        root: the folder that holds PNGImages and PedMasks.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        categories: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        transform: Transform | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        images = PennFudanImages(root, categories=categories, class_names=class_names)
        super().__init__(images, transform=transform, indices=indices)
        self.root = images.root


class CocoDataset(InstanceDataset):
    """A COCO JSON file; arguments and errors as for `open_dataset`.

    Attributes:
        file: the COCO JSON file.
        image_ids: the id of every image kept, in the file.
        category_ids: the id of every label's category in the file; None for the background, and
            for classes that the file lacks.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        categories: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        images: str | Path | None = None,
        transform: Transform | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        labelled = CocoImages(file, categories=categories, class_names=class_names, images=images)
        super().__init__(labelled, transform=transform, indices=indices)
        self.file, self.category_ids = labelled.file, labelled.category_ids
        self.image_ids = tuple(labelled.image_ids[i] for i in self._ids)


def open_dataset(
    path: str | Path,
    *,
    categories: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    transform: Transform | None = None,
    indices: Sequence[int] | None = None,
) -> InstanceDataset:
    """Open a dataset of any layout, see `open_images`.

    Args:
        path: a folder in the Penn-Fudan layout, a COCO JSON file, or a folder that holds one.
        categories: the names of the categories to keep; all by default. Labels count from 1 in the
            order of the category ids.
        class_names: a model's class names, background first, instead of `categories`: labels are
            positions in it, so that model and truth speak of the same classes.
        class_map: other names for categories, by the dataset's own; several may become one.
            Everything else goes by the new names.
        images: the folder of a COCO file's images, if they lie neither beside it nor in `images`.
        transform: takes and returns `(image, target)`; see `transforms`.
        indices: the positions to keep, in this order; all by default.

    Raises:
        DatasetError: nothing of a known layout, or a dataset that cannot be used; the message names
            file and id.
    """
    labelled = open_images(
        path, categories=categories, class_names=class_names, class_map=class_map, images=images
    )
    return InstanceDataset(labelled, transform=transform, indices=indices)


def _checked_indices(indices: Sequence[int] | None, count: int) -> tuple[int, ...]:
    if indices is None:
        return tuple(range(count))
    outside = [index for index in indices if not 0 <= index < count]
    if outside:
        raise DatasetError(
            f"expected indices from 0 to {count - 1}, found {outside[0]}; was the split made for "
            "another dataset?"
        )
    return tuple(indices)


def _target(instances: Instances, image_id: int) -> Target:
    """The tutorial's target, with the boxes of the layout."""
    size = (int(instances.masks.shape[1]), int(instances.masks.shape[2]))
    edges = np.array([0, 0, instances.edge, instances.edge])
    boxes = torch.from_numpy((instances.boxes + edges).astype(np.float32))
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
        "labels": torch.from_numpy(instances.labels.copy()),
        "masks": tv_tensors.Mask(torch.from_numpy(instances.masks.astype(np.uint8))),
        "image_id": image_id,
        "area": torch.from_numpy(instances.areas.astype(np.float32)),
        "iscrowd": torch.from_numpy(instances.crowd.astype(np.int64)),
    }
