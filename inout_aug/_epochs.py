"""What our samplers have in common: which epoch it is, on which rank, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from inout_aug._ranks import world
from inout_aug.seeding import check_epoch, check_seed, check_state

_Draw = TypeVar("_Draw")


class RankedEpochs(Generic[_Draw]):
    """Epochs that follow on each other, one by one or as told, and can be resumed in the middle.

    A subclass calls `_begin` when it is constructed, and says in `_draws` what an epoch holds for this rank.
    """

    seed: int
    _unit = "draws"

    def _begin(self, seed: int, num_replicas: int | None, rank: int | None) -> None:
        """Set what every sampler is given; ranks are asked for later where none are, with the process group there.

        Raises:
            ValueError: Ranks do not go together, or the seed is none.
        """
        if (num_replicas is None) != (rank is None):
            raise ValueError(f"give num_replicas and rank together; got {num_replicas} and {rank}")
        if num_replicas is not None and rank is not None and not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be in [0, {num_replicas}); got {rank}")
        self.seed = check_seed(seed)
        self._ranks = None if num_replicas is None or rank is None else (num_replicas, rank)
        self._epoch: int | None = None
        self._passes = 0
        self._at: tuple[int, int] | None = None
        self._resumed: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return what this rank draws in an epoch."""
        raise NotImplementedError

    def _draws(self, epoch: int, start: int) -> Iterator[_Draw]:
        """Yield what this rank draws in an epoch, but the first `start`."""
        raise NotImplementedError

    def _settings(self) -> dict[str, int]:
        """Return what a saved state must have in common with this sampler."""
        return {"seed": self.seed, "num_replicas": self._world()[0]}

    def __iter__(self) -> Iterator[_Draw]:
        """Yield this rank's draws; an index carries how often its sample was drawn before, for a fresh paste."""
        # now, not at the first draw: loaders make iterators that they never use
        self._at, self._resumed = self._resumed, None
        return self._go_on(self._at)

    def _go_on(self, resumed: tuple[int, int] | None) -> Iterator[_Draw]:
        epoch, start = resumed or (self._next_epoch(), 0)
        self._passes = epoch + 1
        for drawn, draw in enumerate(self._draws(epoch, start), start + 1):
            self._at = (epoch, drawn)
            yield draw

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; otherwise each iteration is the next epoch.

        Raises:
            ValueError: `epoch` is not an integer >= 0.
        """
        self._epoch = check_epoch(epoch)
        # an epoch that another one follows is over
        self._resumed, self._at = (at if at is None or at[0] == epoch else None for at in (self._resumed, self._at))

    def state_dict(self) -> dict[str, Any]:
        """Return where this rank is in its epoch: for torchdata's StatefulDataLoader, or to save by hand.

        A plain DataLoader with workers draws ahead; save `{"epoch": epoch, "drawn": drawn}` there, with the samples
        that its batches held, or, of a batch sampler, the batches.
        """
        epoch, drawn = self._resumed or self._at or (self._next_epoch(), 0)
        return {**self._settings(), "epoch": epoch, "drawn": drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration be the rest of a saved one.

        Args:
            state: From `state_dict`.

        Raises:
            ValueError: It was saved with other settings, such as the seed or the number of ranks, or is out of range.
        """
        check_state(state, **self._settings())
        epoch, drawn = check_epoch(state["epoch"]), state["drawn"]
        if not 0 <= drawn <= len(self):
            raise ValueError(f"drawn must be in [0, {len(self)}], the {self._unit} of an epoch; got {drawn}")
        self._passes = epoch + 1
        self._resumed, self._at = (epoch, drawn), None

    def _next_epoch(self) -> int:
        return self._passes if self._epoch is None else self._epoch

    def _world(self) -> tuple[int, int]:
        """Return the number of ranks, and this process's."""
        return self._ranks or world() or (1, 0)
