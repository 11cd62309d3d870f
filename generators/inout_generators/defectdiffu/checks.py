"""What a generator and its requests must be like, told before the net runs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, TypeAlias, get_args

import torch

from inout_aug.plugin import Request
from inout_aug.sample import MIN_SIDE
from inout_generators.common.insertion import check_host
from inout_generators.defectdiffu.guidance import Mode
from inout_generators.defectdiffu.names import GOOD, check_known, check_names
from inout_generators.defectdiffu.sampling import Sampler

if TYPE_CHECKING:
    from inout_generators.defectdiffu.generator import DefectDiffu

Weight: TypeAlias = "float | Sequence[float]"

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_LAST_CLASS = 255
# beyond it, what guidance makes is rarely an image
_SANE = 5.0


def check_settings(generator: DefectDiffu) -> None:
    """Raise ValueError if the parts do not fit together, a name means two things, or a setting is out of range."""
    config, space, text = generator.net.config, generator.space, generator.text
    if config["channels"] != space.channels or config["text_dim"] != text.dim:
        raise ValueError(
            f"the net takes latents with {config['channels']} channels and texts of length {config['text_dim']}; "
            f"{type(space).__name__} has {space.channels}, {type(text).__name__} has {text.dim}"
        )
    check_names(generator.products, generator.defects)
    if not generator.products or not 1 <= len(generator.defects) <= _LAST_CLASS:
        raise ValueError(
            f"name at least one product, and 1 to {_LAST_CLASS} defects; got {len(generator.products)} and "
            f"{len(generator.defects)}"
        )
    for defects in generator.products.values():
        for defect in defects:
            check_known(defect, generator.defects, "defect")
    for product in generator.chosen:
        check_known(product, generator.products, "product")
    for name, known in (("mode", Mode), ("sampler", Sampler)):
        if getattr(generator, name) not in get_args(known):
            raise ValueError(f"{name} is one of {', '.join(get_args(known))}; got {getattr(generator, name)!r}")
    if generator.precision not in _DTYPES:
        raise ValueError(f"dtype is float32, bfloat16 or float16; got {generator.precision}")
    if min(generator.steps, generator.min_area) < 1 or not generator.feather >= 0:
        raise ValueError(
            "steps and min_area are at least 1, feather is not negative; got "
            f"{generator.steps}, {generator.min_area} and {generator.feather}"
        )
    check_size(generator, generator.size)


def check_weight(name: str, weight: Weight) -> tuple[float, float]:
    """Return a guidance weight as a range, (w, w) if it is fixed; warn where it is beyond what is learned.

    Raises:
        ValueError: It is no number, negative, or no range.

    Example:
        >>> check_weight("w_defect", 1.5), check_weight("w_defect", (0.5, 2.5))
        ((1.5, 1.5), (0.5, 2.5))
    """
    ends = tuple(weight) if isinstance(weight, Iterable) else (weight, weight)
    if len(ends) != 2 or not all(isinstance(end, Real) for end in ends) or not 0 <= ends[0] <= ends[1] < math.inf:
        raise ValueError(f"{name} is a number that is not negative, or a range of such; got {weight!r}")
    low, high = ends
    if high > _SANE:
        warnings.warn(
            f"{name} up to {high:g}: 1 is as learned, the paper goes to 2.5; beyond {_SANE:g} images fall apart",
            stacklevel=3,
        )
    return float(low), float(high)


def check_size(generator: DefectDiffu, size: tuple[int, int]) -> None:
    """Raise ValueError if a size is too small, or not of whole cells."""
    cell = generator.cell
    if min(size) < MIN_SIDE or any(side % cell for side in size):
        height, width = (max(-(-MIN_SIDE // cell), round(side / cell)) * cell for side in size)
        raise ValueError(
            f"sizes are (height, width), multiples of {cell} and at least {MIN_SIDE}; got {tuple(size)}. Take "
            f"{height}x{width}: a CachedSampler resizes what was drawn to what a dataset has"
        )


def check_asked(generator: DefectDiffu, product: str, defect: str) -> None:
    """Raise unless product and defect are known, and known together where the mode tells them together.

    Raises:
        UnknownName: One of them is not; the message suggests the nearest.
        ValueError: They were never seen together.
    """
    check_known(product, generator.products, "product")
    check_known(defect, (GOOD, *generator.defects), "defect")
    if generator.mode != "eq4" and defect != GOOD and defect not in generator.products[product]:
        raise ValueError(
            f"no image showed {defect!r} on {product!r}, and mode={generator.mode!r} tells both at once; mode='eq4' "
            "tells them apart, for products without defects of their own"
        )


def check_request(generator: DefectDiffu, request: Request) -> None:
    """Raise if a request cannot be met.

    Raises:
        TypeError: The host is no uint8 or uint16 array.
        UnknownName: Its prompt names no product.
        ValueError: Size, channels, class, strength, host or region do not fit.
    """
    if request.channels not in (1, 3):
        raise ValueError(f"images have 1 or 3 channels; {request.channels} were asked for")
    defects = generator.defects
    if not 1 <= request.defect_class <= len(defects):
        raise ValueError(f"defect classes are 1 to {len(defects)}, {', '.join(defects)}; got {request.defect_class}")
    defect = defects[request.defect_class - 1]
    if request.prompt is not None:
        check_asked(generator, request.prompt, defect)
    elif not generator.products_with(defect):
        raise ValueError(
            f"no product has shown {defect!r}; name one as the request's prompt, or as product= of the generator"
        )
    if request.host is not None:
        check_host(request)
        if request.channels > generator.channels:
            raise ValueError("this generator draws grey images; give it grey hosts, as channels=1")
        return
    if request.region is not None:
        raise ValueError("a region is for requests with a host; this one has none")
    check_weight("strength times w_defect", request.strength * generator.w_defect[1])
    check_size(generator, (request.height, request.width))
