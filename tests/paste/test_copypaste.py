"""CopyPaste against defects whose effect is known in closed form."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inout_aug import InOutAugment, MemSegPaste
from inout_aug.datasets import Surfaces
from inout_aug.paste.copypaste import CopyPaste
from inout_aug.plugin import HostRefused, distribution_of, fingerprint_of
from inout_aug.sample import Sample
from inout_aug.seeding import stream


def defective(level=200, step=-50, shape=(64, 64, 1), box=np.s_[20:30, 40:44], dtype=np.uint8):
    """A flat image with a darker rectangle, and its mask."""
    image, mask = np.full(shape, level, dtype), np.zeros(shape[:2], np.uint8)
    image[box], mask[box] = level + step, 1
    return image, mask


UPRIGHT = {"scale": 1, "angle": 0, "mirror": False, "strength": 1}


def test_a_defect_keeps_its_shape_and_its_difference_to_what_surrounds_it():
    paster = CopyPaste([defective()], **UPRIGHT)
    host = np.full((50, 70, 1), 90, np.uint8)

    image, mask = paster.apply(host, paster.make_params(host, stream(0)))

    rows, columns = np.nonzero(mask)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (10, 4, 40)
    inner = image[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()]
    np.testing.assert_array_equal(inner, 40)
    assert (image[mask > 0] < 90).all()


def test_a_defect_follows_a_slope_of_the_host():
    paster = CopyPaste([defective()], **UPRIGHT)
    host = np.broadcast_to(np.linspace(80, 180, 100, dtype=np.float32)[None, :, None], (60, 100, 1)).astype(np.uint8)

    for seed in range(10):
        image, mask = paster.apply(host, paster.make_params(host, stream(seed)))
        inner = mask.astype(bool) & np.roll(mask, 1, 0).astype(bool) & np.roll(mask, -1, 0).astype(bool)
        inner &= np.roll(mask, 1, 1).astype(bool) & np.roll(mask, -1, 1).astype(bool)
        added = image[inner].astype(int) - host[inner]
        assert np.abs(added + 50).max() <= 6


def test_strength_scales_the_difference():
    host = np.full((40, 40, 1), 200, np.uint8)
    lowest = []
    for strength in (0.5, 1, 2):
        paster = CopyPaste([defective()], **UPRIGHT | {"strength": strength})
        lowest.append(int(paster.apply(host, paster.make_params(host, stream(0)))[0].min()))
    assert lowest == [175, 150, 100]


@example(seed=0, angle=0.0, scale=0.501953125)
@given(seed=st.integers(0, 2**32), angle=st.floats(-180, 180), scale=st.floats(0.5, 2))
def test_area_follows_scale_at_any_angle(seed, angle, scale):
    # so large that a row and a column more, whose pixels' centres are just inside, are less than the tolerance
    paster = CopyPaste([defective(box=np.s_[12:52, 18:46])], scale=scale, angle=angle, strength=1)
    host = np.full((128, 128, 1), 200, np.uint8)

    image, mask = paster.apply(host, paster.make_params(host, stream(seed)))

    assert np.count_nonzero(mask) == pytest.approx(40 * 28 * scale**2, rel=0.2)
    np.testing.assert_array_equal(image[mask == 0], 200)


def test_separate_defects_are_copied_one_at_a_time_and_near_parts_together():
    image, mask = defective()
    mask[5:8, 5:8] = 1
    mask[26:29, 46:48] = 1  # two pixels beside the first
    assert CopyPaste([(image, mask)]).defects == 2


def test_a_defect_larger_than_the_host_is_made_smaller():
    paster = CopyPaste([defective(shape=(200, 200, 1), box=np.s_[20:180, 60:100])], scale=1)
    host = np.full((32, 24, 1), 200, np.uint8)
    for seed in range(20):
        params = paster.make_params(host, stream(seed))
        _, mask = paster.apply(host, params)
        assert params["scale"] < 1
        assert mask.any()


def test_a_defect_made_too_small_for_a_pixel_is_one_pixel():
    paster = CopyPaste([defective(box=np.s_[20:22, 40:42])], scale=0.05)
    host = np.full((32, 32, 1), 200, np.uint8)
    counts = [np.count_nonzero(paster.apply(host, paster.make_params(host, stream(seed)))[1]) for seed in range(20)]
    assert min(counts) == 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hosts_of_other_channels_and_depth_get_the_same_share_of_full_scale(channels, dtype):
    white = np.iinfo(dtype).max
    host = np.full((40, 40, channels), white, dtype)
    for source in (defective(), defective(shape=(64, 64, 3))):
        paster = CopyPaste([source], **UPRIGHT)
        image, _ = paster.apply(host, paster.make_params(host, stream(0)))
        assert image.min() / white == pytest.approx(1 - 50 / 255, abs=0.003)


def test_hosts_without_room_are_refused():
    paster = CopyPaste([defective()], **UPRIGHT)
    host = np.zeros((40, 40, 1), np.uint8)
    with pytest.raises(HostRefused, match="no room"):
        paster.apply(host, paster.make_params(host, stream(0)))


def test_it_is_in_distribution_and_known_by_its_defects():
    one, other = CopyPaste([defective()]), CopyPaste([defective(step=-40)])
    assert distribution_of(one) == "in"
    assert fingerprint_of(one) == fingerprint_of(CopyPaste([Sample(*defective())]))
    assert fingerprint_of(one) != fingerprint_of(other)


def test_the_defects_of_a_dataset_make_half_of_the_mix():
    dataset = Surfaces(40, size=(64, 64), binary=True)
    augment = InOutAugment(generators=[CopyPaste.from_dataset(dataset), MemSegPaste()], n_aug=10)
    wrapped = augment(dataset)
    origins = [wrapped.sample(index).origin.generator for index in range(40, 50)]
    assert (origins.count("CopyPaste"), origins.count("MemSegPaste")) == (5, 5)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no defect to copy in 0 samples"),
        ([(np.zeros((32, 32, 1), np.uint8), np.zeros((32, 32), np.uint8))], "no defect to copy in 1 samples"),
        ([(np.zeros((32, 32, 1), np.uint8), np.ones((32, 32), np.uint8))], "some normal surface around it"),
        ([(np.zeros((32, 32, 1), np.uint8), np.ones((16, 16), np.uint8))], "sample 0 has one of"),
        ([Sample(np.zeros((32, 32, 1), np.uint8))], "sample 0 has none"),
    ],
)
def test_samples_without_a_defect_to_copy_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        CopyPaste(samples)


def test_parameters_of_another_paster_are_refused():
    host = np.full((40, 40, 1), 200, np.uint8)
    params = CopyPaste([defective()]).make_params(host, stream(0)) | {"defect": 3}
    with pytest.raises(ValueError, match="name defect 3"):
        CopyPaste([defective()]).apply(host, params)
