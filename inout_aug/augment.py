"""The one line a user adds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, IterableDataset

from inout_aug.containers import Denormalize
from inout_aug.dataset import InOutDataset
from inout_aug.detection import NO_BOX, Detection, find_detection
from inout_aug.hosts import DatasetHosts, Hosts
from inout_aug.injector import Injector
from inout_aug.labels import LabelRule, class_names, find_normal, infer_rule, read_labels
from inout_aug.layout import (
    AmbiguousLayout,
    Fields,
    Key,
    Layout,
    declared_layout,
    describe_item,
    infer_layout,
    with_mask_value,
)
from inout_aug.mixer import InOutMixer
from inout_aug.plugin import Draws, Generator, Member, Paster, SampleSource, fingerprint_of
from inout_aug.sample import Sample
from inout_aug.seeding import check_seed
from inout_aug.stream import PERIOD, InOutIterableDataset
from inout_aug.transform import ItemTransform, Transform, TransformOn

if TYPE_CHECKING:
    from inout_aug.collate import BatchCollate

# real samples of each kind that wrapping looks at
_WITNESSES = 12


class InOutAugment:
    """Adds synthetic positives to any dataset: `train = InOutAugment(generators=[...], ratio=0.5)(train_set)`.

    Out-of-distribution defects are painted on the dataset's normal samples at every visit, in-distribution ones come
    from a cache; by default half of each (In&Out, section 3.3).

    Args:
        generators: Pasters, cached samplers and generators.
        ratio: Synthetic positives per real sample: adds `round(ratio * len(dataset))`.
        n_aug: Instead: how many to add.
        balance: Instead: the share of positives wanted in the wrapped dataset, in (0, 1); the number follows from the
            labels.
        weights: Shares of the generators, in order or by class name.
        seed: Base seed; the same seed gives the same bytes.
        resample: Draw new synthetic samples in every epoch.
        normal_label: The dataset's label of normal samples, or that class's name. Default: the class named good, ok,
            normal or the like, if the dataset names its classes, else 0.
        positive_label: The label that synthetic positives get, or its name, or a label for each defect class. Default:
            the one other label that the dataset has, else 1. With one label for all, and real masks that know one class
            of defects, the masks of cached samples of other classes become that class too.

    Raises:
        ValueError: Not exactly one of `ratio`, `n_aug` and `balance` is given, or a value is out of range.
        TypeError: A generator is none.

    Example:
        >>> from inout_aug import InOutAugment, MemSegPaste
        >>> from inout_aug.datasets import Surfaces
        >>> train = InOutAugment(generators=[MemSegPaste()], ratio=0.5)(Surfaces(100, size=(64, 64), binary=True))
        >>> len(train)
        150
    """

    def __init__(
        self,
        *,
        generators: Sequence[Member],
        ratio: float | None = None,
        n_aug: int | None = None,
        balance: float | None = None,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        seed: int = 0,
        resample: bool = True,
        normal_label: int | str | None = None,
        positive_label: int | str | Mapping[int, int] | None = None,
    ) -> None:
        given = {"ratio": ratio, "n_aug": n_aug, "balance": balance}
        if sum(value is not None for value in given.values()) != 1:
            raise ValueError(f"give exactly one of ratio=, n_aug= and balance=; got {given}")
        if ratio is not None and not (_is_number(ratio) and math.isfinite(ratio) and ratio >= 0):
            raise ValueError(f"ratio is synthetic positives per real sample, finite and >= 0; got {ratio!r}")
        if n_aug is not None and not (_is_number(n_aug) and float(n_aug).is_integer() and n_aug >= 0):
            raise ValueError(f"n_aug is a number of samples, an integer >= 0; got {n_aug!r}")
        if balance is not None and not (_is_number(balance) and 0 < balance < 1):
            raise ValueError(f"balance is the share of positives, in (0, 1); got {balance!r}")
        if not isinstance(generators, Sequence) or isinstance(generators, str):
            raise TypeError(f"generators is a list, for example [MemSegPaste()]; got {generators!r}")
        for member in generators:
            if isinstance(member, type) or not isinstance(member, Paster | SampleSource | Generator):
                raise TypeError(
                    f"{member!r} is no generator: it needs make_params and apply (Paster), bind (SampleSource) or "
                    "generate (Generator). Give an object, as MemSegPaste(); plugin.create(name) makes installed ones"
                )
        self.mixer = InOutMixer(generators, weights)
        self.ratio, self.n_aug, self.balance = ratio, n_aug, balance
        self.seed = check_seed(seed)
        self.resample = resample
        self.normal_label, self.positive_label = normal_label, positive_label

    def __repr__(self) -> str:
        amount = next(
            f"{name}={value}"
            for name, value in [("ratio", self.ratio), ("n_aug", self.n_aug), ("balance", self.balance)]
            if value is not None
        )
        return f"InOutAugment(generators={list(self.mixer.members)}, {amount}, seed={self.seed})"

    @cached_property
    def collate(self) -> BatchCollate:
        """The same without wrapping: `DataLoader(dataset, collate_fn=augment.collate)` paints inside each batch.

        It turns `ratio / (1 + ratio)` of the normals into positives, so that there are `ratio` synthetic samples for
        each other one. It takes one `MemSegPaste`; see `BatchCollate` for when this is better, and for more options.

        Raises:
            ValueError: There are other generators, no `ratio`, or labels by name.
        """
        from inout_aug.collate import collate_for

        return collate_for(self)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # an IterableDataset is a Dataset too; the first match holds
        self,
        dataset: IterableDataset[Any],
        *,
        transform: Transform | None = ...,
        transform_on: TransformOn = ...,
        layout: Layout | None = ...,
        mask_value: int | None = ...,
        denormalize: Denormalize | None = ...,
        defaults: Mapping[Key, Any] | None = ...,
    ) -> InOutIterableDataset: ...

    @overload
    def __call__(
        self,
        dataset: Dataset[Any] | Sequence[Any],
        *,
        transform: Transform | None = ...,
        transform_on: TransformOn = ...,
        labels: ArrayLike | None = ...,
        layout: Layout | None = ...,
        mask_value: int | None = ...,
        denormalize: Denormalize | None = ...,
        defaults: Mapping[Key, Any] | None = ...,
    ) -> InOutDataset: ...

    def __call__(
        self,
        dataset: Any,
        *,
        transform: Transform | None = None,
        transform_on: TransformOn = "auto",
        labels: ArrayLike | None = None,
        layout: Layout | None = None,
        mask_value: int | None = None,
        denormalize: Denormalize | None = None,
        defaults: Mapping[Key, Any] | None = None,
    ) -> InOutDataset | InOutIterableDataset:
        """Wrap a dataset.

        Args:
            dataset: Map-style or iterable; items are tuples, lists, mappings or dataclasses of an image and a label, a
                mask, or both.
            transform: Runs after the defects are in, on real and synthetic items alike.
            transform_on: What a plain callable is called with: "image" or "item".
            labels: Of the real samples, one number each; else the dataset's `targets` or `labels`, else one scan.
            layout: How items are read, where it cannot be told; a dataset may declare it, as its attribute `layout`.
            mask_value: What stands for a defect in 8-bit masks, 1 or 255, where no real mask shows it.
            denormalize: (mean, std), if the dataset normalises its images and cannot be changed.
            defaults: Values of other fields in synthetic items; else they are the host's.

        Returns:
            An `InOutDataset`, or an `InOutIterableDataset` for an iterable one.

        Raises:
            AmbiguousLayout: The items can be read in more than one way, or in none.
            TypeError: A part has an unsupported type.
            ValueError: There is no normal sample to paint on, or an image, mask or label is not as it must be.
        """
        options = {"mask_value": mask_value, "denormalize": denormalize, "defaults": defaults}
        if layout is not None and any(value is not None for value in options.values()):
            raise ValueError(f"with layout=, give {', '.join(options)} to the layout itself")
        first = _first_item(dataset)
        if layout is None and all(value is None for value in options.values()):
            layout = declared_layout(dataset)
        found = layout or _infer(first, mask_value, denormalize, defaults)
        apply = None if transform is None else ItemTransform(transform, found, transform_on)
        names = class_names(dataset, found)
        normal = self._normal_of(found, names)
        if isinstance(dataset, IterableDataset):
            if labels is not None:
                raise ValueError("labels= is for map-style datasets; items of an iterable one carry a label or a mask")
            rule = infer_rule(np.empty(0, np.int64), normal, self.positive_label, names)
            if isinstance(found, Detection):
                rule = replace(rule, any_label=True)
            return self._wrap_iterable(dataset, with_mask_value(found, [first]), apply, first, rule)
        _refuse_normalize(dataset, denormalize)
        real_labels = read_labels(dataset, found, labels)
        witnesses = [dataset[int(i)] for i in _spread(np.flatnonzero(real_labels != normal), _WITNESSES)]
        if layout is None and witnesses:
            _same_layout(found, _infer(witnesses[0], mask_value, denormalize, defaults), first, witnesses[0])
        kinds = [kind for item in witnesses if isinstance(found, Detection) for kind in found.categories(item)]
        rule = infer_rule(np.append(real_labels, kinds).astype(np.int64), normal, self.positive_label, names)
        known = with_mask_value(found, witnesses or [first])
        if not isinstance(rule.positive, Mapping):
            rule = replace(rule, one_mask_class=_highest_class(known, witnesses) <= 1)
        return self._wrap_map(dataset, known, apply, real_labels, rule)

    def _normal_of(self, layout: Layout, names: Mapping[str, int]) -> int:
        """Return the label of normal samples."""
        if not isinstance(layout, Detection):
            return find_normal(names, self.normal_label)
        if self.normal_label is not None:
            raise ValueError("normal_label= is for labels of whole images: items with boxes are normal without a box")
        return NO_BOX

    def _wrap_map(
        self, dataset: Any, layout: Layout, transform: ItemTransform | None, labels: NDArray[np.int64], rule: LabelRule
    ) -> InOutDataset:
        total = self._total(labels, rule.normal)
        hosts = np.flatnonzero(labels == rule.normal)
        normals = [dataset[int(i)] for i in _spread(hosts, _WITNESSES)] if total else []
        if total and not normals:
            raise ValueError(
                f"no normal sample to paint on: no label is {rule.normal}; there are "
                f"{np.unique(labels)[:10].tolist()}. Pass normal_label="
            )
        for item in normals:
            layout.unpack(item)  # told now, not in the middle of an epoch
        return InOutDataset(
            dataset,
            injector=self._injector(
                total, normals[0] if normals else None, layout, rule, transform, DatasetHosts(dataset, hosts, layout)
            ),
            schedule=self.mixer.schedule(total),
            labels=labels,
            seed=self.seed,
            resample=self.resample,
        )

    def _wrap_iterable(
        self, dataset: Any, layout: Layout, transform: ItemTransform | None, first: Any, rule: LabelRule
    ) -> InOutIterableDataset:
        if self.ratio is None:
            raise ValueError("an iterable dataset needs ratio=: n_aug= and balance= need to know its length and labels")
        return InOutIterableDataset(
            dataset,
            injector=self._injector(PERIOD, first, layout, rule, transform),
            rhythm=self.mixer.schedule(PERIOD),
            ratio=self.ratio,
            seed=self.seed,
            resample=self.resample,
        )

    def _injector(
        self,
        total: int,
        template: Any,
        layout: Layout,
        rule: LabelRule,
        transform: ItemTransform | None,
        hosts: Hosts | None = None,
    ) -> Injector:
        like = layout.unpack(template) if total else None
        return Injector(
            names=self.mixer.names,
            fingerprints=tuple(fingerprint_of(member) for member in self.mixer.members),
            members=tuple(
                _ready(member, count, like, self.seed, hosts)
                for member, count in zip(self.mixer.members, self.mixer.counts(total), strict=True)
                if like is not None
            ),
            template=template,
            layout=layout,
            rule=rule,
            transform=transform,
        )

    def _total(self, labels: NDArray[np.int64], normal: int) -> int:
        """Return how many synthetic samples to add."""
        if self.n_aug is not None:
            return int(self.n_aug)
        if self.ratio is not None:
            return round(self.ratio * len(labels))
        share = float(self.balance or 0)
        positives = int(np.count_nonzero(labels != normal))
        missing = (share * len(labels) - positives) / (1 - share)
        if missing < -0.5:
            raise ValueError(
                f"balance={share} is the share of positives to reach, but {positives} of {len(labels)} samples are "
                "positive already"
            )
        return max(0, round(missing))


def _first_item(dataset: Any) -> Any:
    """Return the first item of a dataset that can be wrapped."""
    if isinstance(dataset, IterableDataset):
        items = list(itertools.islice(dataset, 1))
        if items and iter(dataset) is iter(dataset):
            raise TypeError(
                f"{type(dataset).__name__} can be iterated once only, and looking at its first item would lose it. Let "
                "__iter__ start anew"
            )
    elif isinstance(dataset, Mapping):
        raise TypeError(f"{type(dataset).__name__} maps names to datasets, it seems: pick one, as dataset['train']")
    elif not hasattr(dataset, "__getitem__"):
        raise TypeError(f"a dataset is indexable or an IterableDataset; got {type(dataset).__name__}")
    elif not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{type(dataset).__name__} has no __len__, so a ratio of it is not defined. Add __len__, take a "
            "torch.utils.data.Subset of it, or make it an IterableDataset"
        )
    else:
        items = [dataset[0]] if len(dataset) else []
    if not items:
        raise ValueError("the dataset is empty")
    return items[0]


def _infer(
    item: Any, mask_value: int | None, denormalize: Denormalize | None, defaults: Mapping[Key, Any] | None
) -> Layout:
    detection = find_detection(item, denormalize=denormalize, defaults=defaults)
    if detection is None:
        return infer_layout(item, mask_value=mask_value, denormalize=denormalize, defaults=defaults)
    if mask_value is not None:
        raise ValueError("mask_value= is for masks of classes, but the items have boxes")
    return detection


def _ready(member: Member, count: int, like: Sample, seed: int, hosts: Hosts | None) -> Paster | Draws:
    if isinstance(member, Paster):
        return member
    if isinstance(member, SampleSource):
        return member.bind(count, like, seed)
    # expensive: made now, in the main process, unless an earlier run has made them
    from inout_aug.cache.sampler import cached

    return cached(member, count, like, seed, hosts)


def _highest_class(layout: Layout, items: Sequence[Any]) -> int:
    """Return the highest defect class in the masks of items, 0 without masks."""
    masks = (layout.unpack(item).mask for item in items)
    return max((int(mask.max()) for mask in masks if mask is not None), default=0)


def _spread(indices: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return up to `count` of the indices, evenly spread, the first one included."""
    step = max(1, -(-len(indices) // count))
    return indices[::step]


def _refuse_normalize(dataset: Any, denormalize: Denormalize | None) -> None:
    """Raise if a transform inside the dataset shows that it normalises: values alone may not tell."""
    for name in ("transform", "transforms"):
        if denormalize is None and "Normalize(" in repr(getattr(dataset, name, None)):
            raise ValueError(
                f"the dataset's own {name} normalises its images, and defects are painted on pixels. Take the "
                "transform out of the dataset and pass it as transform=, which runs after the defects are in; or pass "
                "denormalize=(mean, std)"
            )


def _same_layout(normal: Layout, positive: Layout, first: Any, witness: Any) -> None:
    """Raise if defective items have another form than the first one, as where only they have a mask."""
    keys = [(layout.image, layout.mask, layout.label) for layout in (normal, positive) if isinstance(layout, Fields)]
    if len(set(keys)) > 1 or type(normal) is not type(positive):
        raise AmbiguousLayout(
            f"items have different forms: {describe_item(first)} and {describe_item(witness)}. Return a mask of zeros "
            "for normal samples, or say which fields count with layout=Fields(image=..., mask=..., label=...)"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
