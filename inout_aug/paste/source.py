"""The two sources of MemSeg's anomalies, computed for the painted pixels alone.

Both are a picture seen through a change of coordinates and of colours: the structure source is the host itself, turned,
recoloured and with the cells of a grid shuffled; the texture source is a crop of a texture. So no full image is made of
either, unless a perturbation needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from inout_aug.paste._colour import TO_GREY, colour_matrix, full_scale, is_grey, recolour, with_depth
from inout_aug.paste._perturb import Perturb, perturbed
from inout_aug.paste._sampling import Affine, affine, compose, crop, sample, shuffled, turn
from inout_aug.paste.textures import Fit, Textures
from inout_aug.sample import Image, Params

# A host that is grey at so many pixels along its shorter side, and where it is painted, is grey.
_PROBES = 16


def draw_structure(host: Image, rng: np.random.Generator, grid: Sequence[int]) -> Params:
    """Draw a shuffling of the host's own cells, the larger number of them along its longer side."""
    rows, columns = sorted(grid, reverse=host.shape[0] > host.shape[1])
    return {"source": "structure", "grid": [rows, columns], "shuffle": rng.permutation(rows * columns).tolist()}


def draw_texture(host: Image, rng: np.random.Generator, textures: Textures, fit: Fit) -> Params:
    """Draw a readable texture, and where to crop it."""
    index = textures.readable(int(rng.integers(len(textures))), host.shape, fit)
    return {"source": "texture", "texture": index, "name": textures.names[index], "crop": rng.random(2).tolist()}


def tint(colours: Image, params: Params, host: Image, values: Image) -> Image:
    """Return a source's colours with brightness, saturation and hue changed as drawn.

    Where the host is grey the source becomes grey, so that a grey picture stored in three channels stays grey.

    Args:
        colours: (N, C), of the host's dtype.
        params: As drawn.
        host: (H, W, C).
        values: The host's values at the same pixels, (N, C).

    Returns:
        (N, C), of the host's dtype.
    """
    channels = host.shape[2]
    step = max(1, min(host.shape[:2]) // _PROBES)
    if channels == 3 and is_grey(host[::step, ::step]) and is_grey(values):
        matrix = TO_GREY
    elif "gain" not in params:
        return colours
    else:
        matrix = colour_matrix(params["saturation"], params["hue"]) if channels == 3 else np.eye(channels)
    shift = params.get("shift", 0.0) * full_scale(host)
    return recolour(colours, matrix=matrix * params.get("gain", 1.0), shift=shift)


def structure_at(where: NDArray[np.intp], host: Image, params: Params, perturb: Perturb) -> Image:
    """Return the structure source's colours at pixels of the host.

    Args:
        where: Flat indices of pixels, (N,).
        host: uint8 or uint16, (H, W, C).
        params: As drawn.
        perturb: What was drawn for.

    Returns:
        (N, C), of the host's dtype, before `tint`.
    """
    picture = perturbed(host, perturb, params["perturb"]) if "perturb" in params else host
    size = host.shape[0], host.shape[1]
    return sample(picture, where, size[1], shuffled(_turn(size, params), size, params["grid"], params["shuffle"]))


def texture_at(
    where: NDArray[np.intp], host: Image, params: Params, perturb: Perturb, textures: Textures, fit: Fit
) -> Image:
    """Return the texture source's colours at pixels of the host; see `structure_at`.

    Returns:
        (N, C), of the host's dtype, before `tint`.

    Raises:
        ValueError: The recorded texture is not there.
    """
    index, name = params["texture"], params["name"]
    if not 0 <= index < len(textures) or textures.names[index] != name:
        raise ValueError(f"the parameters name texture {index}, {name!r}, which is not among {textures}")
    picture = textures.fetch(index, host.shape, fit)
    size = host.shape[0], host.shape[1]
    to_picture = crop(size, (picture.shape[0], picture.shape[1]), fit, params["crop"])
    if "rotation" in params or "mirror" in params:
        to_picture = compose(to_picture, _turn(size, params))
    if "perturb" not in params:
        colours = sample(picture, where, size[1], affine(to_picture))
    else:
        everywhere = np.arange(size[0] * size[1])
        laid_over = sample(picture, everywhere, size[1], affine(to_picture)).reshape(host.shape)
        changed = perturbed(cast(Image, laid_over), perturb, params["perturb"])
        colours = cast(Image, np.take(changed.reshape(-1, host.shape[2]), where, axis=0))
    return with_depth(colours, host.dtype)


def _turn(size: tuple[int, int], params: Params) -> Affine:
    return turn(size, params.get("mirror", (False, False)), params.get("rotation", 0.0))
