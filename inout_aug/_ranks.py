"""Which of how many processes of a distributed training this one is."""

from __future__ import annotations

import torch.distributed


def world() -> tuple[int, int] | None:
    """Return the number of ranks and this process's, or None where there is no process group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return None
