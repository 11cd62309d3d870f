import math

import numpy as np
import pytest
from evidence.intervals import Bootstrap
from evidence.metrics import measure
from scipy.stats import ttest_rel

LABELS = np.repeat([0, 1], [60, 15])


def arm(quality: float, seeds: range) -> dict[int, list[float]]:
    return {s: (np.random.default_rng(s).normal(size=75) + quality * LABELS).tolist() for s in seeds}


def test_mean_deviation_and_interval() -> None:
    scored = arm(1.0, range(4))
    found = Bootstrap(LABELS).estimates(scored)["ap"]
    exact = [measure(logits, LABELS)["ap"].item() for logits in scored.values()]
    assert found.mean == pytest.approx(np.mean(exact))
    assert found.deviation == pytest.approx(np.std(exact, ddof=1))
    assert found.low < found.mean < found.high
    assert math.isnan(found.p)


def test_a_gain_is_paired_over_seeds_and_images() -> None:
    weak, strong = arm(0.8, range(4)), arm(1.6, range(4))
    bootstrap = Bootstrap(LABELS)
    gain = bootstrap.estimates(strong, baseline=weak)["ap"]
    values = [[measure(logits, LABELS)["ap"].item() for logits in each.values()] for each in (strong, weak)]
    assert gain.mean == pytest.approx(np.mean(values[0]) - np.mean(values[1]))
    assert gain.p == pytest.approx(ttest_rel(*values).pvalue)
    assert gain.low > 0
    # the noise is the same in both, and a difference of pairs does not have it
    apart = [bootstrap.estimates(each)["ap"] for each in (strong, weak)]
    assert gain.high - gain.low < sum(each.high - each.low for each in apart)


def test_an_arm_gains_nothing_over_itself() -> None:
    gain = Bootstrap(LABELS).estimates(arm(1.0, range(3)), baseline=arm(1.0, range(3)))["auroc"]
    assert (gain.mean, gain.low, gain.high, gain.p) == (0, 0, 0, 1)


def test_only_seeds_of_both_are_compared() -> None:
    gain = Bootstrap(LABELS).estimates(arm(1.0, range(5)), baseline=arm(1.0, range(3, 8)))["ap"]
    assert gain.mean == 0
    with pytest.raises(ValueError, match="no seeds"):
        Bootstrap(LABELS).estimates(arm(1.0, range(2)), baseline=arm(1.0, range(2, 4)))


def test_a_single_seed_has_an_interval_of_its_images() -> None:
    found = Bootstrap(LABELS).estimates(arm(1.0, range(1)))["ap"]
    assert math.isnan(found.deviation)
    assert found.low < found.mean < found.high
