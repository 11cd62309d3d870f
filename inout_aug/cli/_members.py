"""The pasters and generators that a command is asked for by name; what is expensive is cached before it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inout_aug.cache import SampleCache
    from inout_aug.hosts import Hosts
    from inout_aug.plugin import Generator, Member

_OPTION_OF = {"memseg": "textures", "defect-gen": "checkpoint"}
_HOSTS_KEPT = 64


def create_members(names: Sequence[str], paths: Mapping[str, Path | None]) -> dict[str, Member]:
    """Return what is installed under some names.

    Args:
        names: Entry point names.
        paths: The options "textures" and "checkpoint": the first argument of memseg and of defect-gen.

    Raises:
        KeyError: Nothing of a name is installed.
        ValueError: A name stands there twice, or an option's generator does not.
    """
    from inout_aug.plugin import create

    if len(set(names)) < len(names):
        raise ValueError(f"give each --generator once; got {', '.join(names)}")
    for name, option in _OPTION_OF.items():
        if paths.get(option) is not None and name not in names:
            raise ValueError(f"--{option} is for --generator {name}")
    members: dict[str, Member] = {}
    for name in names:
        path = paths.get(_OPTION_OF.get(name, ""))
        members[name] = create(name) if path is None else create(name, path)
    return members


def about(generator: Generator) -> str:
    """Return what a generator says that it learned from: figures of any arm with it hang on these defects too."""
    data = getattr(generator, "provenance", {}).get("data", {})
    if "images" not in data:
        return "It does not say what it learned from."
    return f"It learned from {data['images']} defective images of {', '.join(data['classes'])}."


def fill(
    generator: Generator,
    where: str | os.PathLike[str] | None,
    n: int,
    *,
    hosts: Hosts | None,
    shape: tuple[int, int, int] | None = None,
    classes: Sequence[int] = (),
    seed: int = 0,
    conditions: Sequence[Mapping[str, Any]] = ({},),
    **settings: Any,
) -> SampleCache:
    """Fill a cache; the defect classes are asked for in turn, and each host serves as often as any other.

    Args:
        generator: The generator.
        where: See `fill_cache`.
        n: Samples wanted.
        hosts: Normal samples, of any sizes, for a generator that changes them.
        shape: (H, W, C) of the images of one that does not.
        classes: Defect classes to ask for; none for all that the generator knows.
        seed: Of the samples, and of the order of the hosts.
        conditions: What else to ask for, as fields of `Request`: each for every class, in turn.
        settings: Others of `fill_cache`.

    Raises:
        FillIncomplete: The generator failed on some requests.
        ValueError: It changes normal images, and there are none; or it needs a shape.
    """
    from inout_aug.cache import MaskShare, NotBlank, fill_cache

    masks = bool(getattr(generator, "masks", True))
    wanted = list(classes) or list(range(1, int(getattr(generator, "defect_classes", 1)) + 1))
    asked = [{**each, "defect_class": k} for each in conditions for k in wanted]
    more: dict[str, Any] = {"shape": shape, "conditions": asked, "dtype": getattr(generator, "dtype", "uint8")}
    if getattr(generator, "hosts", False):
        more = _on(hosts, asked, seed, generator)
    elif shape is None:
        raise ValueError(f"{type(generator).__name__} makes whole images: give their --size")
    gates = (NotBlank(), MaskShare()) if masks else (NotBlank(),)
    return fill_cache(generator, where, n, seed=seed, masks=masks, gates=gates, **more, **settings)


def _on(
    hosts: Hosts | None, asked: Sequence[Mapping[str, Any]], seed: int, generator: Generator
) -> dict[str, Callable[[int], Any] | str]:
    """Return what each sample is asked for, with its host."""
    from inout_aug.seeding import stream

    if not hosts:
        raise ValueError(
            f"{type(generator).__name__} puts defects into normal images: say where some are, with --data and --format"
        )
    order = stream(seed).permutation(len(hosts))
    read = lru_cache(_HOSTS_KEPT)(lambda number: hosts[number].image)
    # all shapes are asked for before the first sample is made, and again after the last
    shape = cache(lambda number: read(number).shape)
    host_of = [int(number) for number in order]
    return {
        "shape": lambda index: shape(host_of[index % len(host_of)]),
        "conditions": lambda index: {**asked[index % len(asked)], "host": read(host_of[index % len(host_of)])},
        "dtype": str(read(host_of[0]).dtype),
    }
