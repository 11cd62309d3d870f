from collections import Counter

import numpy as np
import pytest

from inout_aug.seeding import stream
from inout_generators.defectdiffu.conditions import DoubleFree

COUNT = 20_000


def shares(drop, defect):
    told = drop(["tile"] * COUNT, [defect] * COUNT, stream(0))
    return {pair: n / COUNT for pair, n in Counter((each.defect, each.product) for each in told).items()}


def about(**wanted):
    return {tuple(name.split("_")): pytest.approx(share, abs=0.012) for name, share in wanted.items()}


def test_each_name_is_dropped_once_independently():
    found = shares(DoubleFree(), "crack")
    assert found == about(crack_tile=0.64, crack_industry=0.16, good_tile=0.16, good_industry=0.04)


def test_as_algorithm_1_is_written_the_product_of_a_defect_is_dropped_twice():
    found = shares(DoubleFree(literal_algorithm1=True), "crack")
    assert found == about(crack_tile=0.512, crack_industry=0.288, good_tile=0.128, good_industry=0.072)


@pytest.mark.parametrize("literal", [False, True])
def test_a_good_picture_stays_good_and_loses_its_product_once(literal):
    found = shares(DoubleFree(literal_algorithm1=literal), "good")
    assert found == about(good_tile=0.8, good_industry=0.2)


def test_the_fusion_prompt_has_the_names_that_are_left():
    told = DoubleFree(product=1.0, defect=1.0)(["hex nut", "tile"], ["worn edge", "good"], stream(0))
    assert [each.prompts.fusion for each in told] == ["a photo of good industry"] * 2
    # only where there is a defect is it hidden
    assert [each.hidden for each in told] == [True, False]
    (whole,) = DoubleFree(product=0.0, defect=0.0)(["hex nut"], ["worn edge"], stream(0))
    assert whole.prompts == ("a photo of worn edge", "a photo of hex nut", "a photo of worn edge hex nut")
    assert not whole.hidden


def test_names_that_are_kept_and_a_null_product_of_ones_own():
    drop = DoubleFree(product=1.0, defect=0.0, keep=("wood",), null_product="surface")
    told = drop(["tile", "wood"], ["good", "good"], stream(0))
    assert [each.product for each in told] == ["surface", "wood"]


def test_what_is_dropped_of_one_picture_does_not_depend_on_the_names_of_others():
    drop = DoubleFree(product=0.5, defect=0.5)
    first = drop(["tile"] * 40, ["crack"] * 40, stream(3))
    second = drop(["tile"] + ["wood"] * 39, ["crack"] + ["good"] * 39, stream(3))
    assert first[0] == second[0]
    dropped = np.array([each.product for each in first]) == "industry"
    assert (dropped == (np.array([each.product for each in second]) == "industry")).all()


@pytest.mark.parametrize("wrong", [{"product": -0.1}, {"defect": 1.1}])
def test_probabilities_that_are_none(wrong):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        DoubleFree(**wrong)
