"""The class label of every sample of a map-style dataset, read once, and what label a synthetic sample gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import ConcatDataset, Subset

from inout_aug import containers
from inout_aug.detection import Detection
from inout_aug.layout import Fields, Layout, get_field
from inout_aug.sample import Mask

NORMAL_NAMES = frozenset(
    {"good", "ok", "normal", "negative", "no_defect", "nodefect", "non_defective", "defect_free", "healthy", "pass"}
)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """The dataset's label of normal samples, and of each defect class.

    Attributes:
        normal: Label of normal samples.
        positive: Label of every synthetic positive, or a label for each defect class.
        any_label: Real samples may have other labels too.
        one_mask_class: Masks know one class of defects: those of all classes become 1, as their labels become one.
    """

    normal: int
    positive: int | Mapping[int, int]
    any_label: bool = False
    one_mask_class: bool = False

    def label_of(self, defect_class: int) -> int:
        """Return the dataset's label of a defect class.

        Raises:
            ValueError: The mapping lacks this class.
        """
        if not isinstance(self.positive, Mapping):
            return self.positive
        if defect_class not in self.positive:
            raise ValueError(
                f"positive_label= has no entry for defect class {defect_class}; it has {dict(self.positive)}. Add one"
            )
        return self.positive[defect_class]

    def classes_of(self, label: int) -> set[int]:
        """Return the defect classes that are said to have a label."""
        named = self.positive if isinstance(self.positive, Mapping) else {}
        return {defect_class for defect_class, theirs in named.items() if theirs == label}

    def mask_of(self, mask: Mask | None, defect_class: int) -> Mask | None:
        """Return the mask of a sample of a defect class, with the classes that the dataset's masks know."""
        if mask is None or not self.one_mask_class or defect_class == 1:
            return mask
        return np.minimum(mask, 1)

    def knows(self, label: int) -> bool:
        """Return whether normal or synthetic samples have this label, or a real one may."""
        return self.any_label or label in (
            self.normal,
            *(self.positive.values() if isinstance(self.positive, Mapping) else [self.positive]),
        )


def class_names(dataset: Any, layout: Layout) -> dict[str, int]:
    """Return the names of the labels, as torchvision and Hugging Face datasets tell them; empty if none are told."""
    if isinstance(layout, Fields) and layout.label is None:
        return {}  # names of mask values
    if getattr(dataset, "target_transform", None) is not None:
        return {}  # names of other numbers
    if isinstance(dataset, Subset):
        return class_names(dataset.dataset, layout)
    if isinstance(dataset, ConcatDataset):
        return class_names(dataset.datasets[0], layout)
    known = getattr(dataset, "class_to_idx", None)
    if isinstance(known, Mapping):
        return {str(name): int(label) for name, label in known.items()}
    names: Any = getattr(dataset, "classes", None)
    if names is None and isinstance(layout, Fields) and layout.label is not None:
        features = getattr(dataset, "features", None)
        names = getattr(features.get(layout.label), "names", None) if isinstance(features, Mapping) else None
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        return {}
    return {name: label for label, name in enumerate(names)}


def find_normal(names: Mapping[str, int], normal: int | str | None) -> int:
    """Return the label of normal samples: what the user said, else the class with a name for normal, else 0.

    Raises:
        ValueError: There is no such class name, or several or none of the names say normal.
    """
    if isinstance(normal, str):
        return _named(normal, names, "normal_label")
    if normal is not None:
        return normal
    telling = {name: label for name, label in names.items() if not name.isdigit()}
    found = [label for name, label in telling.items() if name.lower().replace("-", "_") in NORMAL_NAMES]
    if telling and len(found) != 1:
        raise ValueError(f"which class is normal? The dataset has {list(telling)}. Pass normal_label=<name or number>")
    return found[0] if found else 0


def _named(name: str, names: Mapping[str, int], option: str) -> int:
    if name not in names:
        raise ValueError(f"{option}={name!r} is no class of the dataset; it has {list(names) or 'no class names'}")
    return names[name]


def infer_rule(
    labels: NDArray[np.int64],
    normal: int,
    positive: int | str | Mapping[int, int] | None,
    names: Mapping[str, int],
) -> LabelRule:
    """Return the rule for a dataset's labels.

    Args:
        labels: Of the real samples.
        normal: Which of them is normal.
        positive: What the user said, or None to take the only other label there is (without any: 1).
        names: The dataset's class names with their labels.

    Raises:
        ValueError: `positive` is or contains `normal`, or several labels are possible.
    """
    if isinstance(positive, str):
        positive = _named(positive, names, "positive_label")
    if positive is None:
        others = np.unique(labels[labels != normal]).tolist()
        if len(others) > 1 or (not others and normal > 0):
            raise ValueError(
                f"which label should a synthetic defect have? The dataset has normal_label={normal} and {others}. "
                "Pass positive_label=<label>, or positive_label={defect class: label, ...}"
            )
        positive = others[0] if others else 1
    values = list(positive.values()) if isinstance(positive, Mapping) else [positive]
    if not all(isinstance(value, int | np.integer) for value in values):
        raise ValueError(f"positive_label is a number, a class name or {{defect class: number}}; got {positive!r}")
    if normal in values:
        raise ValueError(f"positive_label={positive} makes synthetic defects normal (normal_label={normal})")
    return LabelRule(normal, positive)


def label_of(item: Any, layout: Layout) -> int:
    """Return an item's label without decoding its image, where the layout allows; foreground counts as 1."""
    if isinstance(layout, Detection):
        return layout.label(item)
    if not isinstance(layout, Fields):
        return layout.unpack(item).label
    if layout.label is not None:
        return containers.decode_label(get_field(item, layout.label))
    mask = get_field(item, layout.mask if layout.mask is not None else layout.image)
    return int(containers.has_foreground(mask, layout.ignore_value))


def read_labels(dataset: Any, layout: Layout, labels: ArrayLike | None) -> NDArray[np.int64]:
    """Return the label of every sample: `labels`, else what the dataset tells, else by reading it through once.

    Args:
        dataset: Map-style, with a length.
        layout: How its items are read.
        labels: One number per sample, or None.

    Raises:
        ValueError: `labels` has another length or more than one axis.
        TypeError: `labels` holds something else than whole numbers.
    """
    if labels is not None:
        return _as_labels(labels, len(dataset))
    known = None if isinstance(layout, Detection) else _known_labels(dataset, getattr(layout, "label", None))
    if known is not None and len(known) == len(dataset):
        return known
    from rich.console import Console
    from rich.progress import track

    indices = track(range(len(dataset)), "reading labels (pass labels= to skip)", console=Console(stderr=True))
    return np.array([label_of(dataset[i], layout) for i in indices], np.int64)


def _as_labels(labels: Any, length: int) -> NDArray[np.int64]:
    if isinstance(labels, torch.Tensor):
        labels = labels.cpu().numpy()
    array = np.asarray(labels)
    if array.shape != (length,):
        raise ValueError(f"labels must have one entry per sample, shape ({length},); got {array.shape}")
    whole = array.astype(np.int64) if array.dtype.kind in "biuf" else None
    if whole is None or not np.array_equal(whole, array):
        raise TypeError(f"labels are whole numbers; got {array.dtype}. Map class names to numbers first")
    return whole


def _known_labels(dataset: Any, key: Any) -> NDArray[np.int64] | None:
    """Return labels the dataset knows without reading images; None if it does not tell, or not plainly."""
    if isinstance(dataset, Subset):
        base = _known_labels(dataset.dataset, key)
        return None if base is None else base[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [_known_labels(part, key) for part in dataset.datasets]
        found = [part for part in parts if part is not None]
        return np.concatenate(found) if len(found) == len(parts) else None
    candidates: list[Any] = [getattr(dataset, name, None) for name in ("targets", "labels")]
    if key is not None and key in (getattr(dataset, "column_names", None) or ()):
        candidates.append(dataset[key])  # a Hugging Face dataset reads one column without decoding the others
    for candidate in candidates:
        if isinstance(candidate, Sequence | np.ndarray | torch.Tensor) and not isinstance(candidate, str):
            try:
                labels = _as_labels(candidate, len(candidate))
            except (TypeError, ValueError):
                continue  # file names, boxes or masks: other datasets' meaning of `targets`
            return _target_transformed(labels, getattr(dataset, "target_transform", None))
    return None


def _target_transformed(labels: NDArray[np.int64], transform: Any) -> NDArray[np.int64] | None:
    """Return labels as the items have them, where a torchvision dataset changes them on the way."""
    if transform is None:
        return labels
    kinds, which = np.unique(labels, return_inverse=True)
    changed = [transform(kind) for kind in kinds.tolist()]
    if not all(containers.is_scalar(label) for label in changed):
        return None
    return np.array([containers.decode_label(label) for label in changed], np.int64)[which]
