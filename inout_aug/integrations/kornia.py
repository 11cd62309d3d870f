"""Pasters as a kornia augmentation: masks and boxes follow."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from inout_aug import containers
from inout_aug.boxes import boxes_of, pieces
from inout_aug.paste.batch import BatchPaste
from inout_aug.plugin import HostRefused, Paster
from inout_aug.seeding import stream

try:
    from kornia.augmentation import IntensityAugmentationBase2D
    from kornia.geometry.boxes import Boxes
except ImportError as error:
    raise ImportError("this module needs kornia: pip install 'inout-aug[kornia]'") from error


class PasteDefect(IntensityAugmentationBase2D):
    """Paints synthetic defects on a batch, alone or in an `AugmentationSequential`; masks and boxes follow.

    With a `BatchPaste` the whole batch is painted at once on its device; any other paster paints sample by sample on
    the CPU. Masks get the defect's class. Boxes get one for each piece of the defect after those that are there, in
    kornia's convention, where the edges of `bbox_xyxy` lie on the last pixels; dense boxes are filled up with zeros.
    kornia hands class labels past its augmentations: turn them positive with `relabel`. The randomness is torch's, and
    the recorded parameters replay a batch. Images are floats in [0, 1]: normalise them afterwards.

    Args:
        paster: What paints: `BatchPaste(share=1)`, or any `Paster`.
        mask_value: What stands for a defect in masks: 1 for the defect's class, else the one value, as 255.
        min_pixels: Smaller pieces of a defect get no box of their own; the largest always does.
        p: How often a sample is painted.
        same_on_batch: Paint all samples by the same parameters.
        keepdim: Keep the shape of an image without batch axis.

    Raises:
        TypeError: `paster` is none.
        ValueError: `same_on_batch` is asked of a `BatchPaste`, which never repeats itself in a batch.

    Example:
        >>> from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip
        >>> paste = PasteDefect(BatchPaste(share=1), p=0.5)
        >>> augment = AugmentationSequential(paste, RandomHorizontalFlip(), data_keys=["input", "mask"])
        >>> images, masks = augment(torch.rand(8, 3, 64, 64), torch.zeros(8, 1, 64, 64))
        >>> bool((masks.flatten(1).any(1) == paste.relabel(torch.zeros(8)).bool()).all())
        True
    """

    def __init__(
        self,
        paster: Paster | BatchPaste,
        *,
        mask_value: int = 1,
        min_pixels: int = 1,
        p: float = 0.5,
        same_on_batch: bool = False,
        keepdim: bool = False,
    ) -> None:
        if isinstance(paster, type) or not isinstance(paster, Paster | BatchPaste):
            raise TypeError(f"paster is a BatchPaste, or has make_params and apply as MemSegPaste(); got {paster!r}")
        if same_on_batch and isinstance(paster, BatchPaste):
            raise ValueError("a BatchPaste draws for each sample of a batch. Leave out same_on_batch, or give a Paster")
        super().__init__(p=p, same_on_batch=same_on_batch, keepdim=keepdim)
        self.paster = paster
        self.mask_value, self.min_pixels = mask_value, min_pixels

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw a seed for each sample from torch's generator."""
        if self.same_on_batch:
            return {"seed": torch.randint(2**62, (1,)).repeat(batch_shape[0])}
        return {"seed": torch.randint(2**62, (batch_shape[0],))}

    def apply_func(self, in_tensor: Tensor, params: dict[str, Tensor], flags: dict[str, Any] | None = None) -> Any:
        """Paint, and leave the defects in the recorded parameters, where masks and boxes find them."""
        recorded = self._params
        output = super().apply_func(in_tensor, params, flags)
        recorded["defects"] = params["defects"]
        return output

    def apply_transform(
        self, images: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Return the painted batch."""
        chosen = params["batch_prob"] > 0.5
        if isinstance(self.paster, BatchPaste):
            painted, defects = self._at_once(self.paster, images, params["seed"])
            defects = defects * chosen.to(defects.device, defects.dtype)[:, None, None]
        else:
            painted, defects = self._one_by_one(self.paster, images, params["seed"], chosen)
        params["defects"] = defects
        return painted

    def apply_transform_mask(
        self, masks: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Return the masks with the defects in them.

        Raises:
            ValueError: They have several values per pixel.
        """
        if masks.shape[1] != 1:
            raise ValueError(f"masks have one value per pixel, shape (B, 1, H, W); got {tuple(masks.shape)}")
        defects = params["defects"][:, None].to(masks.device, masks.dtype)
        value = defects if self.mask_value == 1 else torch.full_like(defects, self.mask_value)
        return torch.where(defects > 0, value, masks)

    def transform_boxes(
        self,
        input: Boxes,  # noqa: A002  # its name in kornia
        params: dict[str, Tensor],
        flags: dict[str, Any],
        transform: Tensor | None = None,
        **kwargs: Any,
    ) -> Boxes:
        """Return the boxes with those of the defects after them."""
        defects = params["defects"].cpu().numpy()
        found = [pieces(defect, self.min_pixels) if defect.any() else [] for defect in defects]
        if not any(found):
            return input
        size = defects.shape[1:]
        new = [torch.from_numpy(boxes_of(some, "xywh", size)).to(input.device, input.dtype) for some in found]
        return input.merge(Boxes.from_tensor(new, mode="xywh", validate_boxes=False))

    def relabel(self, labels: Tensor, positive_label: int = 1) -> Tensor:
        """Return the labels of the last batch, positive where it was painted.

        Args:
            labels: (B,).
            positive_label: Label of painted samples.
        """
        painted = (self._params["defects"] > 0).flatten(1).any(1).to(labels.device)
        return torch.where(painted, torch.full_like(labels, positive_label), labels)

    def _at_once(self, paste: BatchPaste, images: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        size = (len(images), *images.shape[2:])
        normal = torch.full((len(images),), paste.normal_label, device=images.device)
        masks = torch.zeros(size, dtype=torch.uint8, device=images.device)
        if not len(images):
            return images, masks
        painted, _, masks = paste(images, normal, masks, draws=paste.draw(images, key=(0, int(seeds[0]))))
        return painted, masks

    def _one_by_one(self, paster: Paster, images: Tensor, seeds: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        painted = images.clone()
        defects = torch.zeros((len(images), *images.shape[2:]), dtype=torch.uint8)
        for index in torch.nonzero(chosen)[:, 0].tolist():
            host = containers.decode_image(images[index])
            try:
                image, mask = paster.apply(host, paster.make_params(host, stream(int(seeds[index]))))
            except HostRefused:  # left as it is, as one of a single colour may be
                continue
            painted[index] = cast(Tensor, containers.encode_image(image, images[index], None, mask))
            defects[index] = torch.from_numpy(mask)
        return painted, defects.to(images.device)
