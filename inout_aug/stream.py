"""An iterable dataset with synthetic positives between its real samples."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from inout_aug import containers
from inout_aug._ranks import world
from inout_aug._wrapper import Wrapper
from inout_aug.injector import Host, Injector, Slot
from inout_aug.labels import label_of
from inout_aug.layout import Fields, Layout, get_field, replace_fields
from inout_aug.seeding import check_state, permuted

# synthetic samples come in this rhythm of generators, over and over, so that shares are exact in any such stretch
PERIOD = 1000
_HOST_BUFFER = 64
# passes are counted for each worker of each rank: forked ranks share the memory that this is done in
_COUNTED = 4096


@dataclass(slots=True, kw_only=True)
class _Place:
    """How far a stream was read.

    Attributes:
        count: Real samples read.
        normals: How many of them were normal.
        emitted: Synthetic samples given.
        source: The wrapped dataset's own state there; None if it has none, or for its start.
    """

    count: int = 0
    normals: int = 0
    emitted: int = 0
    source: Any = None

    @property
    def given(self) -> int:
        return self.count + self.emitted


@dataclass(slots=True)
class _Pass:
    """One pass of one worker through its shard, and where reading can begin again to get at the same hosts.

    Attributes:
        epoch: None before the first sample.
        skip: Samples that were given in an earlier run: not given again.
        anchors: Two places behind `at`, or the start; from the first on, all hosts in the buffer are read.
        at: Where it is.
        done: Whether the shard is exhausted.
    """

    epoch: int | None = None
    skip: int = 0
    anchors: tuple[_Place, _Place] = field(default_factory=lambda: (_Place(), _Place()))
    at: _Place = field(default_factory=_Place)
    done: bool = False


class InOutIterableDataset(Wrapper, IterableDataset[Any]):
    """What `InOutAugment` makes of an iterable dataset: its samples in order, synthetic positives evenly between them.

    After j real samples, `ratio * j` synthetic ones, rounded, have come, once there is a normal host; hosts are among
    the last 64 normal samples. Sharding is the wrapped dataset's own: each worker adds to what it reads, so that
    together they add `ratio` per real sample, each its own draws.

    Args:
        dataset: The wrapped dataset.
        injector: Makes the synthetic items.
        rhythm: Member of each synthetic sample, repeated, uint8, shape (PERIOD,).
        ratio: Synthetic samples per real one.
        seed: Base seed.
        resample: Draw anew in every epoch.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        injector: Injector,
        rhythm: NDArray[np.uint8],
        ratio: float,
        seed: int,
        resample: bool,
    ) -> None:
        self._wrap(dataset, injector, draws=_COUNTED, seed=seed, resample=resample)
        self.ratio = ratio
        self._rhythm = rhythm
        self._world = (1, 0)
        self._pass: _Pass | None = None
        self._resumed: _Pass | None = None

    def __len__(self) -> int:
        """Return the number of real plus synthetic samples, where the wrapped dataset has a length."""
        n_real = len(self.dataset)
        return n_real + math.floor(self.ratio * n_real + 0.5)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker has no process group to ask, and a pass goes on where it began
        return {**self.__dict__, "_world": self._find_world(), "_pass": None}

    def __iter__(self) -> Iterator[Any]:
        """Yield real items in order, with synthetic ones between them.

        Raises:
            ValueError: An item's label is neither normal nor that of synthetic positives; or no sample was normal.
        """
        # now, not at the first sample: loaders make iterators that they never use
        self._pass, self._resumed = self._resumed or _Pass(), None
        return self._read(self._pass)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the last iteration is: for torchdata's StatefulDataLoader, or a loop without workers.

        A wrapped dataset with a `state_dict` of its own, as a streaming Hugging Face dataset, goes on nearby; any other
        is read again from its start, which must give the same order.
        """
        shard, shards = self._shard()
        now = self._pass or _Pass()
        return {
            "seed": self.seed,
            "ratio": self.ratio,
            "shard": [shard, shards],
            "epoch": self._clock.peek(shard % _COUNTED) if now.epoch is None else now.epoch,
            "told": self._clock.told is not None,
            "begin": asdict(now.anchors[0]),
            "skip": max(now.skip, now.at.given) - now.anchors[0].given,
            "done": now.done,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration be the rest of a saved one.

        Args:
            state: From `state_dict`.

        Raises:
            ValueError: It was saved with another seed, ratio, number of workers or ranks.
        """
        shard, shards = self._shard()
        check_state(state, seed=self.seed, ratio=self.ratio, shard=[shard, shards])
        if state["told"] and self._clock.told is None:
            self.set_epoch(state["epoch"])
        self._clock.count_from(shard % _COUNTED, state["epoch"] + 1)
        begin = _Place(**state["begin"])
        self._resumed = _Pass(
            state["epoch"], begin.given + state["skip"], (begin, begin), replace(begin, source=None), state["done"]
        )
        if state["done"] and get_worker_info() is None:  # an epoch is over; in a worker, only its share of it
            self._resumed = None

    def _read(self, now: _Pass) -> Iterator[Any]:
        shard, shards = self._shard()
        if now.done:
            return
        if now.epoch is None:
            now.epoch = self._clock.tick(shard % _COUNTED)
        layout, rule = self._injector.layout, self._injector.rule
        source, items = _open(self.dataset, now.anchors[0].source)
        at = now.at
        hosts: list[Host] = []
        for item in items:
            at.count += 1
            label = label_of(item, layout)
            if label == rule.normal:
                turn = at.normals % _HOST_BUFFER
                hosts[turn : turn + 1] = [(at.count - 1, _owned(item, layout))]
                at.normals += 1
            elif not rule.knows(label) and not (isinstance(layout, Fields) and layout.label is None):
                raise ValueError(
                    f"sample {at.count - 1} has label {label}; normal samples have {rule.normal}, synthetic positives "
                    f"{rule.positive}. Pass normal_label= and positive_label="
                )
            if at.given > now.skip:
                yield self._injector.real(item)
            # shares of one ratio over equal shards: these floors add up to the ratio of all (Hermite's identity)
            due = math.floor(self.ratio * at.count + (shard + 0.5) / shards)
            while at.normals and at.emitted < due:
                at.emitted += 1
                if at.given > now.skip:
                    index = at.emitted - 1
                    slot = self._slot(index * shards + shard, now.epoch)
                    yield self._injector.item(slot, _Recent(hosts, self.seed, index))
            if source is not None and label == rule.normal and at.normals % _HOST_BUFFER == 0:
                now.anchors = (now.anchors[1], replace(at, source=source.state_dict()))
        now.done = True
        if at.count and self.ratio and not at.normals:
            raise ValueError(f"none of {at.count} samples was normal, label {rule.normal}, so none was painted on")

    def _shard(self) -> tuple[int, int]:
        """Return this worker's number among all of all ranks, and how many there are."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        ranks, rank = self._find_world()
        return rank * workers + worker, ranks * workers

    def _find_world(self) -> tuple[int, int]:
        if (ranks := world()) is not None:
            return ranks
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # set by torchrun before there is a process group
            return int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
        return self._world

    def _slot(self, index: int, epoch: int) -> Slot:
        turn, beat = divmod(index, len(self._rhythm))
        member = int(self._rhythm[beat])
        position = int(np.count_nonzero(self._rhythm[:beat] == member))
        return Slot(member, position, (epoch << 32) + turn, (self.seed, epoch, index))


class _Recent:
    """Hosts among the last normal samples."""

    def __init__(self, hosts: list[Host], seed: int, turn: int) -> None:
        self.hosts, self.key = hosts, (seed, turn)

    def __call__(self, attempt: int) -> Host:
        return self.hosts[permuted(attempt % len(self.hosts), len(self.hosts), *self.key)]


def _open(dataset: Any, state: Any) -> tuple[Any, Iterator[Any]]:
    """Return what tells how far a dataset was read, if anything does, and its items from a state on."""
    if not hasattr(dataset, "load_state_dict"):
        items = iter(dataset)
        if not hasattr(items, "load_state_dict"):
            return None, items
        if state is not None:
            items.load_state_dict(state)
        return items, items
    if state is not None:
        # a twin, since a Hugging Face dataset begins every later pass where it was told to begin one; by hand, since
        # a copy of one shares its attributes
        twin = object.__new__(type(dataset))
        twin.__dict__.update(dataset.__dict__)
        dataset = twin
        dataset.load_state_dict(state)
    return dataset, iter(dataset)


def _owned(item: Any, layout: Layout) -> Any:
    """Return an item whose image and mask nobody writes to: not the loop it is yielded to, nor the next one read."""
    if not isinstance(layout, Fields):
        return copy.deepcopy(item)
    keys = [layout.image] if layout.mask is None else [layout.image, layout.mask]
    return replace_fields(item, {key: containers.copied(get_field(item, key)) for key in keys})
