"""A run killed in the middle of an epoch goes on to the same bytes, with torchdata's StatefulDataLoader or without."""

import hashlib
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import DataLoader, get_worker_info

from datasets import Dataset as HuggingFaceDataset
from inout_aug.augment import InOutAugment
from inout_aug.batch_sampler import InOutBatchSampler
from support import Belt, Parts, Square

torchdata = pytest.importorskip("torchdata", reason="torchdata is not installed: it is no part of the test group")
from torchdata.stateful_dataloader import StatefulDataLoader  # noqa: E402  # after the importorskip

# what StatefulDataLoader itself calls
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")

BATCH = 4
CONTEXT = torch.multiprocessing.get_context("fork")


def parts(length=90):
    return Parts(length, every=9)


def make_map():
    return InOutAugment(generators=[Square()], ratio=0.5)(parts())


def hugging_face(length):
    items = [parts(length)[index] for index in range(length)]
    columns = {"image": [Pillow.fromarray(image) for image, _ in items], "label": [label for _, label in items]}
    return HuggingFaceDataset.from_dict(columns).to_iterable_dataset(num_shards=4)


class Counted(Belt):
    """A belt that can start in the middle, and notes what it read."""

    def __init__(self, parts):
        super().__init__(parts)
        self.start, self.at, self.noted = 0, 0, []

    def __iter__(self):
        info = get_worker_info()
        shard = range(len(self.parts))[slice(None) if info is None else slice(info.id, None, info.num_workers)]
        start, self.start = self.start, 0
        for self.at, index in enumerate(shard[start:], start + 1):
            self.noted.append(index)
            yield self.parts[index]

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.start = state["at"]


STREAMS = {
    "plain stream": lambda: Belt(parts(165)),
    "stream with a state": lambda: Counted(parts(165)),
    "Hugging Face stream": lambda: hugging_face(165),
}


def make(kind):
    """Return a wrapped dataset and its sampler."""
    if kind in STREAMS:
        return InOutAugment(generators=[Square()], ratio=0.5)(STREAMS[kind]()), None
    train = make_map()
    samplers = {
        "sampler": lambda: train.sampler(num_samples=61),
        "batch sampler": lambda: InOutBatchSampler(train, batch_size=BATCH, share=0.5, num_batches=16),
    }
    return train, samplers[kind]() if kind in samplers else None


def loader_of(kind, train, sampler, workers):
    torch.manual_seed(3)
    order = {"batch_size": BATCH, "shuffle": True} if kind == "shuffle" else {"batch_size": BATCH}
    if sampler is not None:
        order = {"batch_sampler": sampler} if kind == "batch sampler" else {"batch_size": BATCH, "sampler": sampler}
    return StatefulDataLoader(train, num_workers=workers, collate_fn=digest, **order)


def digest(items):
    parts = [item.values() if isinstance(item, dict) else item for item in items]
    return hashlib.sha256(b"".join(np.asarray(image).tobytes() + bytes([label]) for image, label in parts)).hexdigest()


def run(kind, workers, *, checkpoint=None, kill_at=None, epochs=3, told=False):
    """Train, in a manner: return the digests of each epoch's batches; die at a batch of epoch 1 if told to."""
    train, sampler = make(kind)
    loader = loader_of(kind, train, sampler, workers)
    first = 0
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint)
        first = saved["epoch"]
        loader.load_state_dict(saved["loader"])
    seen = []
    for epoch in range(first, epochs):
        if told:
            train.set_epoch(epoch)
        seen.append([])
        for number, batch in enumerate(loader, start=1):
            seen[-1].append(batch)
            if (epoch, number) == (1, kill_at):
                torch.save({"epoch": epoch, "loader": loader.state_dict()}, checkpoint)
                os.kill(os.getpid(), signal.SIGKILL)
    return seen


def resumed(queue, *args, **options):
    queue.put(run(*args, **options))


KINDS = ["shuffle", "sampler", "batch sampler", *STREAMS]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["shuffle", "sampler", "Hugging Face stream"])
def test_a_killed_run_goes_on_to_the_same_bytes(kind, workers, tmp_path):
    path, told, at = tmp_path / "checkpoint.pt", kind == "sampler", 7 if kind not in STREAMS else 50
    whole = run(kind, workers, told=told)
    assert whole[0] != whole[1] != whole[2]

    victim = CONTEXT.Process(target=run, args=(kind, workers), kwargs={"checkpoint": path, "kill_at": at, "told": told})
    victim.start()
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL

    queue = CONTEXT.Queue()
    heir = CONTEXT.Process(target=resumed, args=(queue, kind, workers), kwargs={"checkpoint": path, "told": told})
    heir.start()
    rest = queue.get(timeout=60)
    heir.join()
    assert rest == [whole[1][at:], whole[2]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_can_be_the_last_before_the_break(kind, workers):
    train, sampler = make(kind)
    loader = loader_of(kind, train, sampler, workers)
    states, batches = {0: loader.state_dict()}, []
    for number, batch in enumerate(loader, start=1):
        batches.append(batch)
        states[number] = loader.state_dict()
    end, following = loader.state_dict(), list(loader)
    for at in (0, 1, len(batches) - 1, len(batches)):
        # a dataset of the same settings, then the same one, which has moved on since
        for again in (make(kind), (train, sampler)):
            heir = loader_of(kind, *again, workers)
            heir.load_state_dict(states[at])
            assert list(heir) == batches[at:]
        assert list(heir) == following
    heir = loader_of(kind, *make(kind), workers)
    heir.load_state_dict(end)
    assert list(heir) == following


def test_without_torchdata_a_sampler_is_told_how_far_the_loop_was():
    def batches(epochs, **state):
        train = make_map()
        sampler = train.sampler()
        if state:
            sampler.load_state_dict(state)
        loader = DataLoader(train, batch_size=BATCH, sampler=sampler, num_workers=2, collate_fn=digest)
        return [list(loader) for _ in range(epochs)]

    first, second = batches(2)
    assert batches(2, epoch=0, drawn=8 * BATCH) == [first[8:], second]
    assert batches(1, epoch=1, drawn=0) == [second]


def test_an_epoch_that_was_over_is_followed_by_the_next():
    sampler = make_map().sampler()
    first, second = list(sampler), list(sampler)
    heir = make_map().sampler()
    heir.load_state_dict({"epoch": 0, "drawn": len(first)})
    assert list(heir) == []
    assert list(heir) == second
    heir.load_state_dict({"epoch": 0, "drawn": len(first)})
    heir.set_epoch(1)
    assert list(heir) == second

    train = make("plain stream")[0]
    first, second = list(train), list(train)
    assert digest(first) != digest(second)
    heir = make("plain stream")[0]
    list(heir)
    again = make("plain stream")[0]
    again.load_state_dict(heir.state_dict())
    assert digest(again) == digest(second)


def test_an_epoch_that_was_told_is_kept():
    for kind in ("shuffle", "plain stream"):
        train = make(kind)[0]
        train.set_epoch(5)
        heir = make(kind)[0]
        heir.load_state_dict(train.state_dict())
        assert digest(heir) == digest(train)
        assert digest(heir) == digest(train)


def test_a_stream_with_a_state_is_not_read_again_from_its_start():
    wrap = InOutAugment(generators=[Square()], ratio=0.5)
    train, heir = wrap(Counted(parts(330))), wrap(Counted(parts(330)))
    items = iter(train)
    for _ in range(450):
        next(items)
    heir.load_state_dict(train.state_dict())
    assert digest(heir) == digest(items)
    # 300 were read, 8 of 9 of them normal; the 64 hosts in the buffer, and at most as many before them, are read again
    assert 300 - 2 * 64 * 9 / 8 - 1 <= heir.dataset.noted[1] <= 300 - 64 * 9 / 8


class Stateful(Parts):
    """Parts with a state of their own."""

    level = 0

    def state_dict(self):
        return {"level": self.level}

    def load_state_dict(self, state):
        self.level = state["level"]


def test_the_state_of_the_wrapped_dataset_goes_along():
    wrap = InOutAugment(generators=[Square()], ratio=0.5)
    train, heir = wrap(Stateful()), wrap(Stateful())
    train.dataset.level = 3
    heir.load_state_dict(train.state_dict())
    assert heir.dataset.level == 3


@pytest.mark.parametrize(
    ("kind", "changed", "what"),
    [
        ("shuffle", {"seed": 1}, "seed=1"),
        ("shuffle", {"synthetic": 44}, "synthetic=44"),
        ("sampler", {"seed": 1}, "seed=1"),
        ("sampler", {"num_replicas": 2}, "num_replicas=2"),
        ("sampler", {"drawn": 122}, r"drawn must be in \[0, 61\]"),
        ("sampler", {"epoch": -1}, "epoch"),
        ("batch sampler", {"seed": 1}, "seed=1"),
        ("batch sampler", {"batch_size": 8}, "batch_size=8"),
        ("batch sampler", {"drawn": 17}, r"drawn must be in \[0, 16\]"),
        ("plain stream", {"ratio": 0.4}, "ratio=0.4"),
        ("plain stream", {"shard": [0, 2]}, r"shard=\[0, 2\]"),
    ],
)
def test_a_state_of_other_settings_is_refused(kind, changed, what):
    train, sampler = make(kind)
    resumed = sampler or train
    with pytest.raises(ValueError, match=what):
        resumed.load_state_dict(resumed.state_dict() | changed)
