import operator
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inout_generators.common.batches import FullBatches

Task = tuple[int, str]


@given(tasks=st.lists(st.tuples(st.integers(0, 3), st.text(max_size=3)), max_size=20), size=st.integers(1, 6))
def test_gives_one_result_per_task_in_order_from_full_batches_of_alike_tasks(tasks: list[Task], size: int) -> None:
    def draw(batch: Sequence[Task]) -> list[Task]:
        assert len(batch) == size
        assert len({kind for kind, _ in batch}) == 1
        return list(batch)

    assert FullBatches(draw, alike=operator.itemgetter(0), batch_size=size)(tasks) == tasks


def test_no_more_batches_than_needed() -> None:
    drawn: list[list[int]] = []

    def draw(batch: Sequence[int]) -> Sequence[int]:
        drawn.append(list(batch))
        return batch

    FullBatches(draw, alike=lambda task: task % 2, batch_size=2)([1, 2, 3, 4, 5])
    assert drawn == [[1, 3], [5, 5], [2, 4]]


def test_when_memory_runs_out_the_size_is_halved_for_good() -> None:
    sizes: list[int] = []

    def draw(batch: Sequence[int]) -> Sequence[int]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return batch

    batches = FullBatches(draw, alike=type, batch_size=8)
    assert batches([1, 2, 3]) == [1, 2, 3]
    assert batches([4]) == [4]
    assert sizes == [8, 4, 2, 2, 2]


@pytest.mark.parametrize(("error", "size"), [(RuntimeError("shapes"), 8), (torch.cuda.OutOfMemoryError("x"), 1)])
def test_any_other_error_and_no_room_for_one_are_told(error: RuntimeError, size: int) -> None:
    def draw(batch: Sequence[int]) -> Sequence[int]:
        raise error

    with pytest.raises(RuntimeError, match=str(error)):
        FullBatches(draw, alike=type, batch_size=size)([1])
