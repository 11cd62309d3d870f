"""Gates on pixels and masks: what they measure, what they reject, and that a fill replaces what they reject."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.cache import Gate, fill_cache
from inout_aug.cache.filters import MaskShare, NotBlank, OnProduct, ceiling_of, floor_of
from inout_aug.paste.foreground import Otsu, Threshold
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from inout_aug.seeding import stream
from standin import Noise


def sample(image: Any = None, mask: Any = None) -> Sample:
    if image is None:
        image = stream(0).integers(0, 255, (32, 48, 1)).astype(np.uint8)
    return Sample(image, mask)


def product() -> Any:
    """A bright product on dark ground, with a dark crack in it."""
    image = np.full((64, 64, 1), 20, np.uint8)
    image[10:54, 10:54] = 200
    image[30:33, 20:40] = 15
    return image


GATES = [NotBlank(), MaskShare(), OnProduct(Otsu(), min_share=0.5)]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_gates_are_gates(gate: Any) -> None:
    assert isinstance(gate, Gate)
    copy = pickle.loads(pickle.dumps(gate))
    assert copy.fingerprint == gate.fingerprint
    mask = np.zeros((64, 64), np.uint8)
    mask[30:33, 20:40] = 1
    keep, scores = gate.judge(sample(product(), mask))
    assert keep
    assert len(scores) == len(gate.score_names)
    assert copy.judge(sample(product(), mask)) == (keep, scores)


def test_every_setting_is_in_the_fingerprint() -> None:
    gates = [
        NotBlank(),
        NotBlank(min_contrast=0.1),
        NotBlank(max_flat=0.5),
        MaskShare(),
        MaskShare(min_share=0.1),
        MaskShare(max_share=0.9),
        OnProduct(Otsu(), min_share=0.5),
        OnProduct(Otsu(), min_share=0.6),
        OnProduct(Otsu(above=False), min_share=0.5),
        OnProduct(Threshold(9), min_share=0.5),
        OnProduct(everywhere, min_share=0.5),
    ]
    assert len({gate.fingerprint for gate in gates}) == len(gates)
    # an address would differ from run to run
    assert "everywhere" in str(gates[-1].settings())
    assert "0x" not in str(gates[-1].settings())


def everywhere(image: Any) -> Any:
    return np.ones(image.shape[:2], bool)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_images_are_blank(value: int) -> None:
    assert NotBlank().judge(sample(np.full((32, 32, 3), value, np.uint16))) == (False, (0.0, 1.0))


def test_contrast_and_flat_share_by_hand() -> None:
    image = np.zeros((16, 17, 1), np.uint8)
    image[:8] = 255
    image[0, ::2] = 0
    contrast, flat = NotBlank().measure(sample(image))
    assert contrast == pytest.approx(image.std() / 255)
    assert flat == 15 / 16


def test_a_blank_half_is_found_after_calibration() -> None:
    real = [sample(stream(k).integers(0, 255, (32, 48, 1)).astype(np.uint8)) for k in range(30)]
    half = stream(99).integers(0, 255, (32, 48, 1)).astype(np.uint8)
    half[:16] = 0
    assert NotBlank().judge(sample(half))[0]
    gate = NotBlank.calibrated(real)
    assert not gate.judge(sample(half))[0]
    assert sum(not gate.judge(item)[0] for item in real) == 0


@pytest.mark.parametrize(("pixels", "keep"), [(0, False), (1, True), (32 * 48 - 1, True), (32 * 48, False)])
def test_empty_and_full_masks_are_rejected(pixels: int, keep: bool) -> None:
    mask = (np.arange(32 * 48) < pixels).astype(np.uint8).reshape(32, 48) * 9
    assert MaskShare().judge(sample(mask=mask)) == (keep, (pixels / (32 * 48),))


def test_one_pixel_of_a_large_image_is_no_empty_mask() -> None:
    mask = np.zeros((4096, 4096), np.uint8)
    mask[5, 5] = 1
    keep, (share,) = MaskShare().judge(Sample(np.zeros((4096, 4096, 1), np.uint8), mask))
    assert keep
    assert np.float32(share) > 0


def test_masks_beyond_the_real_ones_are_rejected_after_calibration() -> None:
    def with_share(rows: int) -> Sample:
        mask = np.zeros((32, 48), np.uint8)
        mask[:rows] = 1
        return sample(mask=mask)

    gate = MaskShare.calibrated([with_share(rows) for rows in range(4, 9)])
    assert [gate.judge(with_share(rows))[0] for rows in (3, 4, 8, 9)] == [False, True, True, False]


def test_a_dark_defect_is_on_the_product_and_one_beside_it_is_not() -> None:
    crack, beside = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    crack[30:33, 20:40] = 1
    beside[0:5, 20:40] = 1
    gate = OnProduct(Otsu(), min_share=0.5)
    assert gate.judge(sample(product(), crack)) == (True, (1.0,))
    assert gate.judge(sample(product(), beside)) == (False, (0.0,))
    # where no product is found there is nothing to be on
    nothing = OnProduct(Threshold(250), min_share=0.5)
    assert nothing.judge(sample(product(), crack)) == (False, (0.0,))


def test_a_gate_that_needs_masks_says_so() -> None:
    for gate in (MaskShare(), OnProduct(Otsu(), min_share=0.5)):
        with pytest.raises(ValueError, match="needs masks, and the sample has none"):
            gate.judge(sample())


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 50))
def test_a_bound_cuts_off_no_more_than_it_may(scores: list[float], percentile: float) -> None:
    low, high = floor_of(scores, percentile), ceiling_of(scores, percentile)
    allowed = percentile / 100 * len(scores)
    assert sum(score < low for score in scores) <= allowed
    assert sum(score > high for score in scores) <= allowed
    assert low in scores
    assert high in scores


def test_bounds_need_scores_and_a_percentage() -> None:
    with pytest.raises(ValueError, match="there are none"):
        MaskShare.calibrated([])
    with pytest.raises(ValueError, match=r"in \[0, 50\]; got 95"):
        floor_of([1.0], 95)


class Faulty(Noise):
    """Every third sample is black, as from NaN; every third has no mask."""

    def make(self, request: Request) -> Sample:
        made = super().make(request)
        image, mask = made.image, np.asarray(made.mask)
        if request.seed % 3 == 0:
            image = np.zeros_like(image)
        if request.seed % 3 == 1:
            mask = np.zeros_like(mask)
        return Sample(image, mask, made.label)


def test_rejected_samples_are_replaced_and_counted(tmp_path: Path) -> None:
    cache = fill_cache(
        Faulty(), tmp_path, 40, shape=(32, 32, 1), gates=[NotBlank(), MaskShare()], progress=False, batch_size=7
    )
    assert len(cache) == 40
    assert all(sample.image.any() and np.asarray(sample.mask).any() for sample in cache)
    assert set(cache.rejections) == {"blank", "mask size"}
    assert all(count > 15 for count in cache.rejections.values())
    assert cache.score_names == ("contrast", "flat_share", "mask_share")
    for position, made in enumerate(cache):
        expected = made.image.std() / 255, np.mean(made.image[:, 1:] == made.image[:, :-1]), np.mean(made.mask != 0)
        np.testing.assert_allclose(cache.scores[position], expected, rtol=1e-6)


def test_a_nan_score_is_never_kept() -> None:
    class Broken(NotBlank):
        def measure(self, sample: Sample) -> tuple[float, ...]:
            return math.nan, 0.0

    assert not Broken().judge(sample())[0]
