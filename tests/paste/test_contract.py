"""What every paster promises, whatever it paints."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.paste.copypaste import CopyPaste
from inout_aug.paste.cutpaste import CutPaste
from inout_aug.paste.memseg import MemSegPaste
from inout_aug.paste.nsa import NSA
from inout_aug.paste.stroke import StrokePaste
from inout_aug.plugin import Paster, fingerprint_of
from inout_aug.seeding import stream

SOURCE = np.random.default_rng(9).integers(0, 256, (40, 30, 1), np.uint8)
SPOT = np.zeros((40, 30), np.uint8)
SPOT[10:16, 12:17] = 1
PASTERS = [
    MemSegPaste(),
    MemSegPaste([SOURCE], p_texture=1, defect_class=2),
    CutPaste(kinds="plain"),
    CutPaste(kinds="scar", defect_class=7),
    NSA(),
    NSA(sources=[SOURCE], mixed=True, patches=1, defect_class=255),
    CopyPaste([(SOURCE, SPOT)]),
    CopyPaste([(SOURCE, SPOT)], scale=1, angle=0, defect_class=4),
    StrokePaste(kinds="crack"),
    StrokePaste(kinds="scratch", tones="bright"),
    StrokePaste(kinds="spot", defect_class=3),
]
each_paster = pytest.mark.parametrize("paster", PASTERS, ids=repr)


def textured(height, width, channels, dtype, seed):
    """A grainy host that leaves room for darker and brighter."""
    full = np.iinfo(dtype).max
    return stream(seed).integers(full // 4, 3 * full // 4, (height, width, channels)).astype(dtype)


@each_paster
@given(
    height=st.integers(16, 70),
    width=st.integers(16, 70),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 2**32),
)
def test_paints_inside_its_mask_only_and_replays_from_json(paster, height, width, channels, dtype, seed):
    host = textured(height, width, channels, dtype, seed)
    before = host.copy()
    params = paster.make_params(host, stream(seed, 1))
    image, mask = paster.apply(host, params)

    np.testing.assert_array_equal(host, before)
    assert (image.shape, image.dtype) == (host.shape, host.dtype)
    assert (mask.shape, mask.dtype) == (host.shape[:2], np.uint8)
    assert set(np.unique(mask)) - {0} == {paster.defect_class}
    np.testing.assert_array_equal(image[mask == 0], host[mask == 0])
    assert (image != host).any()

    again = paster.apply(host, json.loads(json.dumps(params)))
    np.testing.assert_array_equal(again[0], image)
    np.testing.assert_array_equal(again[1], mask)


@each_paster
@pytest.mark.parametrize("shape", [(16, 400, 1), (400, 16, 3), (2048, 1999, 1)])
def test_takes_elongated_and_large_images(paster, shape):
    host = textured(*shape, np.uint8, 0)
    image, mask = paster.apply(host, paster.make_params(host, stream(5)))
    np.testing.assert_array_equal(image[mask == 0], host[mask == 0])
    assert (image != host).any()


@each_paster
def test_same_stream_gives_the_same_sample_and_another_stream_another(paster):
    host = textured(64, 64, 3, np.uint8, 0)
    first, second, other = (paster.make_params(host, stream(seed)) for seed in (1, 1, 2))
    assert first == second != other


@each_paster
def test_survives_pickling_with_its_settings(paster):
    host = textured(48, 64, 3, np.uint8, 0)
    copy = pickle.loads(pickle.dumps(paster))
    assert repr(copy) == repr(paster)
    params = paster.make_params(host, stream(0))
    np.testing.assert_array_equal(copy.apply(host, params)[0], paster.apply(host, params)[0])


@each_paster
def test_refuses_what_is_no_image(paster):
    with pytest.raises(TypeError, match="uint8 or uint16"):
        paster.make_params(np.zeros((32, 32, 3), np.float32), stream(0))
    with pytest.raises(ValueError, match="at least 16 pixels"):
        paster.make_params(np.zeros((15, 15, 3), np.uint8), stream(0))


def test_every_setting_changes_the_fingerprint():
    assert all(isinstance(paster, Paster) for paster in PASTERS)
    assert len({fingerprint_of(paster) for paster in PASTERS}) == len(PASTERS)


@pytest.mark.parametrize("kind", [CutPaste, NSA, StrokePaste])
@pytest.mark.parametrize("wrong", [0, 256, True, 1.0])
def test_defect_class_is_a_mask_value(kind, wrong):
    with pytest.raises(ValueError, match="defect_class"):
        kind(defect_class=wrong)
