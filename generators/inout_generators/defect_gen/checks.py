"""What a generator and its requests must be like, told before a net runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, get_args

from torch import nn

from inout_aug.plugin import Request
from inout_aug.sample import MIN_SIDE
from inout_generators.common.insertion import check_host
from inout_generators.defect_gen.sampling import Sampler

if TYPE_CHECKING:
    from inout_generators.defect_gen.generator import DefectGen

# nets see other sizes than the trained one by so much, up or down
_REACH = 2


def classes_of(net: nn.Module) -> int:
    """Return how many defect classes a net can be asked for; 0 for a net that is told none."""
    return int(getattr(net, "config", {}).get("classes", 0))


def check_settings(generator: DefectGen) -> None:
    """Raise ValueError if nets and encoding do not fit together, or a setting is out of range."""
    encoding, schedule = generator.encoding, generator.schedule
    for name, net in (("large", generator.large), ("local", generator.local)):
        channels = getattr(net, "config", {}).get("channels", encoding.channels)
        if channels != encoding.channels:
            raise ValueError(
                f"the {name} net has {channels} channels; {encoding.image_channels} of the image, 1 of the background "
                f"and {len(encoding.classes)} of the classes {encoding.classes} make {encoding.channels}"
            )
    known = [classes_of(generator.large), classes_of(generator.local)]
    if known not in ([0, 0], [len(encoding.classes)] * 2):
        raise ValueError(
            f"the large net can be asked for {known[0]} defect classes, the local one for {known[1]}; it is none for "
            f"both, or all of {encoding.classes}"
        )
    if not 0 <= generator.switch_t <= schedule.steps:
        raise ValueError(f"switch_t lies in [0, {schedule.steps}], the schedule's steps; got {generator.switch_t}")
    if generator.sampler not in get_args(Sampler):
        raise ValueError(f"sampler is one of {', '.join(get_args(Sampler))}; got {generator.sampler!r}")
    if generator.regions not in ("generated", "perlin"):
        raise ValueError(f"regions is generated or perlin; got {generator.regions!r}")
    if min(generator.size) < MIN_SIDE or min(generator.steps, generator.min_area) < 1 or not generator.feather >= 0:
        raise ValueError(
            f"size is at least {MIN_SIDE}x{MIN_SIDE}, steps and min_area are at least 1, feather is not negative; got "
            f"{generator.size}, {generator.steps}, {generator.min_area} and {generator.feather}"
        )


def check_request(generator: DefectGen, request: Request) -> None:
    """Raise if a request cannot be met.

    Raises:
        TypeError: The host is no uint8 or uint16 array.
        ValueError: Size, channels, class, strength, host or region do not fit.
    """
    channels, classes = generator.encoding.image_channels, generator.encoding.classes
    if request.channels != channels:
        raise ValueError(
            f"this generator makes images with {channels} channels; {request.channels} were asked for. Train one on "
            f"such images, or fill a cache with {channels}: CachedSampler converts it to the dataset's form"
        )
    if not 1 <= request.defect_class <= len(classes):
        raise ValueError(f"defect classes are 1 to {len(classes)}, {', '.join(classes)}; got {request.defect_class}")
    if request.host is None:
        if request.region is not None or request.strength != 1:
            raise ValueError("region and strength are for requests with a host; this one has none")
        check_reach(generator, (request.height, request.width), "the image asked for")
        return
    check_host(request)


class Trained(Protocol):
    """What was trained at (H, W), on windows of larger images or on whole ones."""

    size: tuple[int, int]
    crop: bool


def check_reach(generator: Trained, size: tuple[int, int], what: str) -> None:
    """Raise ValueError if nets trained at `generator.size` would have to draw at quite another size."""
    trained = generator.size
    if all(side / _REACH <= given <= side * _REACH for given, side in zip(size, trained, strict=True)):
        return
    if generator.crop:
        remedy = "Give larger images as hosts, and regions that fit"
    else:
        remedy = "Fill a cache at about the trained size (CachedSampler resizes it to the dataset's), or train on crops"
    raise ValueError(
        f"{what} is {size[0]}x{size[1]}, but the nets were trained at {trained[0]}x{trained[1]} and serve from half to "
        f"twice of each side. {remedy}"
    )
