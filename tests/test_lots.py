import numpy as np
import pytest

from inout_aug import InOutAugment
from inout_aug.labels import LabelRule
from inout_aug.lots import Lot, schedule, share_out
from inout_aug.mixer import InOutMixer
from inout_aug.sample import Sample
from support import Parts, Shelf, Square

RULE = LabelRule(0, {1: 4, 2: 5, 3: 5})


class Rack(Shelf):
    """A shelf that can be asked for classes; it notes what it was asked for."""

    name, fingerprint = "Rack", "rack"

    def __init__(self, classes=(1, 2, 3)):
        super().__init__(1000, len(classes))
        self.classes = classes

    def of_classes(self, classes):
        return Rack(tuple(classes))

    def bind(self, count, like, seed):
        return RackDraws(np.resize(self.classes, count).astype(np.uint8), like)


class RackDraws:
    def __init__(self, classes, like):
        self.classes, self.size = classes, like.size

    def __call__(self, position, epoch):
        mask = np.zeros(self.size, np.uint8)
        mask[2:6, 2:6] = self.classes[position]
        return Sample(np.full((*self.size, 3), 100 + position % 100, np.uint8), mask, int(self.classes[position]))


class Maker:
    """A generator of the classes 1 to 2."""

    fingerprint, defect_classes = "maker", 2

    def generate(self, requests):
        raise NotImplementedError


def several(every=10, length=60):
    """Samples of the labels 0, 4 and 5."""
    parts = Parts(length, every=0, wrap=lambda image, mask, label, index: (image, parts.targets[index]))
    parts.targets = [0 if index % every else 4 + (index // every) % 2 for index in range(length)]
    parts.classes = None
    return parts


def test_without_labels_every_member_has_its_share():
    mixer = InOutMixer([Square(), Shelf(), Square()])
    assert share_out(mixer, {None: 10}, RULE) == [Lot(0, 3), Lot(1, 5), Lot(2, 2)]


def test_of_a_label_only_those_that_make_it():
    mixer = InOutMixer([Square(1), Square(3), Rack(), Maker()])
    lots = share_out(mixer, {4: 12, 5: 40}, RULE)
    assert lots == [
        *(Lot(0, 6), Lot(2, 3, (1,)), Lot(3, 3, (1,))),
        *(Lot(1, 20), Lot(2, 10, (2, 3)), Lot(3, 10, (2,))),
    ]


def test_weights_hold_among_those_that_make_a_label():
    mixer = InOutMixer([Square(1), Rack(), Square(2)], [1, 3, 0])
    assert share_out(mixer, {4: 8}, RULE) == [Lot(0, 2), Lot(1, 6, (1,)), Lot(2, 0)]
    with pytest.raises(ValueError, match=r"give nothing to .*Square-2"):
        share_out(InOutMixer([Square(1), Square(2)], [1, 0]), {5: 8}, RULE)


def test_a_full_label_needs_no_generator_and_a_missing_one_is_told():
    mixer = InOutMixer([Square(1)])
    assert share_out(mixer, {4: 3, 5: 0}, RULE) == [Lot(0, 3)]
    with pytest.raises(ValueError, match="7 synthetic samples of label 5 are missing, but no generator"):
        share_out(mixer, {4: 3, 5: 7}, RULE)


def test_a_source_without_classes_serves_one_label_alone():
    assert share_out(InOutMixer([Shelf()]), {None: 7}, RULE) == [Lot(0, 7)]
    with pytest.raises(TypeError, match=r"Shelf cannot be asked for single defect classes.*CachedSampler"):
        share_out(InOutMixer([Shelf()]), {4: 7}, RULE)


def test_too_many_lots_are_refused():
    rule = LabelRule(0, {k: k for k in range(1, 256)})
    with pytest.raises(ValueError, match="too much at once"):
        share_out(InOutMixer([Rack(range(1, 256)), Square(1)]), dict.fromkeys(range(1, 256), 2), rule)


def test_the_schedule_mixes_the_lots():
    order = schedule([Lot(0, 10), Lot(0, 20, (2,)), Lot(1, 70)])
    for start in range(0, 90, 5):
        assert np.abs(np.bincount(order[start : start + 10], minlength=3) - [1, 2, 7]).max() <= 1


def test_uniform_fills_every_class_of_a_dataset_up():
    parts = several()
    augment = InOutAugment(generators=[Square(1), Rack()], uniform=12, positive_label={1: 4, 2: 5, 3: 5})
    train = augment(parts)
    assert np.unique(train.targets, return_counts=True)[1].tolist() == [54, 12, 12]
    assert [train[index][1] for index in range(len(train))] == train.targets.tolist()
    made = [train.sample(index) for index in range(60, len(train))]
    assert sorted(int(sample.mask.max()) for sample in made) == [1] * 9 + [2] * 5 + [3] * 4


def test_the_summary_adds_up_what_one_generator_makes(capsys):
    train = InOutAugment(generators=[Square(1), Rack()], uniform=12, positive_label={1: 4, 2: 5, 3: 5})(several())
    assert train.summary().synthetic == {"Square": 4, "Rack": 5 + 9}
    assert capsys.readouterr().out.count("synthetic, Rack") == 1
