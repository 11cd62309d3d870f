import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.paste.stroke import StrokePaste
from inout_aug.plugin import HostRefused
from inout_aug.seeding import stream


def grain(side, sigma, seed=0, level=128, channels=1):
    field = stream(seed).normal(level, sigma, (side, side, channels))
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


@given(level=st.integers(0, 255), side=st.sampled_from([16, 33, 100]), seed=st.integers(0, 1000))
def test_a_constant_host_of_any_level_shows_the_defect(level, side, seed):
    host = np.full((side, side, 3), level, np.uint8)
    paster = StrokePaste()
    image, mask = paster.apply(host, paster.make_params(host, stream(seed)))
    change = np.abs(image.astype(int) - level).max(axis=2)
    # the least contrast is four times a hundredth of full scale; thin strokes on small images are fainter
    assert change.max() >= 2
    assert (change[mask == 0] == 0).all()


@pytest.mark.parametrize(("tone", "sign"), [("dark", -1), ("bright", 1)])
def test_tones(tone, sign):
    host = grain(128, 5)
    for seed in range(20):
        image, _ = (p := StrokePaste(tones=tone)).apply(host, p.make_params(host, stream(seed)))
        assert (sign * (image.astype(int) - host) >= 0).all()


def test_a_dark_stroke_on_black_is_refused_unless_it_may_be_bright():
    black = np.zeros((64, 64, 1), np.uint8)
    dark = StrokePaste(tones="dark")
    with pytest.raises(HostRefused, match="would not show"):
        dark.apply(black, dark.make_params(black, stream(0)))
    both = StrokePaste()
    assert both.apply(black, both.make_params(black, stream(0)))[0].any()


@pytest.mark.parametrize("sigma", [4.0, 12.0])
def test_the_step_follows_the_hosts_noise(sigma):
    host = grain(256, sigma)
    steps = [abs(StrokePaste(contrast=5).make_params(host, stream(seed))["step"][0]) for seed in range(30)]
    assert np.median(steps) == pytest.approx(5 * sigma, rel=0.1)


def test_neither_an_edge_nor_a_slope_in_the_host_makes_the_step_louder():
    host = grain(256, 4).astype(int)
    host += np.linspace(-40, 40, 256).astype(int)[:, None, None]
    host[:, 128:] += 60
    host = np.clip(host, 0, 255).astype(np.uint8)
    steps = [abs(StrokePaste(contrast=5).make_params(host, stream(seed))["step"][0]) for seed in range(40)]
    assert np.median(steps) < 5 * 4 * 1.5


def test_each_channel_has_its_own_noise_and_step():
    host = np.concatenate([grain(128, sigma, seed=k) for k, sigma in enumerate((4, 8, 16))], axis=2)
    step = np.abs(StrokePaste(contrast=4).make_params(host, stream(0))["step"])
    np.testing.assert_allclose(step, [16, 32, 64], rtol=0.35)


def test_16_bit_is_painted_as_finely_as_it_is_stored():
    host = grain(128, 5).astype(np.uint16) * 257
    paster = StrokePaste(kinds="crack", length=0.5)
    image, mask = paster.apply(host, paster.make_params(host, stream(0)))
    change = image[mask > 0].astype(int) - host[mask > 0]
    assert len(np.unique(change)) > 20
    assert np.unique(change % 257).size > 5


@pytest.mark.parametrize("side", [128, 512, 1024])
def test_sizes_are_relative_to_the_image(side):
    host = np.full((side, side, 1), 128, np.uint8)
    paster = StrokePaste(kinds="crack", width=0.02, length=0.5)
    shares = []
    for seed in range(30):
        mask = paster.apply(host, paster.make_params(host, stream(seed)))[1]
        shares.append(np.count_nonzero(mask) / mask.size)
    assert 0.003 < np.median(shares) < 0.012


@pytest.mark.parametrize("kind", ["crack", "scratch"])
def test_strokes_are_thin_and_spots_are_compact(kind):
    host = np.full((256, 256, 1), 128, np.uint8)

    def thickness(paster, seed):
        mask = paster.apply(host, paster.make_params(host, stream(seed)))[1]
        return cv2.distanceTransform(mask, cv2.DIST_L2, 5).max() / np.sqrt(np.count_nonzero(mask))

    thin = np.median([thickness(StrokePaste(kinds=kind), seed) for seed in range(30)])
    compact = np.median([thickness(StrokePaste(kinds="spot"), seed) for seed in range(30)])
    assert thin < 0.25 < 0.4 < compact


def test_the_soft_edge_hides_the_outline_of_the_mask():
    host = np.full((256, 256, 1), 128, np.uint8)
    paster = StrokePaste(contrast=20)
    for seed in range(20):
        image, mask = paster.apply(host, paster.make_params(host, stream(seed)))
        change = np.abs(image[..., 0].astype(int) - 128)
        rim = (mask > 0) & (cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=1) == 0)
        assert np.median(change[rim]) < 0.5 * change.max()


def test_bad_options_name_what_is_expected():
    with pytest.raises(ValueError, match=r"kinds is a selection of .*crack"):
        StrokePaste(kinds=("crack", "dent"))
    with pytest.raises(ValueError, match=r"contrast is a number, or \(smallest, largest\)"):
        StrokePaste(contrast=(5, 2))
