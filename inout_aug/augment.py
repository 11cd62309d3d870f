"""The one line a user adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, IterableDataset

from inout_aug._survey import check_same_layout, first_item, highest_class, read_layout, refuse_normalize, witnesses
from inout_aug.amount import Amount
from inout_aug.containers import Denormalize
from inout_aug.dataset import InOutDataset
from inout_aug.detection import NO_BOX, Detection
from inout_aug.hosts import DatasetHosts, Hosts
from inout_aug.injector import Injector
from inout_aug.labels import LabelRule, class_names, find_normal, infer_rule, read_labels
from inout_aug.layout import Key, Layout, declared_layout, with_mask_value
from inout_aug.lots import ClassSource, Lot, schedule, share_out
from inout_aug.mixer import InOutMixer
from inout_aug.plugin import Draws, Generator, Member, Paster, SampleSource, fingerprint_of
from inout_aug.sample import Sample
from inout_aug.seeding import check_seed
from inout_aug.stream import PERIOD, InOutIterableDataset
from inout_aug.transform import ItemTransform, Transform, TransformOn

if TYPE_CHECKING:
    from inout_aug.collate import BatchCollate


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
        uniform: Instead: how many samples each positive label is filled up to; of a label with n real ones,
            `max(0, uniform - n)` are added. With a `positive_label` for each defect class, each label is filled up by
            itself, by the generators that make its classes (Defect Spectrum's uniform upsampling, with 150; of several
            products, wrap each by itself).
        normals: How many normal samples stay per positive, real and synthetic: `round(normals * positives)`, drawn by
            seed; all normals remain hosts. 1.0 makes half of the wrapped dataset normal, 0 leaves positives only, None
            keeps all (Defect Spectrum's normal data: 0.2 to 3.0). `ratio` counts samples before it.
        weights: Shares of the generators, in order or by class name.
        seed: Base seed; the same seed gives the same bytes.
        resample: Draw new synthetic samples in every epoch.
        normal_label: The dataset's label of normal samples, or that class's name. Default: the class named good, ok,
            normal or the like, if the dataset names its classes, else 0.
        positive_label: The label that synthetic positives get, or its name, or a label for each defect class. Default:
            the one other label that the dataset has, else 1. With one label for all, and real masks that know one class
            of defects, the masks of cached samples of other classes become that class too.

    Raises:
        ValueError: Not exactly one of `ratio`, `n_aug`, `balance` and `uniform` is given, or a value is out of range.
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
        uniform: int | None = None,
        normals: float | None = None,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        seed: int = 0,
        resample: bool = True,
        normal_label: int | str | None = None,
        positive_label: int | str | Mapping[int, int] | None = None,
    ) -> None:
        self.amount = Amount(ratio=ratio, n_aug=n_aug, balance=balance, uniform=uniform, normals=normals)
        if not isinstance(generators, Sequence) or isinstance(generators, str):
            raise TypeError(f"generators is a list, for example [MemSegPaste()]; got {generators!r}")
        for member in generators:
            if isinstance(member, type) or not isinstance(member, Paster | SampleSource | Generator):
                raise TypeError(
                    f"{member!r} is no generator: it needs make_params and apply (Paster), bind (SampleSource) or "
                    "generate (Generator). Give an object, as MemSegPaste(); plugin.create(name) makes installed ones"
                )
        self.mixer = InOutMixer(generators, weights)
        self.seed = check_seed(seed)
        self.resample = resample
        self.normal_label, self.positive_label = normal_label, positive_label

    def __repr__(self) -> str:
        return f"InOutAugment(generators={list(self.mixer.members)}, {self.amount}, seed={self.seed})"

    @cached_property
    def collate(self) -> BatchCollate:
        """The same without wrapping: `DataLoader(dataset, collate_fn=augment.collate)` paints inside each batch.

        It turns `ratio / (1 + ratio)` of the normals into positives, so that there are `ratio` synthetic samples for
        each other one. It takes one `MemSegPaste`; see `BatchCollate` for when this is better, and for more options.

        Raises:
            ValueError: There are other generators, no `ratio`, `normals`, or labels by name.
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
        first = first_item(dataset)
        if layout is None and all(value is None for value in options.values()):
            layout = declared_layout(dataset)
        found = layout or read_layout(first, mask_value, denormalize, defaults)
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
        refuse_normalize(dataset, denormalize)
        real_labels = read_labels(dataset, found, labels)
        defective = witnesses(dataset, real_labels != normal)
        if layout is None and defective:
            check_same_layout(found, read_layout(defective[0], mask_value, denormalize, defaults), first, defective[0])
        kinds = [kind for item in defective if isinstance(found, Detection) for kind in found.categories(item)]
        rule = infer_rule(np.append(real_labels, kinds).astype(np.int64), normal, self.positive_label, names)
        known = with_mask_value(found, defective or [first])
        if not isinstance(rule.positive, Mapping):
            rule = replace(rule, one_mask_class=highest_class(known, defective) <= 1)
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
        lots = share_out(self.mixer, self.amount.missing(labels, rule), rule)
        total = sum(lot.count for lot in lots)
        normals = witnesses(dataset, labels == rule.normal) if total else []
        if total and not normals:
            raise ValueError(
                f"no normal sample to paint on: no label is {rule.normal}; there are "
                f"{np.unique(labels)[:10].tolist()}. Pass normal_label="
            )
        for item in normals:
            layout.unpack(item)  # told now, not in the middle of an epoch
        real = self.amount.staying(labels, rule.normal, total, self.seed)
        hosts = DatasetHosts(dataset, np.flatnonzero(labels == rule.normal), layout)
        return InOutDataset(
            dataset,
            injector=self._injector(lots, normals[0] if normals else None, layout, rule, transform, hosts),
            schedule=schedule(lots),
            labels=labels,
            real=real,
            seed=self.seed,
            resample=self.resample,
        )

    def _wrap_iterable(
        self, dataset: Any, layout: Layout, transform: ItemTransform | None, first: Any, rule: LabelRule
    ) -> InOutIterableDataset:
        if self.amount.ratio is None or self.amount.normals is not None:
            raise ValueError(
                "an iterable dataset needs ratio= alone: the other numbers need to know its length and labels; got "
                f"{self.amount}"
            )
        lots = share_out(self.mixer, {None: PERIOD}, rule)
        return InOutIterableDataset(
            dataset,
            injector=self._injector(lots, first, layout, rule, transform),
            rhythm=schedule(lots),
            ratio=self.amount.ratio,
            seed=self.seed,
            resample=self.resample,
        )

    def _injector(
        self,
        lots: Sequence[Lot],
        template: Any,
        layout: Layout,
        rule: LabelRule,
        transform: ItemTransform | None,
        hosts: Hosts | None = None,
    ) -> Injector:
        like = None if template is None else layout.unpack(template)
        members = [self.mixer.members[lot.member] for lot in lots]
        return Injector(
            names=tuple(self.mixer.names[lot.member] for lot in lots),
            fingerprints=tuple(fingerprint_of(member) for member in members),
            members=tuple(
                _ready(member, lot, like, self.seed, hosts)
                for member, lot in zip(members, lots, strict=True)
                if like is not None
            ),
            template=template,
            layout=layout,
            rule=rule,
            transform=transform,
        )


def _ready(member: Member, lot: Lot, like: Sample, seed: int, hosts: Hosts | None) -> Paster | Draws:
    if isinstance(member, Paster):
        return member
    if isinstance(member, SampleSource):
        if lot.classes is not None and isinstance(member, ClassSource):
            member = member.of_classes(lot.classes)
        return member.bind(lot.count, like, seed)
    # expensive: made now, in the main process, unless an earlier run has made them
    from inout_aug.cache.sampler import cached

    return cached(member, lot.count, like, seed, hosts, lot.classes)
