import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset, random_split

from datasets import ClassLabel, Features, Value
from datasets import Dataset as HuggingFaceDataset
from inout_aug.labels import LabelRule, class_names, find_normal, infer_rule, read_labels
from inout_aug.layout import Fields, infer_layout
from support import Parts

PAIR = Fields(image=0, label=1)


class Untouchable(Parts):
    """Fails if an item is read."""

    def __getitem__(self, index):
        raise AssertionError("read")


@pytest.mark.parametrize("labels", [[1, 0, 0], np.array([1.0, 0, 0]), torch.tensor([1, 0, 0]), (True, False, False)])
def test_given_labels_win(labels):
    assert read_labels(Untouchable(3), PAIR, labels).tolist() == [1, 0, 0]


def test_targets_are_taken_without_reading_images():
    expected = [1] + [0] * 9
    assert read_labels(Untouchable(10), PAIR, None).tolist() == expected
    base = Untouchable(10, targets=False)
    base.labels = torch.tensor(expected)
    assert read_labels(base, PAIR, None).tolist() == expected


def test_targets_are_found_through_subsets_and_concatenations():
    parts = Untouchable(20)
    joined = ConcatDataset([Subset(parts, [10, 3]), random_split(parts, [5, 15])[1]])
    labels = read_labels(joined, PAIR, None)
    assert labels.tolist()[:2] == [1, 0]
    assert labels.tolist() == [parts.targets[i] for i in [10, 3, *joined.datasets[1].indices]]


def test_a_column_of_a_hugging_face_dataset():
    data = HuggingFaceDataset.from_dict({"image": [b"not an image"] * 3, "label": [0, 1, 0]})
    assert read_labels(data, Fields(image="image", label="label"), None).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "wrap",
    [None, lambda image, mask, label, index: (image, mask), lambda image, mask, label, index: (image, mask, label)],
)
def test_otherwise_one_scan_with_a_progress_bar(wrap, capsys):
    parts = Parts(25, wrap=wrap, targets=False)
    assert read_labels(parts, infer_layout(parts[0]), None).tolist() == [int(i % 10 == 0) for i in range(25)]
    captured = capsys.readouterr()
    assert "reading labels" in captured.err
    assert not captured.out


def test_targets_of_another_meaning_are_not_labels():
    parts = Parts(5, wrap=lambda image, mask, label, index: (image, mask), targets=False)
    parts.targets = ["mask_0.png"] * 5
    assert read_labels(parts, infer_layout(parts[0]), None).tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("labels", "error", "what"),
    [
        ([0, 1], ValueError, r"shape \(3,\); got \(2,\)"),
        ([[0], [1], [0]], ValueError, "one entry per sample"),
        (["good", "bad", "good"], TypeError, "Map class names"),
        ([0.5, 1, 0], TypeError, "whole numbers"),
        ([float("nan"), 1, 0], TypeError, "whole numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_labels_are_refused(labels, error, what):
    with pytest.raises(error, match=what):
        read_labels(Parts(3), PAIR, labels)


def rule(labels, normal=0, positive=None, names=None):
    return infer_rule(np.array(labels, np.int64), normal, positive, names or {})


def test_the_only_other_label_is_that_of_synthetic_positives():
    assert rule([0, 0, 7]) == LabelRule(0, 7)
    assert rule([0, 0]) == LabelRule(0, 1)
    assert rule([1, 1, 0], normal=1) == LabelRule(1, 0)


def test_a_label_for_each_defect_class():
    by_class = rule([0, 3, 4], positive={1: 3, 2: 4})
    assert [by_class.label_of(k) for k in (1, 2)] == [3, 4]
    with pytest.raises(ValueError, match="no entry for defect class 3"):
        by_class.label_of(3)


@pytest.mark.parametrize(
    ("labels", "normal", "positive", "what"),
    [
        ([0, 1, 2], 0, None, r"which label.*\[1, 2\]"),
        ([1, 1], 1, None, "which label"),
        ([0, 1], 0, 0, "normal"),
        ([0, 1], 0, {1: 1, 2: 0}, "normal"),
        ([0, 1], 0, 1.5, "a number, a class name"),
        ([0, 1], 0, "crak", "no class of the dataset"),
    ],
)
def test_ambiguous_positive_labels_are_refused(labels, normal, positive, what):
    with pytest.raises(ValueError, match=what):
        rule(labels, normal, positive)


class Named(Parts):
    def __init__(self, **names):
        super().__init__(4)
        del self.classes
        vars(self).update(names)


def test_class_names_are_found_as_libraries_give_them():
    data = HuggingFaceDataset.from_dict(
        {"image": ["a"], "label": [1]},
        Features({"image": Value("string"), "label": ClassLabel(names=["crack", "good"])}),
    )
    expected = {"crack": 0, "good": 1}
    assert class_names(data, Fields(image="image", label="label")) == expected
    assert class_names(Named(classes=["crack", "good"]), PAIR) == expected
    assert class_names(Subset(Named(class_to_idx=expected), [0]), PAIR) == expected
    assert class_names(ConcatDataset([Named(classes=("crack", "good"))]), PAIR) == expected
    assert class_names(Named(), PAIR) == {}
    assert class_names(Named(classes=["crack", "good"]), Fields(image=0, mask=1)) == {}


@pytest.mark.parametrize(
    ("names", "said", "label"),
    [
        (["crack", "good"], None, 1),
        (["Good", "crack", "dent"], None, 0),
        (["a", "No-Defect"], None, 1),
        (["0", "1"], None, 0),
        ([], None, 0),
        (["crack", "good"], "crack", 0),
        (["crack", "perfect"], 1, 1),
    ],
)
def test_the_normal_class_is_known_by_its_name(names, said, label):
    assert find_normal({name: i for i, name in enumerate(names)}, said) == label


@pytest.mark.parametrize(("names", "said"), [(["crack", "perfect"], None), (["ok", "good"], None), (["crack"], "good")])
def test_an_unknown_normal_class_is_asked_for(names, said):
    with pytest.raises(ValueError, match="normal_label"):
        find_normal({name: i for i, name in enumerate(names)}, said)


def test_a_positive_class_by_name():
    assert rule([0, 1, 2], positive="dent", names={"good": 0, "dent": 2}).positive == 2


def test_a_target_transform_counts():
    parts = Parts(20)
    parts.target_transform = lambda label: 1 - label
    assert read_labels(parts, PAIR, None).tolist() == [1 - label for label in parts.targets]
    assert class_names(parts, PAIR) == {}
