"""NSA: patches of normal images, resized and blended in without a seam (Schlüter et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from inout_aug.paste._colour import full_scale, to_levels, with_channels
from inout_aug.paste._options import as_defect_class, as_number, as_range, digest
from inout_aug.paste._poisson import Floats, poisson_change
from inout_aug.plugin import HostRefused
from inout_aug.sample import Image, Mask, Params, check_image


class NSA:
    """Blends resized patches of the host, or of other normal images, into the host by Poisson editing.

    After Schlüter, Tan, Hou and Kainz, "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and
    Localization", ECCV 2022: sides follow a gamma distribution, every further patch is a coin flip, and the mask is
    where the blend differs visibly from the host. Blending is exact in grey and in 16 bit too.

    Args:
        sources: Normal images to take patches from, of any size, channels and bits; without any, the host itself.
        patches: At most this many.
        side: Smallest and largest height and width of a patch, as a share of the host's. In between, twice
            0.03 + Gamma(shape 2, scale 0.05).
        scale: Smallest and largest magnification of a patch; in between, Normal(1, 0.5).
        mixed: Keep the stronger of the host's and the patch's gradients.
        visible: Least change that counts as defect, as a share of full scale; smaller changes are undone.
        defect_class: Value of the mask inside.

    Raises:
        ValueError: A range is empty or out of bounds.
        TypeError: A source is not an image.

    Example:
        >>> host = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        >>> paster = NSA(patches=1)
        >>> image, mask = paster.apply(host, paster.make_params(host, np.random.default_rng(1)))
        >>> bool((image == host)[mask == 0].all()), bool((image == host)[mask == 1].all())
        (True, False)
    """

    def __init__(
        self,
        *,
        sources: Sequence[Image] = (),
        patches: int = 3,
        side: float | tuple[float, float] = (0.06, 0.8),
        scale: float | tuple[float, float] = (0.7, 1.3),
        mixed: bool = False,
        visible: float = 0.02,
        defect_class: int = 1,
    ) -> None:
        for source in sources:
            check_image(source)
        if isinstance(patches, bool) or not isinstance(patches, int) or patches < 1:
            raise ValueError(f"patches is the largest number of patches, an integer of at least 1; got {patches!r}")
        self.sources = tuple(sources)
        self.patches = patches
        self.side = as_range("side", side, low=0.01, high=0.9)
        self.scale = as_range("scale", scale, low=0.1, high=10)
        self.mixed = mixed
        self.visible = as_number("visible", visible, low=0, high=0.5)
        self.defect_class = as_defect_class(defect_class)

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("patches", "side", "scale", "mixed", "visible", "defect_class")}
        if self.sources:
            shown["sources"] = f"<{len(self.sources)} images, {digest(self.sources)}>"
        return f"NSA({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def make_params(self, image: Image, rng: np.random.Generator) -> Params:
        """Draw, for each patch, the source's index (None: the host) and the boxes (y, x, height, width) from and to."""
        check_image(image)
        room = np.array(image.shape[:2]) - 2
        drawn: list[Params] = []
        while not drawn or (len(drawn) < self.patches and rng.random() < 0.5):
            source = int(rng.integers(len(self.sources))) if self.sources else None
            given = np.array((image if source is None else self.sources[source]).shape[:2])
            share = np.clip(0.06 + 2 * rng.gamma(2.0, 0.05, 2), *self.side)
            size = np.clip(np.rint(share * (room + 2)), 4, room).astype(int)
            taken = np.clip(np.rint(size / np.clip(rng.normal(1, 0.5), *self.scale)), 2, given).astype(int)
            drawn.append(
                {
                    "source": source,
                    "from": [*rng.integers(0, given - taken + 1).tolist(), *taken.tolist()],
                    "to": [*rng.integers(1, room - size + 2).tolist(), *size.tolist()],
                }
            )
        return {"patches": drawn}

    def apply(self, image: Image, params: Params) -> tuple[Image, Mask]:
        """Blend the patches in, one after the other; the mask is where the host changed visibly."""
        check_image(image)
        out, mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
        for patch in params["patches"]:
            y, x, height, width = patch["from"]
            origin = image if patch["source"] is None else self.sources[patch["source"]]
            top, left, high, wide = patch["to"]
            # one pixel more on each side: the border of the blend
            host = out[top - 1 : top + high + 1, left - 1 : left + wide + 1].astype(np.float32)
            source = _resized(_like(origin[y : y + height, x : x + width], image), high + 2, wide + 2)
            change = poisson_change(host, source, mixed=self.mixed)
            # the median removes grain, as in the paper
            seen = cv2.medianBlur((np.abs(change).max(axis=2) > self.visible * full_scale(image)).astype(np.uint8), 5)
            blended = to_levels(host[1:-1, 1:-1] + change, image.dtype)
            target = np.s_[top : top + high, left : left + wide]
            np.copyto(out[target], blended, where=seen[..., None] > 0)
            mask[target] |= seen
        if np.array_equal(out, image):
            raise HostRefused("the blended patches look like what they cover: this host is too uniform for NSA")
        return out, mask * np.uint8(self.defect_class)


def _like(source: Image, host: Image) -> Floats:
    """Return a source in the host's number of channels and on its scale."""
    scaled = source.astype(np.float32) * np.float32(full_scale(host) / full_scale(source))
    return with_channels(scaled, host.shape[2])


def _resized(image: Floats, height: int, width: int) -> Floats:
    return cv2.resize(image, (width, height)).reshape(height, width, -1).astype(np.float32, copy=False)
