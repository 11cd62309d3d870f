"""Makes synthetic sample k of epoch e; the map-style and the iterable wrapper both inject what it makes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inout_aug import containers
from inout_aug.labels import LabelRule
from inout_aug.layout import Fields, Layout, get_field, replace_fields
from inout_aug.plugin import Draws, HostRefused, Paster
from inout_aug.sample import Origin, Sample
from inout_aug.seeding import stream
from inout_aug.transform import ItemTransform, Transform, TransformOn

# a host is an item of the wrapped dataset and its index there
Host: TypeAlias = tuple[int, Any]

_MAX_HOSTS = 20
_MAX_TRANSFORMS = 50


@dataclass(frozen=True, slots=True)
class Slot:
    """One synthetic sample to make.

    Attributes:
        member: Which generator makes it.
        position: The how-manieth of that generator's samples it is, in one round through them.
        turn: Which round that is: the epoch, in a map-style dataset.
        key: `(seed, epoch, index)`, all that its randomness depends on.
    """

    member: int
    position: int
    turn: int
    key: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Injector:
    """Makes synthetic items and runs the user's transform.

    Attributes:
        names: Of the generators; one that makes several lots is there several times.
        fingerprints: Of each of them.
        members: Pasters, or draws from a bound sample source, for each name.
        template: A normal item, whose form and other fields samples without a host take.
        layout: How items are read and written.
        rule: Labels of normal and synthetic samples.
        transform: Runs on every item, real or synthetic; None for nothing.
    """

    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    members: tuple[Paster | Draws, ...]
    template: Any
    layout: Layout
    rule: LabelRule
    transform: ItemTransform | None

    def with_transform(self, transform: Transform | None) -> Injector:
        """Return the same with another transform."""
        on: TransformOn = "auto" if self.transform is None else self.transform.on
        return replace(self, transform=None if transform is None else ItemTransform(transform, self.layout, on))

    def labels(self, member: int, count: int) -> NDArray[np.int64]:
        """Return the dataset's label of a member's first `count` samples, int64, shape (count,)."""
        maker = self.members[member]
        if isinstance(maker, Paster):
            return np.full(count, self.rule.label_of(defect_class_of(maker)), np.int64)
        kinds, which = np.unique(maker.classes[:count], return_inverse=True)
        return np.array([self.rule.label_of(int(kind)) for kind in kinds], np.int64)[which]

    def sample(self, slot: Slot, host_at: Callable[[int], Host]) -> tuple[Sample, Any]:
        """Return a synthetic sample and the item whose form and other fields it takes.

        Args:
            slot: What to make.
            host_at: Gives the host to try at attempt 0, 1, ...

        Raises:
            HostRefused: No host could be painted on.
            ValueError: A host is not normal after all, or the generator broke its contract.
        """
        maker, name = self.members[slot.member], self.names[slot.member]
        if not isinstance(maker, Paster):
            made = maker(slot.position, slot.turn)
            mask = self.rule.mask_of(made.mask, made.label)
            return replace(made, mask=mask, label=self.rule.label_of(made.label)), self.template
        refusals = []
        for attempt in range(_MAX_HOSTS):
            index, item = host_at(attempt)
            host = self._normal(index, item)
            rng = stream(*slot.key, attempt)
            image = host.image.view()
            image.flags.writeable = False  # a paster that writes into its input would change the user's dataset
            try:
                params = maker.make_params(image, rng)
                image, mask = maker.apply(image, params)
            except HostRefused as refusal:
                refusals.append(f"host {index}: {refusal}")
                continue
            if not mask.max():  # a tenth of the time of any()
                raise ValueError(f"{name} returned an empty mask on host {index}; apply must paint at least one pixel")
            label = self.rule.label_of(defect_class_of(maker))
            fingerprint = self.fingerprints[slot.member]
            origin = Origin(generator=name, fingerprint=fingerprint, seed=slot.key, params=params, host=index)
            return Sample(image, mask, label, origin), item
        raise HostRefused(f"{name} could not paint on any of {_MAX_HOSTS} hosts; the last: {refusals[-1]}")

    def item(self, slot: Slot, host_at: Callable[[int], Host]) -> Any:
        """Return a synthetic item, transformed."""
        try:
            if self.transform is None:
                return self.layout.pack(*self.sample(slot, host_at))
            return self._transformed(self.transform, slot, host_at)
        except Exception as error:
            error.add_note(
                f"while {self.names[slot.member]} made the synthetic sample of (seed, epoch, index) = {slot.key}"
            )
            raise

    def real(self, item: Any) -> Any:
        """Return a real item, transformed."""
        return item if self.transform is None else self.transform(item)[0]

    def shared(self, item: Any) -> Any | None:
        """Return a host's item to be drawn itself as well as painted on; None if that takes two."""
        return self.layout.shared(item) if isinstance(self.layout, Fields) else None

    def _normal(self, index: int, item: Any) -> Sample:
        host = self.layout.unpack(item)
        if isinstance(self.layout, Fields) and self.layout.label is None:
            normal = host.mask is None or not host.mask.any()
        else:
            normal = host.label == self.rule.normal and (host.mask is None or not host.mask.any())
        if not normal:
            raise ValueError(
                f"sample {index} is listed as normal, but its own label is {host.label} or its mask has foreground. "
                "Check labels=, the dataset's targets and normal_label="
            )
        return host

    def _transformed(self, transform: ItemTransform, slot: Slot, host_at: Callable[[int], Host]) -> Any:
        """Return a synthetic item, transformed, with its defect still in the picture."""
        for _ in range(_MAX_TRANSFORMS):
            # made anew each time, since a transform may work in place; a crop that cuts the defect off is drawn again
            sample, like = self.sample(slot, host_at)
            item, moved = transform(self.layout.pack(sample, like), sample.mask)
            if moved is None or _holds_defect(moved, self._top_value(sample)):
                return item
        warnings.warn(
            f"transform= cut the defect of {self.names[slot.member]} out of the picture {_MAX_TRANSFORMS} times in a "
            "row; such samples are labelled normal. Use larger crops",
            RuntimeWarning,
            stacklevel=2,
        )
        if not isinstance(self.layout, Fields) or self.layout.label is None:
            return item
        normal = containers.encode_label(self.rule.normal, get_field(item, self.layout.label))
        return replace_fields(item, {self.layout.label: normal})

    def _top_value(self, sample: Sample) -> int:
        """Return the highest value that stands for a defect in the mask that a transform moves."""
        one_value = self.layout.mask_value if isinstance(self.layout, Fields) and self.layout.mask is not None else None
        if one_value is not None and one_value != 1:
            return one_value
        return 1 if sample.mask is None else int(sample.mask.max())


@dataclass(frozen=True, slots=True)
class Summary:
    """What a wrapped dataset holds.

    Attributes:
        real: Number of real samples.
        real_positives: How many of them are defective.
        synthetic: Number of synthetic positives of each generator.
    """

    real: int
    real_positives: int
    synthetic: Mapping[str, int]

    @property
    def total(self) -> int:
        """Length of the wrapped dataset."""
        return self.real + sum(self.synthetic.values())

    @property
    def positives(self) -> float:
        """Share of positives in the wrapped dataset, in [0, 1]."""
        return (self.real_positives + sum(self.synthetic.values())) / max(self.total, 1)

    def __str__(self) -> str:
        rows = [("real normal", self.real - self.real_positives), ("real positive", self.real_positives)]
        rows += [(f"synthetic, {name}", count) for name, count in self.synthetic.items()]
        rows += [("total", self.total)]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {count:>9,}" for name, count in rows]
        return "\n".join([*lines, f"{'share of positives':<{width}}  {self.positives:>9.1%}"])


def as_int(index: object, length: int) -> int:
    """Return a dataset index in [0, length) from an int, numpy integer or 0-d tensor; negatives count from the end.

    Raises:
        IndexError: Out of range.
        TypeError: Not an integer.
    """
    array = np.asarray(index)
    position = array.item() if array.ndim == 0 else None
    if not isinstance(position, int) or isinstance(position, bool):
        raise TypeError(f"a dataset index is an integer; got {index!r}. For several, use torch.utils.data.Subset")
    if not -length <= position < length:
        raise IndexError(f"index {position} is out of range for a dataset of length {length}")
    return position if position >= 0 else position + length


def defect_class_of(paster: Paster) -> int:
    """Return the class of the defects that a paster paints."""
    return int(getattr(paster, "defect_class", 1))


def _holds_defect(mask: object, top: int) -> bool:
    """Return whether a moved mask has a defect; values above `top` are what a transform filled borders with."""
    try:
        array = containers.mask_array(mask)
    except ValueError:  # one-hot, or otherwise no longer a mask of one value per pixel
        return True
    highest = array.max(initial=0)
    return bool(0 < highest <= top or ((array > 0) & (array <= top)).any())
