"""AdamW in 32 or in 8 bits, and what it remembers as plain tensors for a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from inout_generators.common.checkpoints import CheckpointError, some

OptimizerName: TypeAlias = Literal["adamw", "adamw8bit"]


def has_8bit() -> bool:
    """Return whether bitsandbytes, whose 8-bit AdamW takes a quarter of the memory, is installed."""
    return find_spec("bitsandbytes") is not None


def build_optimizer(
    name: OptimizerName, parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW: in 8 bits (Dettmers et al., 2022) if that is asked for and bitsandbytes is installed."""
    kind: Any = torch.optim.AdamW
    if name == "adamw8bit" and has_8bit():
        kind = import_module("bitsandbytes.optim").AdamW8bit
    optimizer: torch.optim.Optimizer = kind(parameters, lr=learning_rate, weight_decay=weight_decay)
    return optimizer


def moments_of(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """Return all that an optimiser remembers of its parameters, as `exp_avg.<parameter>` and the like.

    Args:
        optimizer: With one group of parameters.
        names: Of its parameters, in their order.
    """
    return {
        f"{key}.{name}": torch.as_tensor(value)
        for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True)
        for key, value in optimizer.state[parameter].items()
    }


def load_moments(optimizer: torch.optim.Optimizer, names: Sequence[str], moments: Mapping[str, Tensor]) -> None:
    """Go back to what `moments_of` returned of an optimiser of the same kind.

    Raises:
        CheckpointError: They are those of another optimiser, or of other parameters.
    """
    numbers = {name: k for k, name in enumerate(names)}
    state: dict[int, dict[str, Any]] = {}
    for full, value in moments.items():
        key, _, name = full.partition(".")
        if name not in numbers:
            raise CheckpointError(f"the optimiser of the checkpoint knows {name}, which is no parameter of this net")
        # bitsandbytes counts in plain integers
        plain = value.dim() == 0 and not value.is_floating_point()
        state.setdefault(numbers[name], {})[key] = int(value) if plain else value
    kept = {key for each in state.values() for key in each}
    wanted = {"exp_avg", "exp_avg_sq"} if isinstance(optimizer, torch.optim.AdamW) else {"state1", "state2"}
    if missing := sorted(wanted - kept):
        raise CheckpointError(
            f"the checkpoint has no {some(missing)}: it was made with another optimiser. AdamW in 8 bits goes on only "
            "where bitsandbytes is installed, and in 32 bits only with optimizer = 'adamw'"
        )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
