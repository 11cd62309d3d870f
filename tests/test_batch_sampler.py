from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from inout_aug import InOutAugment, InOutBatchSampler
from support import Belt, Parts, Square


def wrapped(real=40, synthetic=20, seed=0):
    return InOutAugment(generators=[Square()], n_aug=synthetic, seed=seed)(Parts(real))


def batches(dataset, **options):
    return [[int(i) for i in batch] for batch in InOutBatchSampler(dataset, **options)]


@given(st.integers(1, 13), st.floats(0, 1))
def test_every_batch_has_the_same_number_of_synthetic_samples(batch_size, share):
    drawn = batches(wrapped(), batch_size=batch_size, share=share)
    assert drawn
    for batch in drawn:
        assert len(batch) == batch_size
        assert sum(i >= 40 for i in batch) == round(share * batch_size)


def test_an_epoch_goes_through_the_real_samples_and_the_next_one_takes_up_the_rest():
    sampler = InOutBatchSampler(wrapped(real=43), batch_size=8, share=0.25)
    assert len(sampler) == 43 // 6
    counts = Counter(int(i) for _ in range(5) for batch in sampler for i in batch)
    for pool in (range(43), range(43, 63)):
        used = [counts[i] for i in pool]
        assert max(used) - min(used) <= 1


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_get_equally_many_and_different_batches(ranks):
    dataset = wrapped(real=50)
    shares = [batches(dataset, batch_size=4, share=0.25, num_replicas=ranks, rank=rank) for rank in range(ranks)]
    assert {len(share) for share in shares} == {50 // (3 * ranks)}
    real = [i for share in shares for batch in share for i in batch if i < 50]
    assert len(real) == len(set(real))
    assert all(sum(i >= 50 for i in batch) == 1 for share in shares for batch in share)


def test_synthetic_samples_drawn_on_several_ranks_are_different_draws():
    dataset = wrapped(synthetic=2)
    samplers = [InOutBatchSampler(dataset, batch_size=4, share=0.5, num_replicas=2, rank=rank) for rank in range(2)]
    drawn = [(int(i), i.epoch) for sampler in samplers for batch in sampler for i in batch if i >= 40]
    assert len(drawn) == len(set(drawn)) == 40


def two_ranks(rank, made, path, queue):
    torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(path, 2), rank=rank, world_size=2)
    queue.put((rank, len(made), [[int(i) for i in batch] for batch in made]))
    torch.distributed.destroy_process_group()


def test_a_process_group_is_asked_when_iterated(tmp_path):
    context = torch.multiprocessing.get_context("fork")
    queue, made = context.Queue(), InOutBatchSampler(wrapped(), batch_size=4, share=0.5)
    ranks = [context.Process(target=two_ranks, args=(rank, made, str(tmp_path / "store"), queue)) for rank in range(2)]
    for process in ranks:
        process.start()
    shares = {rank: (length, drawn) for rank, length, drawn in (queue.get(timeout=60) for _ in ranks)}
    for process in ranks:
        process.join()
    for rank in range(2):
        assert shares[rank] == (10, batches(wrapped(), batch_size=4, share=0.5, num_replicas=2, rank=rank))


def test_draws_follow_from_seed_and_epoch():
    sampler = InOutBatchSampler(wrapped(), batch_size=8, share=0.5)
    first, second = list(sampler), list(sampler)
    assert first != second
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert batches(wrapped(seed=1), batch_size=8, share=0.5) != first
    assert batches(wrapped(), batch_size=8, share=0.5, seed=1) != first
    with pytest.raises(ValueError, match="epoch"):
        sampler.set_epoch(-1)


def test_a_loader_takes_it_and_workers_do_not_matter():
    def images(workers):
        train = wrapped()
        sampler = InOutBatchSampler(train, batch_size=8, share=0.5, num_batches=12)
        loader = DataLoader(train, batch_sampler=sampler, num_workers=workers)
        assert len(loader) == 12
        return np.stack([image.numpy() for image, _ in loader])

    alone = images(0)
    assert np.array_equal(alone, images(2))
    assert len(np.unique(alone.reshape(96, -1), axis=0)) > 40 + 20  # repeated synthetic samples are new pastes


def test_batches_of_one_kind_only():
    assert len(InOutBatchSampler(wrapped(), batch_size=8, share=0.0)) == 5
    assert len(InOutBatchSampler(wrapped(synthetic=0), batch_size=8, share=0.0)) == 5
    assert len(InOutBatchSampler(wrapped(), batch_size=8, share=1.0)) == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"share": 1.1}, "share"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"num_batches": 0}, "num_batches"),
        ({"batch_size": 200}, "do not fill one batch"),
        ({"num_replicas": 2}, "together"),
        ({"num_replicas": 2, "rank": 2}, "rank"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_options_are_refused(options, what):
    with pytest.raises(ValueError, match=what):
        InOutBatchSampler(wrapped(), **{"batch_size": 8, "share": 0.5} | options)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="Raise ratio="):
        InOutBatchSampler(wrapped(synthetic=0), batch_size=8, share=0.5)


def test_other_datasets_are_refused():
    stream = InOutAugment(generators=[Square()], ratio=0.5)(Belt(Parts()))
    for dataset in (Parts(), stream):
        with pytest.raises(TypeError, match="BatchPaste"):
            InOutBatchSampler(dataset, batch_size=8, share=0.5)
