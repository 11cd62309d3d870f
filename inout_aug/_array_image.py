"""A PIL image of an array, for loops that make an array of it again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

# attributes of an image that go with where its pixels are
_STORAGE = ("im", "_im", "readonly", "pyaccess")


class ArrayImage(PILImage.Image):
    """An RGB image that is converted to Pillow's storage, four bytes a pixel, when Pillow first needs it.

    As a file that Pillow opens, it is loaded by whichever of its methods comes first. Until then, `np.asarray` and all
    that begins with it (torchvision's `ToImage` and `ToTensor`, albumentations) reads the array itself: a loop whose
    transform does so converts nothing twice. Copies and pickles are plain images.

    Args:
        array: uint8, (H, W, 3); nobody may write to it any more.

    Example:
        >>> image = ArrayImage(np.zeros((2, 3, 3), np.uint8))
        >>> image.size, image.getpixel((0, 0)), image == PILImage.new("RGB", (3, 2))
        ((3, 2), (0, 0, 0), True)
    """

    _array: NDArray[np.uint8] | None = None

    def __init__(self, array: NDArray[np.uint8]) -> None:
        super().__init__()
        self._mode = "RGB"
        self._size = array.shape[1], array.shape[0]
        self._array = np.ascontiguousarray(array)

    @classmethod
    def of(cls, image: PILImage.Image) -> ArrayImage:
        """Return an RGB image that is converted to an array now, and back when Pillow needs it."""
        converted = cls(rgb_pixels(image))
        kept = {name: value for name, value in vars(image).items() if name not in _STORAGE}
        vars(converted).update(kept)
        return converted

    def load(self) -> Any:
        """Move the pixels from the array to Pillow's storage, if they are not there yet; return them."""
        if self._array is not None:
            array, self._array = self._array, None
            self.im = PILImage.new("RGB", self.size, None).im  # which None leaves as the memory was
            self.frombytes(array)
        return super().load()

    def frombytes(self, *args: Any, **kwargs: Any) -> None:
        """Replace the pixels; the only method of Pillow that writes to an image without loading it."""
        self.load()
        super().frombytes(*args, **kwargs)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self._array is None:
            return super().__array_interface__
        # the view, rather than an address, keeps the memory alive after the image is loaded
        data = self._array.data.toreadonly()
        return {"version": 3, "shape": self._array.shape, "typestr": "|u1", "data": data}

    def __reduce__(self) -> tuple[Any, ...]:
        return PILImage.Image, (), self.__getstate__()

    def __eq__(self, other: object) -> bool:
        return self.copy() == (other.copy() if isinstance(other, ArrayImage) else other)

    __hash__ = None  # type: ignore[assignment]  # as of any PIL image


def rgb_pixels(image: PILImage.Image) -> NDArray[np.uint8]:
    """Return an RGB image as an array; `np.asarray` does it in many blocks, which it joins, and takes twice as long."""
    if type(image) is not PILImage.Image:  # an array's, or of a class with methods of its own
        return np.asarray(image)
    image.load()
    width, height = image.size
    encoder = PILImage._getencoder("RGB", "raw", "RGB")
    encoder.setimage(image.im, (0, 0, width, height))
    _, _, data = encoder.encode(3 * width * height)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)
