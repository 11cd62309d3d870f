import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.amount import Amount
from inout_aug.labels import LabelRule

ONE = LabelRule(0, 1)
THREE = LabelRule(0, {1: 4, 2: 5, 3: 5})


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "exactly one of ratio=, n_aug=, balance= and uniform="),
        ({"normals": 1.0}, "exactly one"),
        ({"ratio": 0.5, "n_aug": 3}, "exactly one"),
        ({"uniform": 5, "n_aug": 3}, "exactly one"),
        ({"ratio": -0.1}, "ratio is"),
        ({"ratio": float("nan")}, "ratio is"),
        ({"ratio": float("inf")}, "ratio is"),
        ({"ratio": "0.5"}, "ratio is"),
        ({"n_aug": -1}, "n_aug is"),
        ({"n_aug": 1.5}, "n_aug is"),
        ({"n_aug": float("inf")}, "n_aug is"),
        ({"n_aug": True}, "n_aug is"),
        ({"balance": 0.0}, "balance is"),
        ({"balance": 1.0}, "balance is"),
        ({"uniform": 0}, "uniform is"),
        ({"uniform": 2.5}, "uniform is"),
        ({"uniform": "150"}, "uniform is"),
        ({"n_aug": 1, "normals": -1}, "normals is"),
        ({"n_aug": 1, "normals": float("nan")}, "normals is"),
        ({"balance": 0.5, "normals": 1}, "both set the share of positives"),
    ],
)
def test_bad_numbers_are_refused(given, what):
    with pytest.raises(ValueError, match=what):
        Amount(**given)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=200), st.integers(1, 200))
def test_uniform_fills_the_one_class_up(labels, wanted):
    assert Amount(uniform=wanted).missing(np.array(labels), ONE) == {None: max(0, wanted - sum(labels))}


@given(st.lists(st.sampled_from([0, 4, 5]), max_size=100), st.integers(1, 60))
def test_uniform_fills_every_label_up_by_itself(labels, wanted):
    missing = Amount(uniform=wanted).missing(np.array(labels, np.int64), THREE)
    assert missing == {label: max(0, wanted - labels.count(label)) for label in (4, 5)}


def test_a_label_that_nothing_fills_up_is_refused_unless_it_is_full():
    labels = np.repeat([0, 1, 7], [9, 2, 6])
    with pytest.raises(ValueError, match=r"never have label 7, which 6 real ones have.*positive_label="):
        Amount(uniform=8).missing(labels, ONE)
    assert Amount(uniform=6).missing(labels, ONE) == {None: 4}


@given(st.integers(0, 30), st.integers(1, 60), st.integers(0, 30), st.floats(0, 2), st.floats(0, 2), st.integers(0, 9))
def test_normals_stay_by_positives(positives, there, added, one, other, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1], [there, positives]))
    kept = []
    for share in sorted((one, other)):
        wanted = round(share * (positives + added))
        if wanted > there:
            with pytest.raises(ValueError, match=f"wants {wanted} normal samples.*there are {there}: at most"):
                Amount(n_aug=added, normals=share).staying(labels, 0, added, seed)
            return
        staying = Amount(n_aug=added, normals=share).staying(labels, 0, added, seed)
        assert np.all(np.diff(staying) > 0)
        assert np.count_nonzero(labels[staying]) == positives
        assert np.count_nonzero(labels[staying] == 0) == wanted
        kept.append(set(np.asarray(staying).tolist()))
    assert kept[0] <= kept[1]


def test_the_share_that_the_refusal_names_is_accepted():
    labels = np.repeat([0, 1], [100, 7])
    with pytest.raises(ValueError, match="at most normals=14\\.285") as refusal:
        Amount(n_aug=0, normals=15).staying(labels, 0, 0, 0)
    share = float(str(refusal.value).split("at most normals=")[1].split(",")[0])
    assert np.count_nonzero(labels[Amount(n_aug=0, normals=share).staying(labels, 0, 0, 0)] == 0) == 100


def test_other_seeds_keep_other_normals():
    labels = np.repeat([0, 1], [100, 10])
    first, second = (Amount(n_aug=0, normals=1).staying(labels, 0, 0, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_it_says_what_was_given():
    assert str(Amount(uniform=150, normals=1.0)) == "uniform=150, normals=1.0"
