import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_aug.paste import _batch_field as field


def draw(cells, angle, seed, size, finest=(32, 32)):
    arguments = torch.tensor([cells], dtype=torch.float32), torch.tensor([float(angle)]), torch.tensor([seed])
    return field.rotated_fields(*arguments, size=size, finest=finest)[0]


def by_definition(cells, angle, seed, size, finest):
    """Perlin's noise at each pixel, from its four lattice points."""
    height, width = size
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    per_y, per_x = cells[0] / height, cells[1] / width
    v = (cosine * y + sine * x + (abs(cosine) * height + abs(sine) * width) / 2) * per_y
    u = (cosine * x - sine * y + (abs(cosine) * width + abs(sine) * height) / 2) * per_x
    lattice = [math.ceil(math.hypot(*size) * most / side) + 1 for most, side in zip(finest, size, strict=True)]
    gy, gx = (part[0].numpy() for part in field.gradients(torch.tensor([seed]), *lattice))

    def fade(t):
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    total = np.zeros(size)
    for a in (0, 1):
        for b in (0, 1):
            dy, dx = v - i - a, u - j - b
            weight = (1 - fade(abs(dy))) * (1 - fade(abs(dx)))
            total += weight * (gy[i + a, j + b] * dy + gx[i + a, j + b] * dx)
    return math.sqrt(2) * total


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([1, 2, 4, 8, 16])),
    st.floats(-180, 180),
    st.integers(0, 2**24 - 1),
    st.tuples(st.integers(64, 130), st.integers(64, 130)),
)
def test_it_is_perlins_noise_seen_turned(cells, angle, seed, size):
    drawn = draw(cells, angle, seed, size, finest=(16, 16)).numpy()
    error = np.abs(drawn - by_definition(cells, angle, seed, size, (16, 16)))
    assert error.max() < (0.06 if 16 in cells else 0.02)
    assert error.mean() < 0.01


def test_coarse_cells_are_smooth_for_the_canvas_is_as_fine_as_the_finest_need():
    drawn = draw((1, 2), 20.0, 5, (64, 96), finest=(16, 16)).numpy()
    assert np.abs(drawn - by_definition((1, 2), 20.0, 5, (64, 96), (16, 16))).max() < 5e-4


def test_a_field_does_not_depend_on_its_neighbours_in_the_batch():
    cells = torch.tensor([[4.0, 8.0], [1.0, 2.0], [16.0, 16.0]])
    angle, seed = torch.tensor([10.0, -80.0, 45.0]), torch.tensor([1, 2, 3])
    together = field.rotated_fields(cells, angle, seed, size=(80, 60), finest=(16, 16))
    for number in range(3):
        one = slice(number, number + 1)
        alone = field.rotated_fields(cells[one], angle[one], seed[one], size=(80, 60), finest=(16, 16))
        assert torch.allclose(alone[0], together[number], atol=1e-6)


def test_gradients_are_evenly_spread_unit_vectors_and_keyed_by_the_seed():
    y, x = field.gradients(torch.arange(64), 40, 40)
    assert torch.allclose(y**2 + x**2, torch.ones(()), atol=1e-6)
    counts = torch.histc(torch.atan2(y, x), 16, -math.pi, math.pi)
    expected = 64 * 1600 / 16
    assert ((counts - expected) ** 2 / expected).sum() < 40  # chi-square of 15 degrees: 0.05 % above
    for a, b in ((y[:-1], y[1:]), (y[:, :-1], y[:, 1:]), (y[..., :-1], y[..., 1:])):
        assert abs(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]) < 0.02


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_gives_the_same_field_on_cpu_and_gpu():
    cells = torch.tensor([[1.0, 2.0], [32.0, 32.0], [8.0, 16.0]])
    arguments = cells, torch.tensor([30.0, -45.0, 80.0]), torch.tensor([1, 2, 2**24 - 1])
    here = field.rotated_fields(*arguments, size=(256, 256), finest=(32, 32))
    there = field.rotated_fields(*(part.cuda() for part in arguments), size=(256, 256), finest=(32, 32))
    assert (here - there.cpu()).abs().max() < 1e-5
