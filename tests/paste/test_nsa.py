import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.paste.nsa import NSA
from inout_aug.plugin import HostRefused
from inout_aug.seeding import stream


def texture(height, width, channels=1, seed=0):
    field = cv2.GaussianBlur(stream(seed, 0).normal(size=(height, width, channels)), (0, 0), 3)
    field = field.reshape(height, width, channels)
    return np.rint(40 + 170 * (field - field.min()) / np.ptp(field)).astype(np.uint8)


def test_the_blend_meets_the_host_at_the_border_of_the_patch():
    host = texture(120, 160)
    y, x = np.mgrid[:120, :160]
    # a source whose brightness has nothing to do with the host's
    source = (30 + 0.5 * x + 20 * np.sin(y / 9)).astype(np.uint8)[..., None]
    paster = NSA(sources=[source], patches=1, visible=0)
    params = paster.make_params(host, stream(3))
    image, _ = paster.apply(host, params)
    top, left, _, width = params["patches"][0]["to"]
    jump = np.abs(image[top, left : left + width].astype(int) - host[top - 1, left : left + width])
    step = (
        np.abs(np.diff(source[..., 0].astype(int), axis=0)).max()
        + np.abs(np.diff(host[..., 0].astype(int), axis=0)).max()
    )
    assert jump.max() <= step + 1


def test_the_patch_has_the_sources_gradients():
    host, source = np.full((100, 100, 1), 90, np.uint8), texture(100, 100, seed=1)
    paster = NSA(sources=[source], visible=0)
    params = {"patches": [{"source": 0, "from": [9, 19, 42, 52], "to": [30, 30, 40, 50]}]}
    image, _ = paster.apply(host, params)
    ours = np.diff(image[31:69, 31:79, 0].astype(float), axis=1)
    wanted = np.diff(source[11:49, 21:69, 0].astype(float), axis=1)
    assert np.corrcoef(ours.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_agrees_with_8_bit_and_is_finer(channels):
    host = texture(96, 128, channels)
    paster = NSA(visible=0)
    params = paster.make_params(host, stream(1))
    coarse, _ = paster.apply(host, params)
    fine, _ = paster.apply(host.astype(np.uint16) * 257, params)
    np.testing.assert_allclose(fine / 257, coarse, atol=len(params["patches"]) * 0.75)
    assert np.unique(fine % 257).size > 50


def test_grey_agrees_with_the_same_in_colour():
    host = texture(96, 128)
    paster = NSA()
    params = paster.make_params(host, stream(1))
    grey, mask = paster.apply(host, params)
    colour, colour_mask = paster.apply(np.repeat(host, 3, axis=2), params)
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(colour_mask, mask)


@given(bits=st.sampled_from([np.uint8, np.uint16]), channels=st.sampled_from([1, 3]), seed=st.integers(0, 999))
def test_sources_of_other_size_channels_and_bits_fit(bits, channels, seed):
    source = texture(30, 50, 4 - channels, seed=1)
    sources = [source, source.astype(np.uint16) * 257]
    host = (texture(64, 48, channels).astype(np.uint32) * np.iinfo(bits).max // 255).astype(bits)
    paster = NSA(sources=sources, patches=1, visible=0)
    params = paster.make_params(host, stream(seed))
    image, _ = paster.apply(host, params)
    (patch,) = params["patches"]
    swapped = {"patches": [{**patch, "source": 1 - patch["source"]}]}
    np.testing.assert_array_equal(paster.apply(host, swapped)[0], image)


@given(seed=st.integers(0, 10_000))
def test_patches_stay_within_their_limits_and_leave_a_border(seed):
    host = np.zeros((100, 200, 1), np.uint8)
    paster = NSA(side=(0.1, 0.3), scale=(0.8, 1.25), patches=2)
    patches = paster.make_params(host, stream(seed))["patches"]
    assert 1 <= len(patches) <= 2
    for patch in patches:
        top, left, height, width = patch["to"]
        assert 10 <= height <= 30
        assert 20 <= width <= 60
        assert 1 <= top <= 99 - height
        assert 1 <= left <= 199 - width
        assert 0.75 <= height / patch["from"][2] <= 1.35


def test_the_mask_is_where_the_change_is_visible():
    host = texture(128, 128)
    faint, clear = NSA(visible=0.0, patches=1), NSA(visible=0.2, patches=1)
    params = faint.make_params(host, stream(2, 0))
    image, mask = clear.apply(host, params)
    assert np.count_nonzero(mask) < np.count_nonzero(faint.apply(host, params)[1])
    change = np.abs(image.astype(int) - host)[mask > 0]
    assert np.mean(change > 0.2 * 255) > 0.9


def test_a_host_of_one_colour_is_refused_unless_there_are_sources():
    host = np.full((64, 64, 3), 120, np.uint8)
    alone = NSA()
    with pytest.raises(HostRefused, match="too uniform"):
        alone.apply(host, alone.make_params(host, stream(0)))
    helped = NSA(sources=[texture(64, 64, 3)])
    assert helped.apply(host, helped.make_params(host, stream(0)))[1].any()


def test_other_sources_give_another_fingerprint():
    assert repr(NSA(sources=[texture(32, 32)])) != repr(NSA(sources=[texture(32, 32, seed=1)])) != repr(NSA())


def test_bad_options_name_what_is_expected():
    with pytest.raises(ValueError, match="patches is the largest number of patches"):
        NSA(patches=0)
    with pytest.raises(ValueError, match=r"shape \(H, W, C\)"):
        NSA(sources=[np.zeros((32, 32), np.uint8)])
