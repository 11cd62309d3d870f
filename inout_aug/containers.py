"""One value of a dataset's item <-> arrays: PIL, numpy, torch and tv_tensors images, masks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from inout_aug._array_image import ArrayImage, rgb_pixels
from inout_aug.sample import Image, Mask, check_image

Statistic: TypeAlias = float | Sequence[float]
Denormalize: TypeAlias = tuple[Statistic, Statistic]

# how far rounding, in resizing or normalising, may carry a float image out of [0, 1]
_SLACK = 1e-3
_PIL_IMAGE_MODES = {"L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I": np.uint16}
_PIL_MASK_MODES = ("1", "L", "P", "I", "I;16")


def is_spatial(value: object) -> bool:
    """Return whether a value is an image or a mask by its type and number of axes."""
    return isinstance(value, PILImage.Image) or (isinstance(value, np.ndarray | Tensor) and value.ndim >= 2)


def is_mask_like(value: object) -> bool:
    """Return whether a value has one number per pixel."""
    if isinstance(value, PILImage.Image):
        return value.mode in _PIL_MASK_MODES
    if not isinstance(value, np.ndarray | Tensor):
        return False
    return value.ndim == 2 or (value.ndim == 3 and 1 in (value.shape[0], value.shape[2]))


def is_scalar(value: object) -> bool:
    """Return whether a value can be a class label: a number, or an array or tensor of one number."""
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim <= 1 and (value.size if isinstance(value, np.ndarray) else value.numel()) == 1
    return isinstance(value, int | float | np.number | np.bool_)


def spatial_size(value: object) -> tuple[int, int] | None:
    """Return (height, width) of an image or mask; None if it has no two spatial axes."""
    if isinstance(value, PILImage.Image):
        return value.height, value.width
    if isinstance(value, np.ndarray) and value.ndim in (2, 3):
        # a leading singleton axis is a channel of a mask, a trailing one of either
        return cast(tuple[int, int], value.shape[1:] if value.ndim == 3 and value.shape[0] == 1 else value.shape[:2])
    if isinstance(value, Tensor) and value.ndim in (2, 3):
        return value.shape[-2], value.shape[-1]
    return None


def decode_image(value: object, denormalize: Denormalize | None = None) -> Image:
    """Return any supported image as uint8 or uint16 (H, W, C).

    Args:
        value: PIL image of mode L, RGB, I or I;16; numpy (H, W), (H, W, 1) or (H, W, 3); tensor or tv_tensors.Image
            (H, W), (1, H, W) or (3, H, W). Integers are uint8 or uint16, floats are in [0, 1] and become uint8.
        denormalize: (mean, std) that a normalised float image was made with, each a number or one per channel.

    Raises:
        TypeError: Of another container, mode or dtype.
        ValueError: Of another shape, not finite, or out of range, as a normalised image is.
    """
    if isinstance(value, PILImage.Image):
        array = _from_pil(value)
    elif isinstance(value, Tensor):
        if value.ndim == 3 and value.shape[0] not in (1, 3):
            raise ValueError(
                f"an image tensor has shape (C, H, W) with 1 or 3 channels; got {tuple(value.shape)}. "
                "Drop an alpha channel with image[:3]; permute(2, 0, 1) turns (H, W, C) into (C, H, W)"
            )
        array = _as_array(value)
        array = _interleaved(array) if array.ndim == 3 else array
    elif isinstance(value, np.ndarray):
        if value.ndim == 3 and value.shape[0] in (1, 3) and value.shape[2] not in (1, 3):
            raise ValueError(
                f"a numpy image has shape (H, W, C); got {value.shape}, which looks like (C, H, W). "
                "Return image.transpose(1, 2, 0), or a torch tensor"
            )
        array = value
    else:
        raise TypeError(f"an image is a PIL image, numpy array or torch tensor; got {type(value).__name__}")
    if array.ndim == 2:
        array = array[..., None]
    if np.issubdtype(array.dtype, np.floating):
        array = _from_float(array, denormalize)
    elif denormalize is not None:
        raise ValueError(f"denormalize= is for float images; this one is {array.dtype}. Leave it out")
    image = np.ascontiguousarray(array)
    check_image(image)
    return image


def with_array(value: object) -> object:
    """Return a PIL image, of the kind that is slow to convert, as one that is an array; others as they are."""
    if type(value) is not PILImage.Image or value.mode != "RGB":  # a subclass may have methods of its own
        return value
    return ArrayImage.of(value)


def encode_image(image: Image, like: object, denormalize: Denormalize | None, where: Mask | None) -> object:
    """Return `image` in the container, dtype and range of `like`.

    Args:
        image: uint8 or uint16, (H, W, C).
        like: A value that `decode_image` accepts.
        denormalize: As for `decode_image`; applied in reverse.
        where: If `image` is `like` with a defect painted in, the defect's mask: outside, a float image then keeps its
            own values, bit for bit. None if the two are unrelated.
    """
    if isinstance(like, PILImage.Image):
        if image.shape[2] == 3 and image.dtype == np.uint8:
            return ArrayImage(cast(NDArray[np.uint8], image))
        flat = image[..., 0] if image.shape[2] == 1 else image
        return PILImage.fromarray(flat.astype(np.int32) if like.mode == "I" else flat)
    if isinstance(like, Tensor):
        if like.is_floating_point():
            return wrap_like(_encode_float_tensor(image, like, denormalize, where), like)
        array = image[..., 0] if like.ndim == 2 else _planar(image)
        return wrap_like(torch.from_numpy(array).to(like.device), like)
    if not isinstance(like, np.ndarray):
        raise TypeError(f"an image is a PIL image, numpy array or torch tensor; got {type(like).__name__}")
    flat = image[..., 0] if like.ndim == 2 else image
    if not np.issubdtype(like.dtype, np.floating):
        return flat
    if where is None:
        return _to_floats(flat, denormalize).astype(like.dtype)
    floats, pixels = like.copy(), np.nonzero(where)
    floats[pixels] = _to_floats(flat[pixels], denormalize)
    return floats


def decode_mask(value: object, mask_value: int) -> Mask:
    """Return any supported mask as uint8 (H, W) of class ids.

    Args:
        value: PIL image; numpy (H, W), (H, W, 1) or (1, H, W); tensor or tv_tensors.Mask (H, W) or (1, H, W);
            bool, integer, or float of whole numbers.
        mask_value: What stands for class 1: 1 if the values are class ids, 255 if they are 0 and 255.

    Raises:
        TypeError: Of another container or mode.
        ValueError: Of another shape, or with values that are no classes.
    """
    array = mask_array(value)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating) and not np.array_equal(array, np.rint(array)):
        raise ValueError("a mask holds whole numbers; this one has values between. Resize masks with nearest neighbour")
    if mask_value != 1:
        foreign = (array != 0) & (array != mask_value)
        if foreign.any():
            raise ValueError(
                f"a mask holds 0 and {mask_value} here; got {array[foreign].flat[0]}. Resize masks with nearest "
                "neighbour, or pass mask_value=1 if the values are class ids"
            )
        return np.asarray(array == mask_value, dtype=np.uint8)
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ValueError(f"mask classes are 0..255; got {array.min()}..{array.max()}")
    return array.astype(np.uint8)


def encode_mask(mask: Mask, like: object, mask_value: int) -> object:
    """Return a class-id mask in the container, shape, dtype and values of `like`."""
    array = mask_array(like)
    values: NDArray[Any] = mask.astype(array.dtype)
    if mask_value != 1 and array.dtype != np.bool_:
        values = (mask > 0).astype(array.dtype) * array.dtype.type(mask_value)
    if isinstance(like, PILImage.Image):
        encoded = PILImage.fromarray(values)
        if like.mode == "P":
            encoded.putpalette(like.getpalette() or [])
        return encoded
    values = values.reshape(like.shape)  # type: ignore[attr-defined]
    return wrap_like(torch.from_numpy(values).to(like.device), like) if isinstance(like, Tensor) else values


def has_foreground(value: object, ignore_value: int | None = None) -> bool:
    """Return whether any pixel of a mask, in any container, is neither background nor to be ignored."""
    array = mask_array(value)
    return bool(array.any() if ignore_value is None else ((array != 0) & (array != ignore_value)).any())


def mask_convention(masks: Sequence[object]) -> int | None:
    """Return what stands for class 1 in masks like these, 1 or 255; None if they cannot tell.

    Booleans, floats and wide integers are class ids by convention. 8-bit masks tell only by their foreground.

    Raises:
        ValueError: The values are neither 0 and 255 nor small class ids.
    """
    arrays = [mask_array(mask) for mask in masks]
    values = np.unique(np.concatenate([np.unique(array) for array in arrays]))
    top = values.max()
    if top == 255 and len(values) <= 2 and np.isin(values, (0, 255)).all():
        return 255
    if top >= 128:
        raise ValueError(
            f"the masks hold {values[:8].tolist()}, which are neither 0 and 255 nor small class ids. If they are "
            "resized or JPEG masks, make them 0 and 255; if a value marks pixels to ignore, pass "
            "layout=Fields(image=..., mask=..., mask_value=1, ignore_value=...)"
        )
    return None if top == 0 and all(array.dtype == np.uint8 for array in arrays) else 1


def copied(value: object) -> object:
    """Return an image or mask that nobody else can write to."""
    return value.clone() if isinstance(value, Tensor) else value.copy()  # type: ignore[attr-defined]


def decode_label(value: object) -> int:
    """Return a class label as an int.

    Raises:
        TypeError: It is not a number, or not a whole one.
    """
    if is_scalar(value):
        number: Any = value.item() if isinstance(value, np.ndarray | Tensor | np.generic) else value
        if float(number).is_integer():
            return int(number)
    raise TypeError(f"a label is a whole number; got {value!r}. Map class names to numbers in the dataset")


def encode_label(label: int, like: object) -> object:
    """Return `label` in the type and shape of `like`."""
    if isinstance(like, Tensor):
        return torch.full_like(like, label)
    if isinstance(like, np.ndarray):
        return np.full_like(like, label)
    return type(like)(label)  # type: ignore[call-arg]


def _from_pil(value: PILImage.Image) -> NDArray[Any]:
    if value.mode not in _PIL_IMAGE_MODES:
        raise TypeError(
            f"a PIL image has mode {', '.join(_PIL_IMAGE_MODES)}; got {value.mode}. "
            + ("Scale it to 0..255 and make it L" if value.mode == "F" else "Use image.convert('RGB') or ('L')")
        )
    array: NDArray[Any] = rgb_pixels(value) if value.mode == "RGB" else np.asarray(value)
    if value.mode == "I" and (array.min() < 0 or array.max() > 65535):
        raise ValueError(f"a PIL image of mode I holds 16-bit values here; got {array.min()}..{array.max()}")
    return array.astype(_PIL_IMAGE_MODES[value.mode], copy=False)


def _from_float(array: NDArray[Any], denormalize: Denormalize | None) -> NDArray[np.uint8]:
    values = array.astype(np.float32)
    if denormalize is not None:
        mean, std = (np.asarray(part, dtype=np.float32) for part in denormalize)
        values = values * std + mean
    low, high = float(values.min()), float(values.max())  # both are NaN if any value is
    if not np.isfinite(low + high):
        raise ValueError("a float image has NaN or infinite values. Check how it was read or scaled")
    if low < -_SLACK or high > 1 + _SLACK:
        found = f"a float image is in [0, 1]; got [{low:.4g}, {high:.4g}]"
        if denormalize is not None:
            raise ValueError(f"{found} after denormalize={denormalize}: that is not what it was normalised with")
        if low > -0.2 and high < 1.2:
            raise ValueError(f"{found}. If bicubic resizing overshoots, end the dataset's transform with clamp(0, 1)")
        raise ValueError(
            f"{found}, which looks {'like 0..255' if low >= 0 and high > 4 else 'normalised'}. Take Normalize (or the "
            "scaling) out of the dataset and pass it as transform=, which runs after the defects are in; or pass "
            "denormalize=(mean, std)"
        )
    np.multiply(values, 255, out=values)
    return np.rint(values, out=values).clip(0, 255, out=values).astype(np.uint8)


def _to_floats(pixels: NDArray[Any], denormalize: Denormalize | None) -> NDArray[np.float32]:
    """Return pixels, channels last, in [0, 1] or normalised."""
    floats = pixels.astype(np.float32) / np.float32(255)
    if denormalize is not None:
        mean, std = (np.asarray(part, dtype=np.float32) for part in denormalize)
        floats = (floats - mean) / std
    return floats


def _encode_float_tensor(image: Image, like: Tensor, denormalize: Denormalize | None, where: Mask | None) -> Tensor:
    if where is None:
        floats = _to_floats(image, denormalize)
        planes = floats[..., 0] if like.ndim == 2 else _planar(floats)
        return torch.from_numpy(planes).to(like.device, like.dtype)
    rows, columns = np.nonzero(where)
    painted = torch.from_numpy(_to_floats(image[rows, columns], denormalize)).to(like.device, like.dtype)
    result = like.detach().as_subclass(Tensor).clone()
    at = torch.from_numpy(rows).to(like.device), torch.from_numpy(columns).to(like.device)
    if like.ndim == 2:
        result[at] = painted[:, 0]
    else:
        result[:, at[0], at[1]] = painted.T
    return result


def _as_array(value: Tensor) -> NDArray[Any]:
    plain = value.detach().as_subclass(Tensor).cpu()
    array: NDArray[Any] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def _interleaved(planes: NDArray[Any]) -> NDArray[Any]:
    """Return (C, H, W) as (H, W, C); OpenCV does it ten times faster than numpy."""
    if planes.dtype == np.float16 or len(planes) == 1:
        return planes.transpose(1, 2, 0)
    return cv2.merge([np.ascontiguousarray(plane) for plane in planes])


def _planar(image: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W, C) as (C, H, W)."""
    planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(image, list(planes))
    return planes


def mask_array(value: object) -> NDArray[Any]:
    """Return a mask's values, in any container, as an array (H, W) of its own dtype.

    Raises:
        TypeError: Of another container or mode.
        ValueError: It has several values per pixel.
    """
    if isinstance(value, PILImage.Image):
        if value.mode not in _PIL_MASK_MODES:
            raise TypeError(f"a PIL mask has mode {', '.join(_PIL_MASK_MODES)}; got {value.mode}")
        array = np.asarray(value)
    elif isinstance(value, Tensor):
        array = _as_array(value)
    elif isinstance(value, np.ndarray):
        array = value
    else:
        raise TypeError(f"a mask is a PIL image, numpy array or torch tensor; got {type(value).__name__}")
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise ValueError(f"a mask has one value per pixel, shape (H, W); got {array.shape}")
    return array


def wrap_like(value: Tensor, like: Tensor) -> Tensor:
    """Return a tensor as the tv_tensor that `like` is, if it is one."""
    if type(like) is Tensor:
        return value
    from torchvision import tv_tensors

    return cast(Tensor, tv_tensors.wrap(value, like=like))
