"""Where on a host a defect may lie: any callable from an image to a mask of the product."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inout_aug.sample import Image, check_image

Foreground: TypeAlias = Callable[[Image], ArrayLike]

_LEAST_SHARE = 0.01


class Threshold:
    """The pixels brighter (or darker) than a grey level, as in MemSeg's code (arXiv 2205.00908 §3.2).

    Args:
        level: In the image's own units: 0..255 for uint8, 0..65535 for uint16.
        above: The product is brighter than `level`, rather than darker.
        clean: Remove specks and close holes by opening and closing with an ellipse of 5 pixels at 256 pixels' size.

    Example:
        >>> image = np.zeros((64, 64, 1), np.uint8)
        >>> image[16:48, 16:48] = 200
        >>> int(Threshold(100, clean=False)(image).sum())
        1024
    """

    def __init__(self, level: float, *, above: bool = True, clean: bool = True) -> None:
        self.level = level
        self.above = above
        self.clean = clean

    def __repr__(self) -> str:
        return f"Threshold({self.level}, above={self.above}, clean={self.clean})"

    def __call__(self, image: Image) -> NDArray[np.bool_]:
        """Return the mask of the product, bool (H, W)."""
        grey = _grey(image)
        return _finish(grey > self.level if self.above else grey < self.level, self.clean)


class Otsu:
    """The brighter (or darker) of the two grey levels that separate best (Otsu, 1979), cleaned.

    Args:
        above: The product is the brighter one.
        clean: As for `Threshold`.

    Example:
        >>> image = np.full((64, 64, 3), 30, np.uint8)
        >>> image[:, 20:40] = 180
        >>> int(Otsu()(image).sum())
        1280
    """

    def __init__(self, *, above: bool = True, clean: bool = True) -> None:
        self.above = above
        self.clean = clean

    def __repr__(self) -> str:
        return f"Otsu(above={self.above}, clean={self.clean})"

    def __call__(self, image: Image) -> NDArray[np.bool_]:
        """Return the mask of the product, bool (H, W)."""
        grey = _grey(image)
        level, _ = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        return _finish(grey > level if self.above else grey <= level, self.clean)


class HostMasks:
    """A mask per host image. A host is recognised by its pixels, so it may come at any index and in any order.

    Args:
        pairs: Each host image as the wrapped dataset gives it, uint8 or uint16 (H, W, C), with its mask: (H, W),
            non-zero on the product. Masks are kept as one bit per pixel, images as 16 bytes.

    Raises:
        TypeError: An image is not of the library's form.
        ValueError: A mask has another size than its image, or there is no pair.

    Example:
        >>> host = np.zeros((32, 32, 1), np.uint8)
        >>> HostMasks([(host, np.eye(32))])(host).shape
        (32, 32)
    """

    def __init__(self, pairs: Iterable[tuple[Image, ArrayLike]]) -> None:
        self._masks: dict[bytes, NDArray[np.uint8]] = {}
        for image, mask in pairs:
            check_image(image)
            inside = _as_mask(mask, image)
            self._masks[_digest(image)] = np.packbits(inside)
        if not self._masks:
            raise ValueError("HostMasks needs at least one pair (image, mask); got none")

    def __repr__(self) -> str:
        content = hashlib.sha256()
        for key, bits in sorted(self._masks.items()):
            content.update(key + bits.tobytes())
        return f"HostMasks({len(self._masks)} masks, {content.hexdigest()[:16]})"

    def __call__(self, image: Image) -> NDArray[np.bool_]:
        """Return the mask of the product, bool (H, W).

        Raises:
            KeyError: No mask was given for this image.
        """
        bits = self._masks.get(_digest(image))
        if bits is None:
            raise KeyError(
                f"no mask was given for this host, {image.shape} {image.dtype}. HostMasks recognises images by their "
                "pixels: give it the images as the wrapped dataset returns them, before any random transform"
            )
        size = image.shape[0] * image.shape[1]
        return np.unpackbits(bits, count=size).reshape(image.shape[:2]).view(np.bool_)


def find_foreground(foreground: Foreground | None, image: Image) -> NDArray[np.bool_] | None:
    """Return where on `image` a defect may lie, or None for everywhere.

    A foreground that covers less than 1 % of the image is taken for a failure to find the product: it is reported by a
    warning, and the whole image is used.

    Raises:
        TypeError: `foreground` returned nothing.
        ValueError: It returned an array of another shape.

    Example:
        >>> find_foreground(lambda image: image[..., 0] > 9, np.eye(16, dtype=np.uint8)[..., None] * 10).sum()
        np.int64(16)
    """
    if foreground is None:
        return None
    inside = _as_mask(foreground(image), image)
    share = np.count_nonzero(inside) / inside.size
    if share < _LEAST_SHARE:
        warnings.warn(
            f"the foreground covers {share:.2%} of a {inside.shape[0]}×{inside.shape[1]} host, so the whole image is "
            "used. Check its threshold and whether the product is the brighter part (above=True)",
            stacklevel=3,
        )
        return None
    return inside


def _as_mask(mask: ArrayLike | None, image: Image) -> NDArray[np.bool_]:
    if mask is None:
        raise TypeError(
            "a foreground returns a mask of the product, (H, W) and non-zero inside; it returned None. "
            "Does it end with a return statement?"
        )
    inside = np.asarray(mask)
    if inside.shape != image.shape[:2]:
        raise ValueError(
            f"a foreground mask has its image's height and width, {image.shape[:2]}; got {inside.shape}. "
            "Take one channel of a colour mask, and resize with nearest-neighbour interpolation"
        )
    return inside if inside.dtype == np.bool_ else inside != 0


def _grey(image: Image) -> Image:
    return cast(Image, image[..., 0] if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _finish(inside: NDArray[np.bool_], clean: bool) -> NDArray[np.bool_]:
    if not clean:
        return inside
    side = max(3, round(5 * min(inside.shape) / 256) | 1)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(inside.view(np.uint8), cv2.MORPH_OPEN, ellipse)
    return cv2.morphologyEx(opened, cv2.MORPH_CLOSE, ellipse).view(np.bool_)


def _digest(image: Image) -> bytes:
    content = hashlib.blake2b(f"{image.shape}{image.dtype}".encode(), digest_size=16)
    content.update(np.ascontiguousarray(image).data)
    return content.digest()
