import hashlib
import itertools
import os
import pickle
import time
import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    Subset,
    WeightedRandomSampler,
    random_split,
)
from torchvision.transforms import v2

from inout_aug.augment import InOutAugment
from inout_aug.layout import get_field
from inout_aug.plugin import HostRefused
from support import Parts, Shelf, Square


def wrap(length=20, n_aug=7, **options):
    return InOutAugment(generators=[Square()], n_aug=n_aug, **options)(Parts(length))


def digest(items):
    """Hash every image, in order."""
    state = hashlib.sha256()
    for item in items:
        state.update(np.ascontiguousarray(np.asarray(item[0])))
    return state.hexdigest()


def epochs(train, workers, method, *, persistent=False, set_epoch=False, count=2, **options):
    """Hash `count` epochs read through a DataLoader."""
    loader = DataLoader(
        train,
        batch_size=4,
        num_workers=workers,
        multiprocessing_context=method if workers else None,
        persistent_workers=persistent and workers > 0,
        **options,
    )
    result = []
    for epoch in range(count):
        if set_epoch:
            train.set_epoch(epoch)
        result.append(digest(loader))
    return result


def test_real_samples_come_first_and_untouched():
    parts, train = Parts(20), wrap(20)
    assert len(train) == 27
    for i in range(20):
        image, label = train[i]
        assert np.array_equal(image, parts[i][0])
        assert label == parts[i][1]
    assert [train[i][1] for i in range(20, 27)] == [1] * 7


def test_outside_the_mask_a_synthetic_sample_is_its_host():
    parts = Parts(20, wrap=lambda image, mask, label, index: (image, mask, label))
    train = InOutAugment(generators=[Square()], n_aug=40)(parts)
    for i in range(20, 60):
        image, mask, label = train[i]
        sample = train.sample(i)
        host = parts[sample.origin.host][0]
        assert label == 1
        assert mask.any()
        assert np.array_equal(image[mask == 0], host[mask == 0])
        assert parts.targets[sample.origin.host] == 0
        replayed, again = Square().apply(host, sample.origin.params)
        assert np.array_equal(replayed, image)
        assert np.array_equal(again, mask)


@pytest.fixture(scope="module")
def expected():
    """Two epochs in the main process: the bytes that every other way must give."""
    return epochs(wrap(), 0, None)


@pytest.mark.parametrize("set_epoch", [False, True])
@pytest.mark.parametrize(
    ("workers", "method", "persistent"),
    [(0, None, False), *itertools.product([1, 2, 4], ["fork", "spawn", "forkserver"], [False, True])],
)
def test_same_bytes_whatever_the_workers(expected, workers, method, persistent, set_epoch):
    assert expected[0] != expected[1]
    assert epochs(wrap(), workers, method, persistent=persistent, set_epoch=set_epoch) == expected


def test_resample_false_freezes_the_synthetic_samples(expected):
    train = wrap(resample=False)
    assert epochs(train, 0, None, count=3) == [expected[0]] * 3
    train.set_epoch(5)
    assert epochs(train, 2, "fork") == [expected[0]] * 2


def test_seeds_differ(expected):
    assert epochs(wrap(seed=1), 0, None, count=1)[0] != expected[0]
    assert len({digest([wrap(n_aug=20)[20 + i]]) for i in range(20)}) == 20


def test_two_ranks_see_equal_lengths_and_together_everything(expected):
    seen = {}
    for rank in range(2):
        train = wrap()
        sampler = DistributedSampler(train, num_replicas=2, rank=rank, shuffle=True, seed=3)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            train.set_epoch(epoch)
            indices = list(sampler)
            assert len(indices) == 14
            seen.update({(epoch, i): digest([train[i]]) for i in indices})
    reference = wrap()
    for (epoch, i), found in seen.items():
        reference.set_epoch(epoch)
        assert found == digest([reference[i]])
    assert {i for epoch, i in seen if epoch == 0} == set(range(27))


def test_works_with_the_tools_of_torch():
    train = wrap(40, 20)
    weights = np.where(train.targets == 1, 5.0, 1.0)
    sampler = WeightedRandomSampler(torch.from_numpy(weights), 30, generator=torch.Generator().manual_seed(0))
    assert sum(len(labels) for _, labels in DataLoader(train, sampler=sampler, batch_size=8)) == 30
    assert sum(len(labels) for _, labels in DataLoader(train, shuffle=True, batch_size=8)) == 60
    assert Subset(train, [59])[0][1] == 1
    assert len(ConcatDataset([train, Parts(5)])) == 65
    left, right = random_split(train, [0.5, 0.5])
    assert len(left) + len(right) == 60
    nested = InOutAugment(generators=[Square()], n_aug=3)(Subset(train, range(50)))
    assert (len(nested), nested.targets.sum()) == (53, 4 + 10 + 3)


def test_attributes_of_the_dataset_are_available_and_targets_extended():
    train = wrap(20, 3)
    assert train.classes == ["good", "defective"]
    assert train.targets.tolist() == [*Parts(20).targets, 1, 1, 1]
    with pytest.raises(AttributeError, match="no_such"):
        _ = train.no_such
    with pytest.raises(AttributeError, match=r"method.*before wrapping, or as .dataset.label"):
        train.label(3)
    assert not hasattr(train, "labels")
    train.dataset.labels = Parts(20).targets
    assert train.labels.tolist() == train.targets.tolist()


def test_the_transform_can_be_set_as_some_loaders_do():
    train = wrap(20, 3)
    assert train.transform is None
    train.transform = np.negative
    assert np.array_equal(train[1][0], -Parts(20)[1][0])
    assert train.transform is np.negative


def test_epochs_reach_a_wrapped_set_inside():
    inner = wrap(20, 3)
    outer = InOutAugment(generators=[Square()], n_aug=2)(inner)
    outer.set_epoch(3)
    assert np.array_equal(outer[21][0], inner.sample(21, epoch=3).image)
    assert outer.summary().total == 25


class Scribbler(Square):
    def apply(self, image, params):
        image[:] = 0
        return super().apply(image, params)


def test_a_paster_cannot_write_into_the_dataset():
    with pytest.raises(ValueError, match="read-only"):
        InOutAugment(generators=[Scribbler()], n_aug=1)(Parts(20))[20]


def test_pickles_and_copies_anywhere():
    train = pickle.loads(pickle.dumps(wrap()))
    assert digest([train[20]]) == digest([wrap()[20]])


def test_in_and_out_are_mixed_and_labelled_by_class():
    augment = InOutAugment(generators=[Square(3), Shelf(10, classes=2)], n_aug=20, positive_label={1: 5, 2: 6, 3: 7})
    parts = Parts(30, every=0, wrap=lambda image, mask, label, index: {"image": image, "mask": mask, "label": label})
    train = augment(parts, mask_value=1)
    counted = np.bincount(train.targets, minlength=8)
    assert (counted[0], counted[5], counted[6], counted[7]) == (30, 5, 5, 10)
    for i in range(30, 50):
        assert train[i]["label"] == train.targets[i]
        assert train[i]["mask"].max() == {5: 1, 6: 2, 7: 3}[train.targets[i]]
    assert sorted(int(train.sample(i).origin.host is None) for i in range(30, 50)) == [0] * 10 + [1] * 10


def test_summary_is_printed_and_returned(capsys):
    summary = InOutAugment(generators=[Square(), Shelf(30)], n_aug=21)(Parts(40)).summary()
    assert (summary.real, summary.real_positives, summary.synthetic) == (40, 4, {"Square": 10, "Shelf": 11})
    assert summary.positives == pytest.approx(25 / 61)
    out = capsys.readouterr().out
    assert "41.0%" in out
    assert "synthetic, Square" in out


def test_hosts_are_used_evenly():
    train = wrap(40, 36 * 3)
    hosts = [train.sample(i).origin.host for i in range(40, 40 + 36 * 3)]
    assert np.bincount(hosts, minlength=40).tolist() == [0 if i % 10 == 0 else 3 for i in range(40)]


def cut_away(item):
    """A crop that misses the defect at first, as a random one may, and works in place."""
    cut_away.calls += 1
    image, mask, label = item
    image //= 2
    return (image, mask * 0 if cut_away.calls <= cut_away.misses else mask, label)


def test_a_positive_keeps_its_defect_through_the_transform():
    cut_away.calls, cut_away.misses = 0, 3
    parts = Parts(20, wrap=lambda image, mask, label, index: (image, mask, label))
    train = InOutAugment(generators=[Square()], n_aug=1)(parts, transform=cut_away, transform_on="item")
    image, mask, label = train[20]
    assert (label, mask.any()) == (1, True)
    assert np.array_equal(image, train.sample(20).image // 2)


def test_a_positive_that_lost_its_defect_is_normal_and_told():
    cut_away.calls, cut_away.misses = 0, 1000
    parts = Parts(20, wrap=lambda image, mask, label, index: (image, mask, label))
    train = InOutAugment(generators=[Square()], n_aug=1)(parts, transform=cut_away, transform_on="item")
    with pytest.warns(RuntimeWarning, match="Use larger crops"):
        _, mask, label = train[20]
    assert (label, mask.any()) == (0, False)


def test_random_crops_of_images_without_masks_keep_the_defect_too():
    parts = Parts(20, every=0, height=64, width=64)
    train = InOutAugment(generators=[Square()], n_aug=200)(
        parts, transform=v2.Compose([v2.ToImage(), v2.RandomCrop(48)])
    )
    host = {i: parts[i][0] for i in range(20)}
    for i in range(20, 220):
        image, label = train[i]
        painted = train.sample(i)
        inverted = 255 - host[painted.origin.host][painted.mask > 0]
        assert label == 1
        # the square is inverted, so brighter than anything in a host
        assert image.max() >= inverted.min() > 127


def renamed(item):
    return {"pixel_values": item["image"], "labels": item["label"]}


def test_a_transform_may_rename_and_drop_fields():
    parts = Parts(20, wrap=lambda image, mask, label, index: {"image": image, "mask": mask, "label": label})
    train = InOutAugment(generators=[Square()], n_aug=1)(parts, transform=renamed, transform_on="item")
    assert set(train[20]) == {"pixel_values", "labels"}


class Picky(Square):
    """Paints only on hosts whose first pixel is even, or on none."""

    def __init__(self, modulus):
        super().__init__()
        self.modulus = modulus

    def make_params(self, image, rng):
        if self.modulus == 0 or image[0, 0, 0] % self.modulus:
            raise HostRefused("not this one")
        return super().make_params(image, rng)


def test_a_refused_host_is_replaced_by_another():
    train = InOutAugment(generators=[Picky(2)], n_aug=30)(Parts(40))
    assert all(train.sample(i).image[0, 0, 0] % 2 == 0 or train.sample(i).mask[0, 0] for i in range(40, 70))
    with pytest.raises(HostRefused, match=r"Picky could not paint on any of 20 hosts.*not this one"):
        InOutAugment(generators=[Picky(0)], n_aug=1)(Parts(40))[40]


class Empty(Square):
    def apply(self, image, params):
        return image, np.zeros(image.shape[:2], np.uint8)


def test_a_broken_paster_is_named():
    with pytest.raises(ValueError, match="Empty returned an empty mask") as caught:
        InOutAugment(generators=[Empty()], n_aug=1)(Parts(40))[40]
    assert "(seed, epoch, index) = (0, 0, 0)" in caught.value.__notes__[0]


def test_wrong_labels_are_found_out_before_they_mislabel():
    train = InOutAugment(generators=[Square()], n_aug=20)(Parts(20), labels=[0] * 19 + [1])
    with pytest.raises(ValueError, match="sample 0 is listed as normal, but its own label is 1"):
        [train[i] for i in range(20, 40)]


class Crashing(Parts):
    """Its loader worker dies, or raises, at one sample."""

    def __init__(self, how):
        super().__init__(20)
        self.how = how

    def __getitem__(self, index):
        if index == 13 and torch.utils.data.get_worker_info() is not None:
            if self.how == "die":
                os._exit(1)
            raise OSError("disk gone")
        return super().__getitem__(index)


def crash(how, queue):
    """Read a set whose worker crashes, then read it again without workers; tell both outcomes."""
    train = InOutAugment(generators=[Square()], n_aug=5)(Crashing(how))
    try:
        epochs(train, 1, "fork", count=1)
    except (RuntimeError, OSError, EOFError) as error:
        told = str(error) or type(error).__name__
    train.set_epoch(0)
    queue.put((told, digest(train[i] for i in range(25))))


@pytest.mark.parametrize(("how", "what"), [("die", ""), ("raise", "disk gone")])
def test_a_worker_crash_is_told_and_loses_nothing(how, what):
    # in a process of its own: torch's SIGCHLD handler raises once more, at any later time
    queue = torch.multiprocessing.get_context("fork").Queue()
    child = torch.multiprocessing.get_context("fork").Process(target=crash, args=(how, queue))
    child.start()
    told, found = queue.get(timeout=60)
    child.join()
    reference = wrap(20, 5)
    # whether torch or the broken pipe notices first is a race
    assert told if how == "die" else what in told
    assert found == digest(reference[i] for i in range(25))


@pytest.mark.parametrize("index", [27, -28, 10**9])
def test_an_index_out_of_range(index):
    with pytest.raises(IndexError, match="length 27"):
        wrap()[index]


def test_other_kinds_of_index():
    train = wrap()
    train.set_epoch(0)
    for index in (np.int64(21), torch.tensor(21), 21 - 27):
        assert digest([train[index]]) == digest([train[21]])
    with pytest.raises(TypeError, match="Subset"):
        train[1:3]
    assert len(list(train)) == 27


class Huge(Dataset):
    """A million samples that are never read but for the first ones."""

    def __len__(self):
        return 1_000_000

    def __getitem__(self, index):
        return Parts(2, every=0)[0]


def test_wrapping_a_million_samples_is_cheap():
    labels = [0, 0, 0, 0, 1] * 200_000
    tracemalloc.start()
    start = time.perf_counter()
    train = InOutAugment(generators=[Square(), Shelf(10**6)], ratio=0.5)(Huge(), labels=labels)
    seconds, (now, _) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(train) == 1_500_000
    assert now < 50e6
    assert seconds < 5  # a second on an idle core; tracing and a busy machine slow it


def test_memory_does_not_grow_with_draws():
    train = wrap(20, 50)
    for i in range(20, 70):
        train[i]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(5000):
        train[20 + i % 50]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000


def test_float_hosts_keep_their_bits_outside_the_defect():
    floats = {i: torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(i)) for i in range(10)}
    parts = Parts(
        10, every=0, wrap=lambda image, mask, label, index: {"image": floats[index], "mask": mask, "label": label}
    )
    train = InOutAugment(generators=[Square()], n_aug=10)(parts, mask_value=1)
    for i in range(10, 20):
        sample, item = train.sample(i), train[i]
        outside = torch.from_numpy(sample.mask == 0)
        host = floats[sample.origin.host]
        assert torch.equal(get_field(item, "image")[:, outside], host[:, outside])
