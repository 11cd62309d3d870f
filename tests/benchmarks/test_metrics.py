import numpy as np
import pytest
import torch
from evidence.metrics import METRICS, measure
from torchmetrics.functional.classification import binary_auroc, binary_average_precision


def scored(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [40, 12]))
    logits = rng.normal(size=52) + labels
    return (logits if levels is None else np.round(logits * levels) / levels), labels


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_areas_are_those_of_torchmetrics_with_and_without_ties(levels: int | None) -> None:
    logits, labels = scored(0, levels)
    found = measure(logits, labels)
    # in (0, 1), so that torchmetrics takes no sigmoid
    ranks = torch.from_numpy((np.unique(logits, return_inverse=True)[1] + 1) / 100)
    assert found["ap"].item() == pytest.approx(float(binary_average_precision(ranks, torch.from_numpy(labels))))
    assert found["auroc"].item() == pytest.approx(float(binary_auroc(ranks, torch.from_numpy(labels))))


def test_weights_count_as_copies() -> None:
    logits, labels = scored(1, 2)
    weights = np.random.default_rng(2).integers(1, 4, (3, len(labels)))
    weights[:, ::5] = 0
    found = measure(logits, labels, weights)
    for row, counts in enumerate(weights):
        copies = measure(np.repeat(logits, counts), np.repeat(labels, counts))
        for name in METRICS:
            assert found[name][row] == pytest.approx(copies[name].item()), name


def test_a_curve_by_hand() -> None:
    #  found in turn: hit, miss, two of one score (a hit and a miss), hit
    found = measure([4.0, 3.0, 1.0, 1.0, -2.0], [1, 0, 1, 0, 1])
    assert found["ap"].item() == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)
    assert found["ap_trapezoid"].item() == pytest.approx((1 + (1 / 2 + 2 / 4) / 2 + (2 / 4 + 3 / 5) / 2) / 3)
    assert (found["precision_at_half"].item(), found["recall_at_half"].item()) == (0.5, pytest.approx(2 / 3))
    assert (found["precision_at_best_f1"].item(), found["recall_at_best_f1"].item()) == (pytest.approx(3 / 5), 1)
    assert found["recall_at_0_fp"].item() == pytest.approx(1 / 3)


def test_one_percent_of_false_positives() -> None:
    labels = np.repeat([1, 0, 1, 0], [1, 2, 1, 198])
    found = measure(-np.arange(202.0) - 1, labels)
    assert found["recall_at_0_fp"].item() == 0.5
    assert found["recall_at_1_fp"].item() == 1
    assert found["precision_at_half"].item() == found["recall_at_half"].item() == 0


def test_one_kind_of_label_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="there are 0 and 3"):
        measure([1.0, 2.0, 3.0], [0, 0, 0])
