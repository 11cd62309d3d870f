"""`uniform=` and `normals=` through the whole library."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from inout_aug import InOutAugment, InOutBatchSampler, MemSegPaste
from support import Belt, Parts, Square


def wrap(**amount):
    return InOutAugment(generators=[Square()], **amount)(Parts(40))


def test_uniform_fills_up_and_keeps_every_real_sample():
    train = wrap(uniform=25)
    assert len(train) == 40 + 25 - 4
    assert train.targets.sum() == 25
    assert len(wrap(uniform=4)) == len(wrap(uniform=1)) == 40


def test_real_samples_that_stay_are_untouched_and_in_order():
    parts, train = Parts(40), wrap(n_aug=6, normals=0.5)
    assert train.n_real == 4 + 5
    order = [next(k for k in range(40) if np.array_equal(parts[k][0], train[index][0])) for index in range(9)]
    assert order == sorted(order)
    assert {0, 10, 20, 30} <= set(order)
    assert [train[index][1] for index in range(len(train))] == train.targets.tolist()
    assert all(np.array_equal(train.sample(index).image, train[index][0]) for index in range(9))
    assert len(train) == len(train.targets) == 15
    assert repr(train) == "InOutDataset(9 real + 6 synthetic, Parts)"


def test_all_normals_remain_hosts_by_their_own_index():
    parts, train = Parts(40), wrap(n_aug=36, normals=0)
    assert train.n_real == 4
    origins = [train.sample(index).origin for index in range(4, 40)]
    assert {origin.host for origin in origins} == {index for index in range(40) if index % 10}
    outside = train.sample(4).mask == 0
    assert np.array_equal(train.sample(4).image[outside], parts[origins[0].host][0][outside])


def test_more_normals_than_there_are_is_told():
    with pytest.raises(ValueError, match=r"normals=4\.0 wants 40 normal samples for 10 positives, but there are 36"):
        wrap(n_aug=6, normals=4.0)


def test_samplers_and_summaries_know_what_stays(capsys):
    train = wrap(n_aug=6, normals=0.5)
    summary = train.summary()
    assert (summary.real, summary.real_positives, summary.positives) == (9, 4, 10 / 15)
    assert "share of positives      66.7%" in capsys.readouterr().out
    drawn = list(train.sampler(positives=0.5, real=0.5, num_samples=40))
    assert [sum(low <= index < high for index in drawn) for low, high in ((0, 9), (9, 15))] == [30, 10]
    assert np.mean([train.targets[index] for index in drawn]) == 0.5
    batches = list(InOutBatchSampler(train, batch_size=4, share=0.25))
    assert all(sum(index >= 9 for index in batch) == 1 for batch in batches)
    assert max(index for batch in batches for index in batch) < 15


def test_a_loader_reads_what_stays():
    train = wrap(uniform=8, normals=1)
    labels = torch.cat([labels for _, labels in DataLoader(train, batch_size=4, num_workers=2)])
    assert labels.tolist() == train.targets.tolist()
    assert labels.float().mean() == 0.5


def test_a_state_of_other_normals_is_refused():
    with pytest.raises(ValueError, match="saved with real=9, but here it is 40"):
        wrap(n_aug=6).load_state_dict(wrap(n_aug=6, normals=0.5).state_dict())


@pytest.mark.parametrize("amount", [{"uniform": 20}, {"ratio": 0.5, "normals": 1.0}])
def test_what_needs_labels_is_refused_where_there_are_none(amount):
    with pytest.raises(ValueError, match=r"ratio= alone.*got (uniform=20|ratio=0\.5, normals=1\.0)"):
        InOutAugment(generators=[Square()], **amount)(Belt(Parts(20)))
    with pytest.raises(ValueError, match="ratio= alone"):
        _ = InOutAugment(generators=[MemSegPaste()], **amount).collate


def test_the_representation_tells_the_recipe():
    augment = InOutAugment(generators=[MemSegPaste()], uniform=150, normals=1.0, seed=3)
    assert repr(augment).endswith("uniform=150, normals=1.0, seed=3)")


def test_the_transform_of_a_stream_can_be_replaced():
    train = InOutAugment(generators=[Square()], ratio=0.5)(Belt(Parts(8)))
    assert train.transform is None
    train.transform = torch.as_tensor
    assert all(isinstance(image, torch.Tensor) for image, _ in train)
