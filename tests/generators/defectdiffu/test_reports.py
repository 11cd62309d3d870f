import cv2
import numpy as np
import pytest
import torch

from inout_generators.defectdiffu.drawing import Drawn
from inout_generators.defectdiffu.generator import DefectDiffu
from inout_generators.defectdiffu.model import preset
from inout_generators.defectdiffu.reports import (
    attention_by_block,
    attention_grid,
    grid,
    strength_grid,
    write_picture,
    zero_shot_grid,
)
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

DEFECTS = ("crack", "hole")


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    text = NamedEmbedding(products=["tile", "wood"], defects=DEFECTS, dim=16)
    net = preset("tiny", channels=1, patch=4, text_dim=16, width=32, depths=(1, 3, 1), heads=4)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    products = {"tile": DEFECTS, "wood": ()}
    return DefectDiffu(net, text, PixelSpace(1), products=products, size=(16, 24), steps=4, device="cpu")


def drawn(level, mask=0):
    return Drawn(
        np.full((16, 24, 1), level, np.float32), np.zeros((16, 24), np.float32), np.full((16, 24), mask, np.uint8)
    )


def test_a_grid_has_each_image_over_its_mask_and_gaps_where_nothing_was_drawn():
    canvas = grid({"first": [drawn(-1.0, 1), drawn(1.0)], "second": [None, drawn(0.0, 1)]}, ["a", "b"], tile=48)
    flat = canvas[..., 0]
    # panels by the values that only they have: black and white of images and masks, the grey of the last one
    assert canvas.shape[2] == 3
    assert (flat == 0).sum() >= 2 * 48 * 32
    assert ((canvas == 128).all(-1)).sum() == pytest.approx(48 * 32, rel=0.05)
    blank = canvas[-58:-10, 110:158]
    assert (blank == 255).all()


def test_strengths_are_columns_and_pairs_are_rows(generator):
    small = strength_grid(generator, strengths=(0.0, 1.0), tile=32)
    wide = strength_grid(generator, strengths=(0.0, 1.0, 2.0), tile=32)
    tall = strength_grid(generator, pairs=[("tile", "hole")] * 1, strengths=(0.0, 1.0), tile=32)
    assert wide.shape[1] - small.shape[1] == 34
    assert small.shape[0] > tall.shape[0]


def test_transfer_is_drawn_on_products_that_were_not_seen_with_a_defect(generator):
    canvas = zero_shot_grid(generator, seeds=(0, 1), tile=32)
    # two seeds of wood; good, crack and hole
    assert canvas.shape[0] == 10 + 22 + 2 * (2 * 32 + 2 + 10)
    assert canvas.shape[1] == 110 + 3 * 34 + 10
    with pytest.raises(ValueError, match="every defect was seen on every product"):
        zero_shot_grid(generator, products=["tile"])


def test_attention_of_each_block_sums_to_one_and_to_what_the_net_says(generator):
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 1), dtype=np.uint8)
    maps = attention_by_block(generator, image, "hole", t=30, seed=3)
    assert maps.shape == (3, 4, 6)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)
    x0 = generator.space.encode(image[None])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(3))
    z = generator.schedule.add_noise(x0, noise, torch.tensor([30]))
    texts = [generator.text.encode([f"a photo of {name}"]) for name in ("hole", "industry", "hole industry")]
    with torch.no_grad():
        said = generator.net(z, torch.tensor([30]), *texts)
    np.testing.assert_allclose(maps.sum(0), said.attention[0].numpy(), rtol=1e-4)
    # nothing is left hanging on the net
    assert not any(block._forward_hooks for block in generator.net.cross_defect)


def test_attention_is_drawn_beside_image_and_mask(generator):
    canvas = attention_grid(generator, pairs=[("tile", "crack")], tile=32)
    assert canvas.shape == (10 + 22 + 32 + 10, 110 + 5 * 34 + 10, 3)


def test_pictures_are_written_as_their_suffix_says(generator, tmp_path):
    canvas = strength_grid(generator, pairs=[("tile", "hole")], strengths=(0.0,), tile=32)
    for name in ("a.png", "b.jpg"):
        write_picture(tmp_path / name, canvas)
        read = cv2.imread(str(tmp_path / name))[..., ::-1]
        assert np.abs(read.astype(int) - canvas).mean() < (0.01 if name == "a.png" else 8)
