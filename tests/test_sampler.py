from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from inout_aug.augment import InOutAugment
from inout_aug.sampler import PositivesSampler, default_real_share
from support import Parts, Shelf, Square


def sampler(normals=90, real=5, synthetic=100, *, positives=0.5, share=0.5, num_samples=200, seed=0, **ranks):
    ends = np.cumsum([normals, real, synthetic])
    pools = np.split(np.arange(ends[-1]), ends[:-1])
    return PositivesSampler(
        normals=pools[0],
        real=pools[1],
        synthetic=pools[2],
        positives=positives,
        real_share=share,
        num_samples=num_samples,
        seed=seed,
        **ranks,
    )


def kinds(indices, normals=90, real=5):
    indices = np.asarray(list(indices))
    return [int((indices < normals).sum()), int(((indices >= normals) & (indices < normals + real)).sum())]


def test_shares_are_exact():
    assert kinds(sampler()) == [100, 50]
    assert kinds(sampler(positives=0.2, share=0.9)) == [160, 36]


def test_the_more_real_ones_the_more_of_the_positives_they_are():
    shares = [kinds(sampler(real=n, share=None), real=n)[1] / 100 for n in (0, 1, 3, 8, 20, 50, 200)]
    assert shares[0] == 0
    assert 0 < shares[1] < shares[2] < shares[3] == shares[4] == 0.5
    assert shares[5:] == [0.8, 0.95]


@given(st.integers(1, 60), st.integers(0, 9), st.integers(1, 40), st.integers(1, 150), st.integers(0, 3))
def test_each_pool_is_used_evenly_across_epochs(normals, real, synthetic, num_samples, epochs):
    drawn = sampler(normals, real, synthetic, num_samples=num_samples)
    counts = Counter(dict.fromkeys(range(normals + real + synthetic), 0))
    for _ in range(epochs):
        counts.update(int(i) for i in drawn)
    start = 0
    for size in (normals, real, synthetic):
        used = [counts[i] for i in range(start, start + size)]
        assert not used or max(used) - min(used) <= 1
        start += size


def test_set_epoch_repeats_an_epoch_and_iterating_moves_on():
    drawn = sampler()
    first, second = list(drawn), list(drawn)
    assert first != second
    drawn.set_epoch(0)
    assert list(drawn) == first
    for wrong in (-1, "a"):
        with pytest.raises(ValueError, match="epoch"):
            drawn.set_epoch(wrong)


def test_ranks_split_one_epoch_evenly():
    whole = list(sampler(num_samples=200))
    ranks = [sampler(num_samples=199, num_replicas=4, rank=rank) for rank in range(4)]
    assert {len(rank) for rank in ranks} == {50}
    assert in_turn([list(rank) for rank in ranks]) == whole


def in_turn(shares):
    """What ranks draw, two by two in turn, and what is left one by one."""
    couples = [share[at : at + 2] for at in range(0, len(shares[0]) - 1, 2) for share in shares]
    return [i for couple in couples for i in couple] + [share[-1] for share in shares if len(share) % 2]


@pytest.mark.parametrize("num_samples", [5, 30, 69])
def test_any_number_of_draws_is_split_evenly(num_samples):
    ranks = [list(sampler(num_samples=num_samples, num_replicas=3, rank=rank)) for rank in range(3)]
    assert {len(rank) for rank in ranks} == {-(-num_samples // 3)}
    assert in_turn(ranks) == list(sampler(num_samples=3 * len(ranks[0])))


def two_ranks(rank, made, path, queue):
    torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(path, 2), rank=rank, world_size=2)
    queue.put((rank, len(made), [int(i) for i in made]))
    torch.distributed.destroy_process_group()


def test_a_sampler_made_before_the_process_group_is_split_all_the_same(tmp_path):
    context = torch.multiprocessing.get_context("fork")
    queue, made = context.Queue(), sampler()
    ranks = [context.Process(target=two_ranks, args=(rank, made, str(tmp_path / "store"), queue)) for rank in range(2)]
    for process in ranks:
        process.start()
    shares = {rank: (length, drawn) for rank, length, drawn in (queue.get(timeout=60) for _ in ranks)}
    for process in ranks:
        process.join()
    whole = [int(i) for i in sampler()]
    assert [shares[rank][0] for rank in range(2)] == [100, 100]
    assert in_turn([shares[rank][1] for rank in range(2)]) == whole
    assert isinstance(made, torch.utils.data.DistributedSampler)


def test_a_repeated_synthetic_sample_is_a_new_draw_and_workers_do_not_matter():
    def images(workers):
        train = InOutAugment(generators=[Square()], n_aug=3)(Parts(20))
        loader = DataLoader(train, batch_size=8, sampler=train.sampler(num_samples=64), num_workers=workers)
        return np.concatenate([batch[0].numpy() for batch in loader])

    alone = images(0)
    assert len(np.unique(alone.reshape(64, -1), axis=0)) > 16 + 2 + 3 + 5
    assert np.array_equal(alone, images(2))


def pairs_in(drawn, train, epoch=None):
    """The pairs of a synthetic sample and its host in what was drawn."""
    hosts = {
        place: train.sample(index, index.epoch if epoch is None else epoch).origin.host
        for place, index in enumerate(drawn)
        if index >= train.n_real
    }
    return [(drawn[at], drawn[at + 1]) for at, host in hosts.items() if at % 2 == 0 and drawn[at + 1] == host]


@pytest.mark.parametrize("ranks", [{}, {"num_replicas": 2, "rank": 1}])
def test_a_synthetic_sample_is_drawn_right_before_its_host_where_both_are_drawn(ranks):
    train = InOutAugment(generators=[Square()], n_aug=30)(Parts(60))
    drawn = train.sampler(positives=0.5, num_samples=120, **ranks)
    for epoch in range(3):
        drawn.set_epoch(epoch)
        indices = list(drawn)
        # all normals are drawn once at least, and a few synthetic ones have the host of another
        assert len(pairs_in(indices, train)) > 0.6 * sum(i >= 60 for i in indices)


def test_hosts_that_the_wrapped_set_leaves_out_are_no_pairs():
    train = InOutAugment(generators=[Square(), Shelf()], n_aug=16, normals=1.0)(Parts(200))
    drawn = list(train.sampler(num_samples=72))
    pairs = 0
    for before, after in zip(drawn[::2], drawn[1::2], strict=True):
        if before < train.n_real or after >= train.n_real:
            continue
        host = train.sample(before, before.epoch).origin.host
        pairs += host is not None and np.array_equal(train.sample(after).image, train.dataset[host][0])
    assert 0 < pairs < 12


def test_frozen_samples_are_drawn_before_the_hosts_that_they_have_in_all_epochs():
    train = InOutAugment(generators=[Square()], n_aug=20, resample=False)(Parts(60))
    drawn = train.sampler(num_samples=240)
    for _ in range(2):
        assert len(pairs_in(list(drawn), train, epoch=0)) > 30


def test_missing_kinds_of_positives_are_made_up_for():
    assert kinds(sampler(real=0), real=0) == [100, 0]
    assert kinds(sampler(synthetic=0)) == [100, 100]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"positives": 0}, "positives is a share"),
        ({"positives": 1.1}, "positives is a share"),
        ({"share": -0.1}, "real is a share"),
        ({"num_samples": 0}, "num_samples"),
        ({"real": 0, "synthetic": 0}, "no positives"),
        ({"normals": 0}, r"positives=1\.0"),
        ({"num_replicas": 2, "rank": 2}, "rank"),
        ({"num_replicas": 2}, "together"),
        ({"num_replicas": 0, "rank": 0}, "rank"),
        ({"num_samples": 2.5}, "num_samples"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_refused(settings, what):
    with pytest.raises(ValueError, match=what):
        sampler(**settings)


def test_the_wrapped_set_gives_one_in_one_line():
    train = InOutAugment(generators=[Square()], ratio=1.0)(Parts(40, every=8))
    drawn = list(train.sampler(num_samples=100))
    labels = train.targets[drawn]
    assert labels.sum() == 50
    assert sum(i < 40 for i, label in zip(drawn, labels, strict=True) if label) == round(50 * default_real_share(5))
