import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageEnhance

from inout_aug.paste.cutpaste import CutPaste
from inout_aug.plugin import HostRefused
from inout_aug.seeding import stream

NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def noise(height, width, channels=3, dtype=np.uint8):
    return stream(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_without_jitter_a_plain_patch_is_a_copy_of_another_place(dtype):
    host = noise(64, 80, dtype=dtype)
    paster = CutPaste(kinds="plain", jitter=0)
    params = paster.make_params(host, stream(1))
    image, mask = paster.apply(host, params)
    (y, x), (height, width), (top, left) = params["from"], params["size"], params["to"]
    np.testing.assert_array_equal(image[top : top + height, left : left + width], host[y : y + height, x : x + width])
    assert mask.sum() == height * width == mask[top : top + height, left : left + width].sum()


@given(seed=st.integers(0, 10_000))
def test_plain_patches_have_the_papers_areas_and_aspects(seed):
    host = np.zeros((256, 512, 1), np.uint8)
    params = CutPaste(kinds="plain").make_params(host, stream(seed))
    height, width = params["size"]
    assert 0.95 * 0.02 <= height * width / host.size <= 1.05 * 0.15
    assert 0.95 * 0.3 <= height / width <= 1.05 * 3.3
    assert params["angle"] == 0


@given(seed=st.integers(0, 10_000), side=st.sampled_from([256, 1024]))
def test_scars_are_thin_rotated_and_scale_with_the_image(seed, side):
    params = CutPaste(kinds="scar").make_params(np.zeros((side, side, 1), np.uint8), stream(seed))
    length, width = np.array(params["size"]) * 256 / side
    assert 9.5 <= length <= 25.5
    assert 1.5 <= width <= 16.5
    assert -45 <= params["angle"] <= 45


@given(seed=st.integers(0, 10_000))
def test_a_rotated_scar_covers_its_area_and_stays_inside(seed):
    host = noise(128, 160)
    paster = CutPaste(kinds="scar", width=0.1, length=0.4)
    params = paster.make_params(host, stream(seed))
    mask = paster.apply(host, params)[1]
    assert np.count_nonzero(mask) == pytest.approx(math.prod(params["size"]), rel=0.15)


def test_rotation_agrees_with_pillow():
    y, x = np.mgrid[:64, :64]
    host = (100 + 50 * np.sin(y / 5) + 50 * np.cos(x / 7)).astype(np.uint8)[..., None]
    params = {"size": [21, 21], "angle": 30.0, "from": [10, 12], "to": [20, 20], **NEUTRAL}
    image, mask = CutPaste().apply(host, params)
    patch = Pillow.fromarray(host[10:31, 12:33, 0])
    expected = np.asarray(patch.rotate(30, Pillow.Resampling.BILINEAR, expand=False))
    centre = np.s_[6:15, 6:15]
    offset = (mask[20:].any(1).sum() - 21) // 2, (mask[:, 20:].any(0).sum() - 21) // 2
    ours = image[20 + offset[0] :, 20 + offset[1] :, 0][:21, :21]
    np.testing.assert_allclose(ours[centre].astype(float), expected[centre], atol=8)


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_colour_changes_agree_with_pillow(name, enhancer, factor):
    host = noise(48, 48) // 2 + 40
    params = {"size": [20, 20], "angle": 0.0, "from": [0, 0], "to": [25, 25], **NEUTRAL, name: factor}
    image, _ = CutPaste().apply(host, params)
    expected = np.asarray(enhancer(Pillow.fromarray(host[:20, :20])).enhance(factor))
    np.testing.assert_allclose(image[25:45, 25:45].astype(float), expected, atol=1.01)


def test_hue_turns_red_into_green_and_leaves_grey():
    host = np.zeros((32, 32, 3), np.uint8)
    host[:10, :5], host[:10, 5:10] = (90, 0, 0), (80, 80, 80)
    params = {"size": [10, 10], "angle": 0.0, "from": [0, 0], "to": [20, 20], **NEUTRAL, "hue": 1 / 3}
    image, _ = CutPaste().apply(host, params)
    assert image[22, 22].tolist() == [0, 90, 0]
    assert image[22, 27].tolist() == [80, 80, 80]


def test_a_host_of_one_colour_shows_the_patch_by_its_jitter_only():
    host = np.full((64, 64, 1), 120, np.uint8)
    paster = CutPaste()
    image, mask = paster.apply(host, paster.make_params(host, stream(0)))
    assert (image[mask == 1] != 120).any()
    still = CutPaste(jitter=0)
    with pytest.raises(HostRefused, match="one colour, or jitter is 0"):
        still.apply(host, still.make_params(host, stream(0)))
