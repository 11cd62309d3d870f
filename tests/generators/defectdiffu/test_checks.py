"""What DefectDiffu refuses: by rules of names, sizes and weights, each with a remedy that is one."""

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.plugin import Request
from inout_generators.defectdiffu.checks import check_asked, check_request, check_size, check_weight
from inout_generators.defectdiffu.generator import DefectDiffu
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.names import UnknownName
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

PRODUCTS = {"wood": ["hole"], "tile": []}
NUMBERS = st.floats() | st.integers(-3, 9)


def generator(channels: int = 3, products: Any = PRODUCTS, **settings: Any) -> DefectDiffu:
    defects = settings.pop("defects", ["crack", "hole"])
    text = NamedEmbedding(products=[*products], defects=defects, dim=8)
    net = DefectDiffuTransformer(channels=channels, text_dim=8, patch=4, width=16, depths=(1, 1, 1), heads=2)
    given = {"defects": defects, "size": (16, 24), "device": "cpu", **settings}
    return DefectDiffu(net, text, PixelSpace(channels), products=products, **given)


def request(**fields: Any) -> Request:
    return Request(**{"seed": 0, "height": 16, "width": 24, "defect_class": 2, **fields})


@given(weight=NUMBERS | st.lists(NUMBERS, max_size=3) | st.text(max_size=3) | st.none())
@pytest.mark.filterwarnings("ignore:a weight up to")
def test_a_weight_is_a_number_or_a_range_of_numbers_and_nothing_else(weight: Any) -> None:
    ends = weight if isinstance(weight, list) else [weight, weight]
    numbers = len(ends) == 2 and all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
    if numbers and 0 <= ends[0] <= ends[1]:
        assert check_weight("a weight", weight) == tuple(ends)
    else:
        with pytest.raises(ValueError, match=rf"^a weight is a number .*; got {re.escape(repr(weight))}$"):
            check_weight("a weight", weight)


def test_numpys_numbers_are_numbers_and_wild_ones_are_warned_of() -> None:
    for weight in (np.float32(1.5), np.float64(1.5), np.array([1.5, 1.5]), (np.float16(1.5), 1.5)):
        low, high = check_weight("a weight", weight)
        assert (low, high) == (1.5, 1.5)
        assert type(low) is type(high) is float
    assert check_weight("a weight", np.int64(5)) == (5, 5)
    for wild in (5.01, (0, 6)):
        with pytest.warns(UserWarning, match=r"a weight up to (5\.01|6): 1 is as learned"):
            check_weight("a weight", wild)


@given(size=st.tuples(st.integers(-5, 400), st.integers(-5, 400)), cell=st.sampled_from([1, 3, 4, 8, 16, 32, 48]))
def test_the_size_to_take_instead_is_the_nearest_that_passes(size: tuple[int, int], cell: int) -> None:
    model: Any = SimpleNamespace(cell=cell)
    if min(size) >= 16 and not any(side % cell for side in size):
        check_size(model, size)
        return
    with pytest.raises(ValueError, match=re.escape(f"multiples of {cell} and at least 16; got {size}")) as refused:
        check_size(model, size)
    (found,) = re.findall(r"Take (\d+)x(\d+)", str(refused.value))
    check_size(model, (int(found[0]), int(found[1])))
    for side, instead in zip(size, map(int, found), strict=True):
        allowed = [n for n in range(cell, 500, cell) if n >= 16]
        assert abs(instead - side) == min(abs(n - side) for n in allowed)


@pytest.mark.parametrize("mode", ["eq4", "joint", "full"])
def test_only_eq4_puts_a_defect_where_it_was_never_seen(mode: Any) -> None:
    model = generator(mode=mode)
    for product, defect in (("wood", "hole"), ("wood", "good"), ("tile", "good")):
        check_asked(model, product, defect)
    for product, defect in (("wood", "crack"), ("tile", "hole")):
        if mode == "eq4":
            check_asked(model, product, defect)
        else:
            with pytest.raises(ValueError, match=f"no image showed '{defect}' on '{product}', and mode='{mode}'"):
                check_asked(model, product, defect)
    # the null product is for the net to be told, not to be asked for
    with pytest.raises(UnknownName, match="no product 'industry'"):
        check_asked(model, "industry", "hole")


def test_a_request_needs_a_product_for_its_defect() -> None:
    for accepted in (request(), request(defect_class=1, prompt="tile"), request(channels=1)):
        check_request(generator(), accepted)
    with pytest.raises(ValueError, match="no product has shown 'crack'; name one as the request's prompt"):
        check_request(generator(), request(defect_class=1))
    check_request(generator(product="tile"), request(defect_class=1))
    for product in ("Wood", "good", ""):
        with pytest.raises(UnknownName, match=f"no product '{product}'"):
            check_request(generator(), request(prompt=product))


def test_strength_is_noise_with_a_host_and_multiplies_the_weight_without() -> None:
    host = np.zeros((33, 50, 3), np.uint8)
    model = generator(w_defect=(0.5, 2.0))
    check_request(model, request(strength=2.5))
    with pytest.warns(UserWarning, match="strength times w_defect up to 6"):
        check_request(model, request(strength=3.0))
    fits = {"height": 33, "width": 50, "host": host}
    check_request(model, request(**fits, strength=1.0))
    for strength in (0.0, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"in \(0, 1\]"):
            check_request(model, request(**fits, strength=strength))
    with pytest.raises(TypeError, match="float64"):
        check_request(model, request(**{**fits, "host": host.astype(float)}))
    with pytest.raises(ValueError, match="it grey hosts"):
        check_request(generator(1), request(**fits))
    # drawn in colour from a grey model, a whole image is grey three times
    check_request(generator(1), request())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"products": {"wood": ["hole"], "hole": []}}, "'hole' names a defect and is a product too"),
        ({"products": {"industry": ["hole"]}}, "the word for any product too"),
        ({"products": {"wood": ["good"]}, "defects": ["good"]}, "the word for no defect too"),
        ({"products": {"wood": []}, "defects": [f"defect {k}" for k in range(256)]}, "1 to 255 defects; got 1 and 256"),
        ({"products": {}}, "name at least one product"),
        ({"product": ["wood", "tiles"]}, "no product 'tiles'; did you mean 'tile'"),
        ({"min_area": 0}, "steps and min_area are at least 1"),
        ({"feather": float("nan")}, "feather is not negative"),
        ({"dtype": "float8"}, "dtype is float32, bfloat16 or float16; got None"),
    ],
)
def test_names_that_mean_two_things_and_settings_out_of_range_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        generator(**settings)
