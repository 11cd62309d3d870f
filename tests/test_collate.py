import pickle
from dataclasses import dataclass

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from inout_aug import NSA, BatchCollate, BatchPaste, Fields, InOutAugment, MemSegPaste


def picture(index):
    return torch.rand(3, 32, 40, generator=torch.Generator().manual_seed(index)) * 0.5 + 0.2


class Pictures(Dataset):
    """Every fifth is defective."""

    def __init__(self, wrap, length=40):
        self.wrap, self.length = wrap, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index >= self.length:
            raise IndexError(index)
        mask = torch.zeros(32, 40, dtype=torch.uint8)
        mask[:3] = index % 5 == 0
        return self.wrap(picture(index), int(index % 5 == 0), mask)


class Stream(IterableDataset):
    def __iter__(self):
        yield from Pictures(as_pair)


@dataclass
class Item:
    image: torch.Tensor
    label: int


def as_pair(image, label, mask):
    return image, label


def as_triple(image, label, mask):
    return image, mask, label


def as_dict(image, label, mask):
    return {"image": image, "mask": mask, "label": label, "path": f"{label}.png"}


def as_masked(image, label, mask):
    return image, mask[None]


def quarter(**options):
    return BatchCollate(BatchPaste(share=0.25, exact=True), **options)


def epoch(dataset, collate, workers=0, batch_size=10, **options):
    return list(DataLoader(dataset, batch_size=batch_size, collate_fn=collate, num_workers=workers, **options))


def test_pairs():
    for number, (images, labels) in enumerate(epoch(Pictures(as_pair), quarter())):
        before = torch.stack([picture(i) for i in range(10 * number, 10 * number + 10)])
        assert int(labels.sum()) == 2 + 2
        assert (images != before).flatten(1).any(1).sum() == 2


def test_masks_and_other_fields():
    for batch in epoch(Pictures(as_dict), quarter()):
        assert torch.equal(batch["mask"].flatten(1).any(1), batch["label"] == 1)
        assert int(batch["label"].sum()) == 4
        assert batch["path"].count("1.png") == 2
    for _, masks, labels in epoch(Pictures(as_triple), quarter()):
        assert torch.equal(masks.flatten(1).any(1), labels == 1)
    for batch in epoch(Pictures(as_masked), quarter()):
        assert len(batch) == 2
        assert batch[1].shape == (10, 1, 32, 40)
        assert int(batch[1].flatten(1).any(1).sum()) == 4


def test_dataclasses_with_a_collate_of_ones_own():
    def stack(items):
        return Item(torch.stack([item.image for item in items]), torch.tensor([item.label for item in items]))

    batch = quarter(collate=stack, layout=Fields(image="image", label="label"))([Item(picture(i), 0) for i in range(8)])
    assert isinstance(batch, Item)
    assert int(batch.label.sum()) == 2


def test_an_iterable_dataset_of_unknown_length():
    assert [int(labels.sum()) for _, labels in epoch(Stream(), quarter())] == [4] * 4


def test_what_the_dataset_holds_is_left_alone():
    held = [(picture(i), 0) for i in range(4)]
    epoch(held, quarter(), batch_size=4)
    epoch(held, quarter(), batch_size=1)
    assert all(torch.equal(image, picture(i)) and label == 0 for i, (image, label) in enumerate(held))


def test_a_transform_comes_after_the_paste():
    images, labels = epoch(Pictures(as_pair), quarter(transform=lambda x: (x - 0.5) / 0.1))[0]
    assert images.min() < -1
    assert int(labels.sum()) == 4


def same(a, b):
    return all(torch.equal(x[0], y[0]) for x, y in zip(a, b, strict=True))


def test_in_a_set_epoch_workers_do_not_matter():
    collate = BatchCollate(BatchPaste(share=0.5, seed=4))
    collate.set_epoch(3)
    alone = epoch(Pictures(as_pair), collate)
    options = {"batch_size": 10, "collate_fn": collate, "num_workers": 2, "persistent_workers": True}
    split = DataLoader(Pictures(as_pair), **options)
    assert same(alone, list(split))
    collate.set_epoch(4)
    other = list(split)
    assert not same(alone, other)
    assert same(other, epoch(Pictures(as_pair), collate))


def test_it_runs_under_spawn():
    collate = BatchCollate(BatchPaste(share=0.5, seed=4))
    collate.set_epoch(3)
    alone = epoch(Pictures(as_pair), collate)
    assert same(alone, epoch(Pictures(as_pair), collate, 1, multiprocessing_context="spawn"))


@pytest.mark.parametrize("workers", [0, 2])
def test_without_one_each_epoch_is_new_and_runs_repeat(workers):
    def run():
        collate = BatchCollate(BatchPaste(seed=4))
        return [epoch(Pictures(as_pair), collate, workers) for _ in range(3)]

    first, again = run(), run()
    assert not same(first[0], first[1])
    assert not same(first[1], first[2])
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_batches_of_one_epoch_are_painted_differently():
    blank = [(torch.full((3, 32, 32), 0.5), 0)] * 8
    images = torch.stack([image[0] for image, _ in epoch(blank, BatchCollate(BatchPaste(share=1.0)), batch_size=1)])
    assert len(images.unique(dim=0)) == 8


def test_augment_has_one():
    augment = InOutAugment(generators=[MemSegPaste(cells=4)], ratio=1 / 3, seed=3)
    assert augment.collate is augment.collate
    batches = epoch(Pictures(as_pair), pickle.loads(pickle.dumps(augment)).collate)
    assert sum(int(labels.sum()) for _, labels in batches) == 8 + 8
    labelled = InOutAugment(
        generators=[MemSegPaste(defect_class=2)], ratio=1.0, normal_label=0, positive_label={2: 7}
    ).collate(list(Pictures(as_pair)))
    assert sorted(set(labelled[1].tolist())) == [0, 1, 7]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"generators": [NSA()], "ratio": 1.0}, "one MemSegPaste"),
        ({"generators": [MemSegPaste(), MemSegPaste()], "ratio": 1.0}, "one MemSegPaste"),
        ({"generators": [MemSegPaste()], "n_aug": 5}, "needs ratio="),
        ({"generators": [MemSegPaste()], "ratio": 1.0, "normal_label": "good"}, "give numbers"),
    ],
)
def test_what_it_cannot_do_is_refused(options, what):
    with pytest.raises(ValueError, match=what):
        _ = InOutAugment(**options).collate


def test_normalised_or_ragged_pictures_are_refused():
    with pytest.raises(ValueError, match="paste first"):
        quarter()([(picture(i) * 4 - 2, 0) for i in range(4)])
    with pytest.raises(TypeError, match="one tensor"):
        quarter(collate=lambda items: ([image for image, _ in items], torch.zeros(4)))([(picture(0), 0)] * 4)
