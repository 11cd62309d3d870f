"""A plan alone decides what is asked for, and its key says what that is."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inout_aug.cache.plan import Gate, Plan, describe, request_seed
from inout_aug.plugin import Request
from standin import Brightness

SHAPE = (24, 32, 3)
HOST = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(SHAPE)


def test_seeds_are_those_of_every_cache_that_there_is() -> None:
    # whoever changes these makes every cache anew
    known = {
        (0, 0, 0): 1445694884619442965,
        (0, 0, 1): 5783053468948169963,
        (0, 1, 0): 4273803895383222415,
        (1, 0, 0): 3115298510175463368,
        (2**64 - 1, 2**40, 19): 8747148543492852779,
    }
    assert {key: request_seed(*key) for key in known} == known


def test_no_two_samples_or_attempts_share_a_seed() -> None:
    seeds = {request_seed(*key) for key in np.ndindex(4, 500, 5)}
    assert len(seeds) == 4 * 500 * 5
    assert all(0 <= seed < 1 << 63 for seed in seeds)


@given(st.lists(st.sampled_from([(16, 16, 1), (16, 17, 1), (16, 16, 3)]), min_size=1, max_size=40), st.data())
def test_groups_divide_the_indices_by_shape_and_only_grow(shapes: list[Any], data: Any) -> None:
    plan = Plan(shape=shapes.__getitem__)
    groups = plan.groups(len(shapes))
    assert list(groups) == list(dict.fromkeys(shapes))
    assert {shape: list(indices) for shape, indices in groups.items()} == {
        shape: [index for index, other in enumerate(shapes) if other == shape] for shape in groups
    }
    fewer = plan.groups(data.draw(st.integers(0, len(shapes))))
    for shape, indices in fewer.items():
        assert list(indices) == list(groups[shape][: len(indices)])
    assert {shape: list(i) for shape, i in Plan(shape=SHAPE).groups(3).items()} == {SHAPE: [0, 1, 2]}


def test_conditions_may_be_one_several_or_a_function() -> None:
    conditions = [{"prompt": "a crack", "strength": 0.5}, {"defect_class": 2}]
    several = Plan(shape=SHAPE, seed=3, conditions=conditions)
    function = Plan(shape=lambda k: SHAPE, seed=3, conditions=lambda k: conditions[k % 2])
    for index in range(5):
        request = several.request(index, attempt=2)
        assert describe(request) == describe(function.request(index)) == described(conditions[index % 2])
        assert request.seed == function.request(index, 2).seed == request_seed(3, index, 2)
        assert (request.height, request.width, request.channels) == SHAPE
    one = Plan(shape=SHAPE, conditions={"host": HOST}).request(9)
    assert one.host is HOST


def described(conditions: dict[str, Any]) -> dict[str, Any]:
    return {"defect_class": 1, **conditions}


@dataclass
class Bounded(Brightness):
    """Another gate, with a score of its own."""

    name: str = "bounded"
    score_names: tuple[str, ...] = ("bound",)


BASE = Plan(shape=SHAPE, conditions=[{"prompt": "a", "host": HOST}], gates=[Brightness(), Bounded(3)])
CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "shape": {"shape": (24, 33, 3)},
    "dtype": {"dtype": "uint16"},
    "masks": {"masks": False},
    "prompt": {"conditions": [{"prompt": "b", "host": HOST}]},
    "host": {"conditions": [{"prompt": "a", "host": HOST + 1}]},
    "region": {"conditions": [{"prompt": "a", "host": HOST, "region": HOST[..., 0]}]},
    "one condition more": {"conditions": [{"prompt": "a", "host": HOST}, {"prompt": "b"}]},
    "a threshold": {"gates": [Brightness(129), Bounded(3)]},
    "the order of gates": {"gates": [Bounded(3), Brightness()]},
    "no gates": {"gates": []},
}


def test_all_that_decides_a_sample_is_in_the_key() -> None:
    keys = {name: replace(BASE, **change).key("f") for name, change in CHANGES.items()}
    keys |= {"itself": BASE.key("f"), "another generator": BASE.key("g")}
    assert len(set(keys.values())) == len(keys)


def test_how_a_plan_is_written_is_not() -> None:
    conditions = ({"host": np.asfortranarray(HOST), "prompt": "a", "strength": 1, "defect_class": np.int64(1)},)
    same = Plan(shape=np.array(SHAPE), conditions=conditions, gates=tuple(BASE.gates))  # type: ignore[arg-type]
    assert same.key("f") == BASE.key("f")
    function = replace(BASE, shape=lambda k: SHAPE, conditions=lambda k: conditions[0])
    assert function.key("f") == BASE.key("f")


IMAGES = arrays.arrays(
    st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 3), st.integers(1, 3)), elements=st.integers(0, 2)
)


@given(IMAGES, IMAGES)
def test_images_are_told_by_type_shape_and_pixels(one: Any, other: Any) -> None:
    def digest(image: Any) -> Any:
        described = describe(Request(seed=0, height=16, width=16, region=image))
        assert json.loads(json.dumps(described)) == described
        return described["region_sha256"]

    same = one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    assert (digest(one) == digest(other)) is same
    assert digest(one) == digest(np.repeat(one, 2, axis=1)[:, ::2])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shape": (24, 32)}, ValueError, r"a shape is \(H, W, C\), in whole numbers; got \(24, 32\) for sample 0"),
        ({"shape": (24.5, 32, 3)}, ValueError, "whole numbers"),
        ({"shape": lambda k: 24}, ValueError, "whole numbers; got 24"),
        ({"shape": (8, 32, 3)}, ValueError, "a side is an int in"),
        ({"shape": (24, 32, 4)}, ValueError, "1 or 3 channels"),
        ({"dtype": "float32"}, ValueError, "dtype"),
        ({"seed": -1}, ValueError, "seed"),
        ({"conditions": []}, ValueError, "empty sequence"),
        ({"conditions": {"class": 3}}, ValueError, r"unknown conditions \['class'\] for sample 0.*'defect_class'"),
        ({"conditions": {"seed": 3}}, ValueError, "unknown conditions"),
        ({"gates": [Brightness(), Brightness(3)]}, ValueError, "names"),
        ({"gates": [Brightness(), Brightness(3, name="other")]}, ValueError, "names"),
        ({"gates": [print]}, TypeError, "a gate has name, score_names, fingerprint and judge"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Plan(**{"shape": SHAPE, **options})


def test_what_is_wrong_later_on_is_told_by_its_number() -> None:
    plan = Plan(shape=lambda k: SHAPE if k < 5 else (24,), conditions=[{}, {"colour": 1}])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown conditions \['colour'\] for sample 1"):
        plan.key("f")
    with pytest.raises(ValueError, match="for sample 5"):
        plan.groups(6)
    assert isinstance(Brightness(), Gate)
