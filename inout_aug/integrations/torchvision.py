"""Pasters as a torchvision v2 transform: masks, boxes and labels follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2

from inout_aug import containers
from inout_aug.detection import find_detection
from inout_aug.labels import LabelRule
from inout_aug.layout import Layout, infer_layout
from inout_aug.plugin import HostRefused, Paster
from inout_aug.sample import Mask, Origin, Sample
from inout_aug.seeding import stream


class PasteDefect(v2.Transform):  # type: ignore[misc]  # torchvision publishes no types
    """Paints a synthetic defect on a sample, in any `v2.Compose`; its mask, boxes and labels follow.

    A sample is an image alone, or a tuple, dict or dataclass of an image and what belongs to it: a mask, a label, or a
    detection target, which gets a box for each piece of the defect after the boxes it has. Images are tv_tensors,
    tensors, PIL images or arrays, uint8 or floats in [0, 1]: put the transform before `v2.Normalize`. Masks hold class
    ids; for others give `layout=Fields(..., mask_value=255)`. The randomness is torch's, as that of all v2 transforms.
    A host that the paster refuses, as one of a single colour may be, is left as it is.

    Args:
        paster: What paints.
        positive_label: Label that a painted sample and new boxes get, or a label for each defect class; None for the
            defect class itself.
        layout: How samples are read, where it cannot be told.
        p: How often a defect is painted.

    Raises:
        TypeError: `paster` is none.
        ValueError: `p` is no probability.

    Example:
        >>> from torchvision import tv_tensors
        >>> from inout_aug import MemSegPaste
        >>> image = tv_tensors.Image(torch.randint(256, (3, 64, 96), dtype=torch.uint8))
        >>> boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYWH", canvas_size=(64, 96))
        >>> transform = v2.Compose([PasteDefect(MemSegPaste(), p=1), v2.RandomHorizontalFlip()])
        >>> _, target = transform(image, {"boxes": boxes, "labels": torch.zeros(0, dtype=torch.int64)})
        >>> len(target["boxes"]) == len(target["labels"]) > 0
        True
    """

    def __init__(
        self,
        paster: Paster,
        *,
        positive_label: int | dict[int, int] | None = None,
        layout: Layout | None = None,
        p: float = 0.5,
    ) -> None:
        super().__init__()
        if isinstance(paster, type) or not isinstance(paster, Paster):
            raise TypeError(f"paster is an object with make_params and apply, as MemSegPaste(); got {paster!r}")
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability; got {p!r}")
        self.paster, self.positive_label, self.layout, self.p = paster, positive_label, layout, p

    def forward(self, *inputs: Any) -> Any:
        """Return the sample, painted or as it is.

        Raises:
            AmbiguousLayout: What the image, mask and label are cannot be told.
            ValueError: The image is not as it must be, as where it is normalised.
        """
        item = inputs if len(inputs) > 1 else inputs[0]
        if torch.rand(1) >= self.p:
            return item
        return self.transform(item, self.make_params([item]))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the seed of the paster's parameters from torch's generator."""
        return {"seed": int(torch.randint(2**62, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Paint; pure."""
        if containers.is_spatial(inpt):
            host = Sample(containers.decode_image(inpt))
            painted = self._painted(host, params)
            return inpt if painted is None else containers.encode_image(painted.image, inpt, None, painted.mask)
        layout = self.layout or find_detection(inpt, denormalize=None, defaults=None) or infer_layout(inpt)
        host = layout.unpack(inpt)
        painted = self._painted(host, params)
        if painted is None:
            return inpt
        if host.mask is not None:
            painted = replace(painted, mask=_merged(painted, host))
        return layout.pack(painted, inpt)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.paster!r}, positive_label={self.positive_label}, p={self.p}"

    def _painted(self, host: Sample, params: dict[str, Any]) -> Sample | None:
        """Return the painted sample; None where the paster refuses the host."""
        try:
            drawn = self.paster.make_params(host.image, stream(params["seed"]))
            image, mask = self.paster.apply(host.image, drawn)
        except HostRefused:
            return None
        kind = int(getattr(self.paster, "defect_class", 1))
        label = kind if self.positive_label is None else LabelRule(0, self.positive_label).label_of(kind)
        return Sample(image, mask, label, Origin(generator=type(self.paster).__name__, params=drawn, host=0))


def _merged(painted: Sample, host: Sample) -> Mask:
    """Return the new defect's mask with that of older ones where it is not."""
    new, old = np.asarray(painted.mask), np.asarray(host.mask)
    return np.where(new > 0, new, old)
