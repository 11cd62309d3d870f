"""DefectDiffu as a generator: a sample hangs on its request alone, hosts stay outside the mask, names are checked."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inout_aug.plugin import Generator, Request
from inout_generators.common.checkpoints import CheckpointError
from inout_generators.defectdiffu.drawing import NoDefectDrawn
from inout_generators.defectdiffu.generator import DefectDiffu
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.names import UnknownName
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

SIZE = (32, 48)
PRODUCTS = {"metal nut": ["crack", "hole"], "wood": ["hole"], "tile": []}
MANY = [
    Request(seed=3, height=32, width=48, defect_class=1),
    Request(seed=4, height=32, width=48, defect_class=2, prompt="tile", strength=1.5),
    Request(seed=3, height=48, width=32, channels=1, defect_class=2),
]


def generator(channels: int = 3, **changes: Any) -> DefectDiffu:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = NamedEmbedding(products=[*PRODUCTS], defects=["crack", "hole"], dim=16)
        net = DefectDiffuTransformer(channels=channels, text_dim=16, patch=4, width=64, depths=(1, 1, 1), heads=4)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        # masks with something in them, though nothing was learned
        head = net.adapt_mask.linear
        torch.nn.init.normal_(head.weight, std=1.5)
        torch.nn.init.normal_(head.bias)
    settings = {"products": PRODUCTS, "size": SIZE, "steps": 4, "min_area": 1, "batch_size": 2, "device": "cpu"}
    return DefectDiffu(net, text, PixelSpace(channels), **{**settings, **changes})


def host(height: int = 37, width: int = 50, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert (one.label, one.origin) == (other.label, other.origin)


@pytest.mark.parametrize("sampler", ["dpm++", "ancestral"])
def test_a_batch_is_its_single_requests(sampler: Any) -> None:
    model = generator(sampler=sampler)
    assert isinstance(model, Generator)
    together = model.generate(MANY)
    for request, sample in zip(MANY, together, strict=True):
        assert_same(sample, model.generate([request])[0])
        assert sample.image.shape == (request.height, request.width, request.channels)
        assert sample.label == request.defect_class
        assert set(np.unique(sample.mask)) == {0, request.defect_class}
    params = together[1].origin.params
    assert (params["product"], params["defect"], params["w_defect"]) == ("tile", "hole", 1.5)
    assert together[0].origin.params["product"] == "metal nut"
    json.dumps([sample.origin.params for sample in together])


def test_what_a_request_leaves_open_is_drawn_from_its_seed() -> None:
    model = generator(w_defect=(0.5, 2.5), w_product=(0.8, 1.2))
    samples = model.generate([Request(seed=k, height=32, width=48, defect_class=2) for k in range(12)])
    params = [sample.origin.params for sample in samples]
    assert {each["product"] for each in params} == {"metal nut", "wood"}
    assert all(0.5 <= each["w_defect"] <= 2.5 and 0.8 <= each["w_product"] <= 1.2 for each in params)
    assert len({each["w_defect"] for each in params}) == 12
    only = generator(product="tile").generate(MANY[:1])[0]
    assert only.origin.params["product"] == "tile"


def test_a_product_gets_defects_that_it_was_never_seen_with_by_eq4_alone() -> None:
    assert generator().sample("tile", "crack", seed=1).label == 1
    with pytest.raises(ValueError, match="no image showed 'crack' on 'tile', and mode='joint'"):
        generator(mode="joint").sample("tile", "crack")


def test_a_series_is_one_noise_at_several_strengths() -> None:
    model = generator()
    weak, strong, again = model.series("wood", "hole", strengths=(0.5, 2.5, 0.5), seed=7)
    np.testing.assert_array_equal(weak.values, again.values)
    assert np.abs(weak.values - strong.values).max() > 0
    assert weak.soft.shape == weak.mask.shape == SIZE
    # the first attempt of a request is the same noise
    sample = model.sample("wood", "hole", seed=7, strength=0.5)
    assert sample.origin.params["attempt"] == 0
    np.testing.assert_array_equal(sample.image, weak.image)
    np.testing.assert_array_equal(sample.mask, weak.mask * 2)


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.uint16)])
def test_outside_the_mask_every_bit_is_the_hosts(channels: int, dtype: type) -> None:
    model, given = generator(), host(channels=channels, dtype=dtype)
    region = np.zeros(given.shape[:2], np.uint8)
    region[8:28, 10:40] = 1
    for mask in (None, region):
        sample = model.edit(given, mask, product="wood", defect="hole", strength=0.6, seed=5)
        assert sample.image.dtype == dtype
        assert sample.mask.any()
        np.testing.assert_array_equal(sample.image[sample.mask == 0], given[sample.mask == 0])
        assert (sample.image[sample.mask > 0] != given[sample.mask > 0]).any()
        if mask is not None:
            assert not sample.mask[mask == 0].any()


def test_crops_are_drawn_around_the_region_of_a_larger_host() -> None:
    given = host(200, 300)
    region = np.zeros((200, 300), np.uint8)
    region[100:120, 200:230] = 1
    sample = generator(crop=True).edit(given, region, product="wood", defect="hole", seed=5)
    top, left, height, width = sample.origin.params["window"]
    assert (height, width) == SIZE
    assert top <= 100
    assert left <= 200
    with pytest.raises(ValueError, match=r"200x300, but .* 32x48"):
        generator().edit(given, region, product="wood", defect="hole")


def test_empty_masks_are_counted_and_drawn_anew_and_in_the_end_refused() -> None:
    model = generator()
    samples = model.generate([Request(seed=k, height=32, width=48) for k in range(4)])
    assert model.emptied == sum(sample.origin.params["attempt"] for sample in samples)
    blind = generator()
    torch.nn.init.zeros_(blind.net.adapt_mask.linear.weight)
    torch.nn.init.zeros_(blind.net.adapt_mask.linear.bias)
    with pytest.raises(NoDefectDrawn, match=r"none of 20 images drawn for seed 0 .* shows 'hole' on 'wood'"):
        blind.sample("wood", "hole")
    assert blind.emptied == 20


def test_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    model = generator(w_defect=(0.5, 2.0), product=["wood"], mode="full", steps=3)
    model.save_pretrained(tmp_path)
    again = DefectDiffu.from_pretrained(tmp_path, batch_size=2, device="cpu")
    assert again.fingerprint == model.fingerprint
    request = Request(seed=0, height=32, width=48, defect_class=2)
    assert_same(again.generate([request])[0], model.generate([request])[0])
    assert DefectDiffu.from_pretrained(tmp_path, steps=5, device="cpu").fingerprint != model.fingerprint
    described = json.loads((tmp_path / "defectdiffu.json").read_text())
    (tmp_path / "defectdiffu.json").write_text(json.dumps({**described, "format": 9}))
    with pytest.raises(CheckpointError, match="format 9"):
        DefectDiffu.from_pretrained(tmp_path)
    (tmp_path / "defectdiffu.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(CheckpointError, match="not what save_pretrained writes"):
        DefectDiffu.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        DefectDiffu.from_pretrained(tmp_path / "none")


def test_pickles() -> None:
    model = generator()
    again = pickle.loads(pickle.dumps(model))
    assert_same(again.generate(MANY[:1])[0], model.generate(MANY[:1])[0])


def test_the_fingerprint_is_of_weights_and_settings() -> None:
    before = generator().fingerprint
    assert generator().fingerprint == before
    assert generator(w_defect=2.0).fingerprint != before
    other = generator()
    torch.nn.init.zeros_(other.net.y_embedders.bias)
    assert other.fingerprint != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 33}, "multiples of 4 .* Take 32x48"),
        ({"height": 8}, "at least 16"),
        ({"defect_class": 3}, "1 to 2, crack, hole; got 3"),
        ({"channels": 4}, "1 or 3 channels"),
        ({"prompt": "wod"}, "no product 'wod'; did you mean 'wood'"),
        ({"strength": -1.0}, "not negative"),
        ({"region": np.ones((32, 48), np.uint8)}, "for requests with a host"),
        ({"host": host(30, 48)}, r"\(32, 48, 3\); got \(30, 48, 3\)"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator().generate([Request(**{"seed": 0, "height": 32, "width": 48, **changes})])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (33, 48)}, "multiples of 4"),
        ({"products": {"wood": ["crak"]}, "defects": ["crack", "hole"]}, "did you mean 'crack'"),
        ({"product": "steel"}, "no product 'steel'"),
        ({"products": {"wood": []}}, "name at least one product, and 1 to 255 defects"),
        ({"mode": "cfg"}, "mode is one of"),
        ({"sampler": "euler"}, "sampler is one of"),
        ({"steps": 0}, "at least 1"),
        ({"w_defect": (2.0, 1.0)}, "w_defect is a number"),
        ({"w_product": float("nan")}, "w_product is a number"),
        ({"dtype": "int8"}, "dtype is float32"),
    ],
)
def test_settings_that_make_no_generator_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(**changes)


def test_parts_that_do_not_fit_are_refused() -> None:
    model = generator()
    with pytest.raises(ValueError, match=r"latents with 3 channels .* PixelSpace has 1"):
        DefectDiffu(model.net, model.text, PixelSpace(1), products=PRODUCTS, size=SIZE)


def test_grey_models_want_grey_hosts() -> None:
    with pytest.raises(ValueError, match="give it grey hosts"):
        generator(channels=1).edit(host(), product="wood", defect="hole")


def test_unknown_names_suggest_the_nearest_and_wild_strengths_warn() -> None:
    with pytest.raises(UnknownName, match="did you mean 'metal nut'"):
        generator().sample("metal nuts", "hole")
    with pytest.raises(UnknownName, match="did you mean 'crack'"):
        generator().series("wood", "cracks")
    with pytest.warns(UserWarning, match="w_defect up to 9"):
        generator(w_defect=9)
