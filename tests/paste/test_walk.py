import numpy as np
import pytest

from inout_aug.paste import _walk
from inout_aug.seeding import stream


def chord_and_path(stroke):
    steps = np.hypot(*np.diff(stroke[:, :2], axis=0).T)
    return np.hypot(*(stroke[-1, :2] - stroke[0, :2])), steps.sum()


@pytest.mark.parametrize("draw", [_walk.crack, _walk.scratch])
def test_length_and_width_are_as_asked_and_the_ends_taper(draw):
    for seed in range(50):
        main = draw(stream(seed), 6.0, 200.0)[0]
        assert 0.6 * 200 <= chord_and_path(main)[1] <= 200.001
        radius, opacity = main[:, 2], main[:, 3]
        # a disc of the soft edge is 1.08 radius wide at half its height
        assert radius.max() * 1.0824 <= 6.001
        assert radius[[0, -1]].max() < 1e-6 * radius.max() + 1e-9
        assert opacity[[0, -1]].max() < 1e-6
        assert opacity.min() >= 0
        assert opacity.max() <= 1


def test_walks_are_of_low_curvature_cracks_are_jagged_and_scratches_nearly_straight():
    cracks = np.array([chord_and_path(_walk.crack(stream(seed), 2.0, 100.0)[0]) for seed in range(200)])
    scratches = np.array([chord_and_path(_walk.scratch(stream(seed), 2.0, 100.0)[0]) for seed in range(200)])
    crack, scratch = np.median(cracks[:, 0] / cracks[:, 1]), np.median(scratches[:, 0] / scratches[:, 1])
    assert 0.85 < crack < 0.99 < scratch < 1


def test_branches_start_on_the_crack_and_are_thinner_and_shorter():
    branched = 0
    for seed in range(50):
        main, *branches = _walk.crack(stream(seed), 4.0, 100.0)
        branched += bool(branches)
        for branch in branches:
            distance = np.hypot(*(main[:, :2] - branch[0, :2]).T)
            assert distance.min() == pytest.approx(0, abs=1e-9)
            assert chord_and_path(branch)[1] <= 51
            assert branch[:, 2].max() < 4.0
    assert 25 < branched < 50


def test_brightness_varies_along_a_stroke():
    opacity = _walk.scratch(stream(0), 2.0, 100.0)[0][8:-8, 3]
    assert np.ptp(opacity) > 0.2


def test_spots_are_compact_and_about_as_wide_as_asked():
    extents = []
    for seed in range(100):
        (stroke,) = _walk.spot(stream(seed), 10.0)
        extents.append(np.ptp(stroke[:, :2], axis=0).max() + 2 * stroke[:, 2].mean())
    assert 8 < np.median(extents) < 20
