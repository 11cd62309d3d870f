"""(seed, epoch, index) -> random numbers, and the clock that says which epoch it is.

No random state lives on any object: a stream is built where it is used, from integers alone, so a draw is the same in
any worker, in any order, on any rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

_UNSET = -1
_WORD = (1 << 64) - 1
_FEISTEL_ROUNDS = 4
_POOL_WORDS = 4  # numpy.random.SeedSequence's pool

_Words = TypeVar("_Words", int, NDArray[Any])


def check_seed(seed: int) -> int:
    """Return `seed` as an int in [0, 2**64).

    Raises:
        ValueError: It is negative, too large, or not an integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= _WORD:
        raise ValueError(f"seed must be an integer in [0, 2**64); got {seed!r}")
    return int(seed)


def check_epoch(epoch: int) -> int:
    """Return `epoch` as an int.

    Raises:
        ValueError: It is negative or not an integer.
    """
    if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer) or epoch < 0:
        raise ValueError(f"epoch must be an integer >= 0; got {epoch!r}")
    return int(epoch)


def stream(*key: int) -> np.random.Generator:
    """Return the random stream of a key, usually `(seed, epoch, index)`: integers in [0, 2**64).

    Example:
        >>> bool(stream(0, 1, 2).random() == stream(0, 1, 2).random())
        True
    """
    # two words for every integer: left to itself, SeedSequence takes (2**32,) for (0, 1)
    words = np.array(key, dtype="<u8").view("<u4")
    if len(words) < _POOL_WORDS:  # it fills up with zeros, so that (5,) would be (5, 0)
        words = np.pad(words, (0, _POOL_WORDS + 1 - len(words)), constant_values=1)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def permuted(position: int, size: int, *key: int) -> int:
    """Return where a keyed pseudo-random permutation of `range(size)` sends `position`, in constant memory.

    A balanced Feistel network over the next power of four, cycle-walked into range (Black and Rogaway, "Ciphers with
    arbitrary finite domains", 2002).

    Args:
        position: In [0, size).
        size: Number of elements, at least 1.
        key: Integers that choose the permutation.

    Raises:
        ValueError: `position` is out of range.

    Example:
        >>> sorted(permuted(i, 10, 7) for i in range(10)) == list(range(10))
        True
    """
    if not 0 <= position < size:
        raise ValueError(f"position must be in [0, {size}); got {position}")
    network = _network(size, key)
    while (position := _feistel(position, *network)) >= size:
        pass
    return position


def permuted_all(positions: NDArray[np.int64], size: int, *key: int) -> NDArray[np.int64]:
    """Return what `permuted` does of many positions.

    Example:
        >>> permuted_all(np.arange(4), 10, 7).tolist() == [permuted(i, 10, 7) for i in range(4)]
        True
    """
    network = _network(size, key)
    found = _feistel(positions.astype(np.uint64), *network)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], *network)
    return found.astype(np.int64)


def _network(size: int, key: tuple[int, ...]) -> tuple[int, list[int]]:
    """Return how many bits a half has, and the key of each round."""
    return max(1, ((size - 1).bit_length() + 1) // 2), [_mix(*key, number) for number in range(_FEISTEL_ROUNDS)]


def _feistel(value: _Words, half: int, rounds: list[int]) -> _Words:
    low = (1 << half) - 1
    left, right = value >> half, value & low
    for round_key in rounds:
        left, right = right, left ^ (_mix(round_key, right) & low)
    return left << half | right


def _mix(*words: Any) -> Any:
    """Hash integers, or arrays of uint64, to 64 bits: splitmix64's finaliser, chained (Steele, Lea and Flood, 2014)."""
    state: Any = 0
    for word in words:
        state = (state + word + 0x9E3779B97F4A7C15) & _WORD
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _WORD
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & _WORD
        state ^= state >> 31
    return state


class EpochIndex(int):
    """An index that says in which epoch it is drawn; a sampler that repeats an index yields these."""

    epoch: int

    def __new__(cls, index: int, epoch: int) -> EpochIndex:
        """Return `index` with an epoch on it."""
        self = super().__new__(cls, index)
        self.epoch = epoch
        return self

    def __reduce__(self) -> tuple[type[EpochIndex], tuple[int, int]]:
        return EpochIndex, (int(self), self.epoch)


class EpochClock:
    """Says in which epoch a synthetic index is drawn: what `set` was told, else how often the index was visited before.

    Both live in shared memory, so that persistent workers and spawned ones see what the main process sets, and what
    the others counted. Counting takes no lock: only a sampler that draws one index twice at the same instant in two
    workers could miss a visit, and `set` makes such draws exact again.

    Args:
        length: Number of synthetic indices.
    """

    def __init__(self, length: int) -> None:
        self._epoch = _shared(torch.full((1,), _UNSET, dtype=torch.int64))
        self._visits = _shared(torch.zeros(length, dtype=torch.int32))
        self._ticked = _shared(torch.zeros(1, dtype=torch.uint8))
        self._seen: Tensor | None = None

    def __getstate__(self) -> dict[str, Tensor]:
        return {"_epoch": self._epoch, "_visits": self._visits, "_ticked": self._ticked}

    def __setstate__(self, state: dict[str, Tensor]) -> None:
        # a deep copy, or one through plain pickle, arrives in private memory
        for name, tensor in state.items():
            setattr(self, name, _shared(tensor))
        self._seen = None

    @property
    def told(self) -> int | None:
        """The epoch that `set` fixed; None if visits are counted."""
        epoch = int(self._epoch[0])
        return None if epoch == _UNSET else epoch

    def set(self, epoch: int) -> None:
        """Fix the epoch of every later draw, in all workers.

        Raises:
            ValueError: `epoch` is negative or not an integer.
        """
        self._epoch[0] = check_epoch(epoch)

    def peek(self, index: int) -> int:
        """Return the epoch of the next draw of `index`."""
        return int(self._visits[index]) if self.told is None else int(self._epoch[0])

    def tick(self, index: int) -> int:
        """Return the epoch of this draw of `index`, counting it as a visit unless the epoch is set."""
        epoch = self.peek(index)
        if self.told is None:
            self.count_from(index, epoch + 1)
        return epoch

    def count_from(self, index: int, visits: int) -> None:
        """Say how often `index` was visited."""
        self._visits[index] = visits
        self._ticked[0] = 1
        if self._seen is not None:
            self._seen[index] = visits

    def state_dict(self) -> dict[str, Any]:
        """Return all that later draws depend on. A worker leaves out what others draw, which may never be used."""
        visits = self._visits
        if get_worker_info() is not None:
            self._seen = visits = visits.clone() if self._seen is None else self._seen
        return {"epoch": self.told, "visits": visits.numpy().tobytes() if visits.any() else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the visits of a state; what several workers load adds up."""
        saved = torch.zeros_like(self._visits)
        if state["visits"]:
            saved = torch.frombuffer(bytearray(state["visits"]), dtype=torch.int32)
        if get_worker_info() is None or self._ticked[0]:
            self._ticked[0] = 0
            self._visits.copy_(saved)
        else:  # another worker was first
            torch.maximum(self._visits, saved, out=self._visits)
        self._seen = None if get_worker_info() is None else saved


def check_state(state: Mapping[str, Any], **expected: Any) -> None:
    """Refuse a state that was saved under other settings, which would give other draws.

    Raises:
        ValueError: A value in `state` is not the expected one.
    """
    for name, value in expected.items():
        if name in state and state[name] != value:
            raise ValueError(
                f"the state was saved with {name}={state[name]}, but here it is {value}: draws would differ"
            )


def _shared(tensor: Tensor) -> Tensor:
    return tensor.share_memory_()  # type: ignore[no-untyped-call, no-any-return]
