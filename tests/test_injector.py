import numpy as np
import pytest
import torch

from inout_aug.injector import Summary, as_int


@pytest.mark.parametrize("index", [3, -7, np.int32(3), np.array(3), torch.tensor(3)])
def test_every_kind_of_integer_is_an_index(index):
    assert as_int(index, 10) == 3


@pytest.mark.parametrize("index", [slice(0, 3), [1, 2], 1.0, "1", None])
def test_other_things_are_not(index):
    with pytest.raises((TypeError, ValueError)):
        as_int(index, 10)


def test_summary_adds_up():
    summary = Summary(1000, 5, {"MemSegPaste": 300, "DefectGen": 200})
    assert (summary.total, summary.positives) == (1500, 505 / 1500)
    assert str(summary).splitlines()[0].split() == ["real", "normal", "995"]
    assert str(summary).splitlines()[-1].split()[-1] == "33.7%"
    assert Summary(0, 0, {}).positives == 0
