import math

import numpy as np
import pytest
import torch

from inout_aug.cli import _experiment
from inout_aug.cli._experiment import Protocol, apart, draws, make_arms, measure, run, spread, wrap
from inout_aug.cli._pictures import Pictures
from inout_aug.datasets import Surfaces
from inout_aug.paste.memseg import MemSegPaste
from inout_aug.paste.stroke import StrokePaste
from inout_aug.sampler import default_real_share

SIZE = (32, 32)


@pytest.fixture(scope="module")
def training():
    return Pictures(Surfaces(60, size=SIZE, channels=1), SIZE)


@pytest.fixture(scope="module")
def test():
    return Pictures(Surfaces(40, start=60, size=SIZE, channels=1, defect_share=0.5), SIZE)


def protocol(**changes):
    return Protocol(**{"shots": 4, "seeds": (0, 1), "steps": 3, "size": SIZE} | changes)


def silent(arm):
    pass


def test_the_arms_differ_in_what_they_draw(training):
    arms = make_arms({"memseg": MemSegPaste(), "stroke": StrokePaste()})
    assert [arm.name for arm in arms] == ["no synthetic data", "oversampled real", "with memseg", "with stroke"]
    counts = {}
    for arm in arms:
        dataset = wrap(training, arm.members, 4, seed=0)
        drawn = np.array(list(draws(arm, dataset, 640, seed=0)))
        assert len(drawn) == 640
        real = drawn[drawn < 58]
        positives = np.count_nonzero(dataset.targets[real])
        counts[arm.name] = (len(real) - positives, positives, 640 - len(real))
    few = round(320 * default_real_share(4))
    assert counts["oversampled real"] == (320, 320, 0)
    assert counts["with memseg"] == counts["with stroke"] == (320, few, 320 - few)
    plain = counts["no synthetic data"]
    assert plain[2] == 0
    # as they come: each of the 58 real samples, 4 of them positive, is drawn 11 or 12 times
    assert 44 <= plain[1] <= 48


def test_the_control_repeats_the_same_few_real_defects(training):
    control = make_arms({"memseg": MemSegPaste()})[1]
    dataset = wrap(training, control.members, 2, seed=5)
    drawn = [dataset[index]["path"] for index in draws(control, dataset, 100, seed=0) if dataset.targets[index]]
    assert len(drawn) == 50
    assert set(drawn) <= {item["path"] for item in training if item["label"]}
    assert len(set(drawn)) == 2


def test_the_figures_depend_on_the_seed_and_not_on_the_cores(training, test, monkeypatch):
    arms = make_arms({"memseg": MemSegPaste()})
    results = []
    for at_once in (1, 3):
        monkeypatch.setattr(_experiment, "_MOST_AT_ONCE", at_once)
        monkeypatch.setattr("os.cpu_count", lambda: 3)
        results.append([outcome.scores for outcome in run(arms, training, test, protocol(), silent)])
    assert results[0] == results[1]
    scores = [score for outcome in results[0] for score in outcome]
    assert len(set(scores)) == 6


def test_scores_agree_with_counting_by_hand():
    score = measure(torch.tensor([40.0, 90.0, -3.0, 0.5]), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    # 3 of the 4 pairs are in order; precision is 1 at the first positive and 2/3 at the second
    assert score.auroc == pytest.approx(0.75)
    assert score.average_precision == pytest.approx((1 + 2 / 3) / 2)


def test_zero_shot_leaves_the_arms_without_positives_at_chance(training, test):
    arms = make_arms({"memseg": MemSegPaste()})
    ticked = []
    plain, control, pasted = run(arms, training, test, protocol(shots=0), ticked.append)
    for outcome in (plain, control):
        assert not outcome.trained
        assert outcome.average_precision == [0.5, 0.5]
        assert outcome.auroc == [0.5, 0.5]
    assert pasted.trained
    assert [arm.name for arm in ticked] == ["with memseg"] * 6


def test_an_interrupt_ends_all_trainings_and_threads_are_as_before(training, test):
    before = torch.get_num_threads()
    ticked = []

    def interrupt(arm):
        ticked.append(arm)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_arms({"memseg": MemSegPaste()}), training, test, protocol(steps=100_000), interrupt)
    assert len(ticked) <= 4
    assert torch.get_num_threads() == before


def test_more_shots_than_there_are_defects_are_refused(training, test):
    with pytest.raises(ValueError, match=r"shots must be in \[0, 6\]"):
        run(make_arms({"memseg": MemSegPaste()}), training, test, protocol(shots=7), silent)


def test_spread_and_apart():
    values = [0.2, 0.5, 0.9]
    assert spread(values) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert math.isnan(spread([0.4])[1])
    assert apart([0.1, 0.2], [0.5, 0.6])
    assert apart([0.5, 0.6], [0.1, 0.2])
    assert not apart([0.1, 0.5], [0.3, 0.6])
    assert not apart([0.1], [0.9])
