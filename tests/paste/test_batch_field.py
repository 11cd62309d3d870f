import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inout_aug.paste import _batch_field as field


def draw(cells, angle, seed, size, finest=(32, 32)):
    return draw_all([cells], [float(angle)], [seed], size, finest)[0]


def draw_all(cells, angle, seed, size, finest, device="cpu"):
    powers = torch.tensor(cells).log2().long()
    arguments = (part.to(device) for part in (powers, torch.tensor(angle), torch.tensor(seed)))
    return field.seen_turned(field.draw_canvases(*arguments, size=size, finest=finest), size)


def by_definition(cells, angle, seed, size, finest):
    """Perlin's noise at each pixel, from its four lattice points."""
    height, width = size
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    per_y, per_x = cells[0] / height, cells[1] / width
    diagonal = math.hypot(*size)
    v = (cosine * y + sine * x + diagonal / 2) * per_y
    u = (cosine * x - sine * y + diagonal / 2) * per_x
    lattice = [math.ceil(diagonal * most / side) + 1 for most, side in zip(finest, size, strict=True)]
    gx, gy = field.gradients(torch.tensor([seed]), *lattice)[0].numpy()

    def fade(t):
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    total = np.zeros(size)
    for a in (0, 1):
        for b in (0, 1):
            dy, dx = v - i - a, u - j - b
            weight = (1 - fade(abs(dy))) * (1 - fade(abs(dx)))
            total += weight * (gy[i + a, j + b] * dy + gx[i + a, j + b] * dx)
    return total


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
    cells, angle, seed = [[4, 8], [1, 2], [16, 16]], [10.0, -80.0, 45.0], [1, 2, 3]
    together = draw_all(cells, angle, seed, (80, 60), (16, 16))
    for number in range(3):
        alone = draw(cells[number], angle[number], seed[number], (80, 60), (16, 16))
        assert torch.allclose(alone, together[number], atol=1e-6)


def test_corners_of_elongated_pictures_are_not_empty():
    drawn = draw_all([[8, 8]] * 90, list(range(0, 90)), list(range(90)), (40, 200), (8, 8)).numpy()
    corners = np.abs(drawn[:, [0, 0, -1, -1], [0, -1, 0, -1]]).mean()
    assert 0.7 < corners / np.abs(drawn).mean() < 1.4


def test_gradients_are_evenly_spread_of_one_length_and_keyed_by_the_seed():
    x, y = field.gradients(torch.arange(64), 40, 40).unbind(1)
    assert torch.allclose(y**2 + x**2, torch.full((), 2.0), atol=1e-5)
    counts = torch.histc(torch.atan2(y, x), 16, -math.pi, math.pi)
    expected = 64 * 1600 / 16
    assert ((counts - expected) ** 2 / expected).sum() < 40  # chi-square of 15 degrees: 0.05 % above
    for a, b in ((y[:-1], y[1:]), (y[:, :-1], y[:, 1:]), (y[..., :-1], y[..., 1:])):
        assert abs(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]) < 0.02


@example(5, 3.574474213163772, False)
@given(st.integers(0, 5), st.floats(1, 4), st.booleans())
def test_weights_of_the_lattice_lines_are_sharpened_fades_and_ramps(power, stretch, ramp_first):
    weights = field._weights(stretch, 1 << power, torch.device("cpu"), ramp_first=ramp_first).double().numpy()
    lines, samples = weights.shape[2:]

    def fade(away):
        t = np.minimum(abs(away), 1)
        return 1 - t**3 * (6 * t**2 - 15 * t + 10), -60 * t * (1 - t) * (1 - 2 * t)

    def ramp(away):
        t, (value, bend) = np.minimum(abs(away), 1), fade(away)
        return away * value, away * bend - 60 * np.sign(away) * (t * (1 - t)) ** 2

    for number in range(power + 1):
        step = stretch * (1 << number) / (samples - 1)
        away = np.arange(samples) * step - np.arange(lines)[:, None]
        for found, function in zip(weights[number], (ramp, fade) if ramp_first else (fade, ramp), strict=True):
            value, bend = function(away)
            # positions are float32, twice rounded, and slopes at most 2
            rounding = 2e-6 + 4 * 2**-24 * step * samples
            assert np.abs(found - (value - step**2 / 12 * bend)).max() < rounding


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_gives_the_same_field_on_cpu_and_gpu():
    arguments = [[1, 2], [32, 32], [8, 16]], [30.0, -45.0, 80.0], [1, 2, 2**24 - 1], (256, 256), (32, 32)
    assert (draw_all(*arguments) - draw_all(*arguments, device="cuda").cpu()).abs().max() < 1e-5
