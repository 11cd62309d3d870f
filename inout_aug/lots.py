"""Who makes what: how many samples of which defect classes each generator is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inout_aug.injector import defect_class_of
from inout_aug.labels import LabelRule
from inout_aug.mixer import InOutMixer, interleave
from inout_aug.plugin import Generator, Member, Paster, SampleSource, name_of

_MOST = 255  # a schedule is of bytes


@runtime_checkable
class ClassSource(SampleSource, Protocol):
    """A sample source that can be asked for single defect classes."""

    @property
    def classes(self) -> Sequence[int]:
        """Defect classes that it has samples of."""
        ...

    def of_classes(self, classes: Sequence[int]) -> SampleSource:
        """Return a source of these classes, in equal parts."""
        ...


@dataclass(frozen=True, slots=True)
class Lot:
    """Samples that are asked of one generator.

    Attributes:
        member: Its number in the mixer.
        count: How many an epoch.
        classes: Defect classes to draw in equal parts; None takes them as they come.
    """

    member: int
    count: int
    classes: tuple[int, ...] | None = None


def share_out(mixer: InOutMixer, missing: Mapping[int | None, int], rule: LabelRule) -> list[Lot]:
    """Return the lots that make up what is missing; every member has one, if only of 0 samples.

    Args:
        mixer: Shares samples among its members: of one label, among those that make a class with this label.
        missing: Samples wanted of each label; under None, of whatever the members make.
        rule: The label of each defect class.

    Raises:
        TypeError: A sample source cannot be asked for classes.
        ValueError: No member makes a class with a label that is wanted, or there are too many lots.
    """
    lots = []
    for label, total in missing.items():
        if label is None:
            lots += [Lot(member, count) for member, count in enumerate(mixer.counts(total))]
        elif total:
            lots += _lots_of(label, total, mixer, rule)
    idle = set(range(len(mixer.members))) - {lot.member for lot in lots}
    lots += [Lot(member, 0) for member in sorted(idle)]
    if len(lots) > _MOST:
        raise ValueError(f"uniform= with {len(missing)} labels and {len(mixer.members)} generators is too much at once")
    return lots


def schedule(lots: list[Lot]) -> NDArray[np.uint8]:
    """Return the lot of each synthetic sample: any stretch has its share of each."""
    return interleave([lot.count for lot in lots])


def _lots_of(label: int, total: int, mixer: InOutMixer, rule: LabelRule) -> list[Lot]:
    made = [tuple(sorted(rule.classes_of(label).intersection(_classes(member)))) for member in mixer.members]
    able = [member for member, classes in enumerate(made) if classes]
    if not able:
        raise ValueError(
            f"{total} synthetic samples of label {label} are missing, but no generator makes a defect class with that "
            f"label: positive_label={rule.positive}. Add one, such as MemSegPaste(defect_class=...)"
        )
    counts = mixer.among(able).counts(total)
    return [
        Lot(member, count, None if isinstance(mixer.members[member], Paster) else made[member])
        for member, count in zip(able, counts, strict=True)
    ]


def _classes(member: Member) -> tuple[int, ...]:
    """Return the defect classes that a member makes."""
    if isinstance(member, Paster):
        return (defect_class_of(member),)
    if isinstance(member, Generator):
        return tuple(range(1, int(getattr(member, "defect_classes", 1)) + 1))
    if not isinstance(member, ClassSource):
        raise TypeError(
            f"{name_of(member)} cannot be asked for single defect classes, as uniform= with several labels needs: it "
            "lacks classes and of_classes(classes), which CachedSampler has"
        )
    return tuple(member.classes)
