from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_aug.paste._blend import noise_of
from inout_aug.paste.foreground import HostMasks, Threshold
from inout_aug.paste.memseg import PRESETS, MemSegPaste
from inout_aug.paste.perlin import Perlin
from inout_aug.plugin import HostRefused, fingerprint_of
from inout_aug.seeding import stream

TEXTURES = [
    np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8),
    np.random.default_rng(2).integers(0, 256, (300, 30), np.uint8),
    np.random.default_rng(3).integers(0, 65536, (20, 20, 3), np.uint16),
]
PASTERS = {
    "structure": MemSegPaste(),
    "textures": MemSegPaste(TEXTURES, feather=2.5, defect_class=7),
    "draem": MemSegPaste(TEXTURES, preset="draem"),
    "faithful": MemSegPaste(TEXTURES, preset="faithful"),
    "perturbed textures": MemSegPaste(TEXTURES, p_texture=1.0, perturb_texture=True, texture_fit="stretch"),
    "foreground": MemSegPaste(TEXTURES, foreground=Threshold(0.3), perturb="none", cells=2, angle=0.0),
}
OPAQUE = {"p_texture": 1.0, "opacity": 1.0, "min_contrast": 0.0}
HOST = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


def host_of(height, width, channels, dtype, seed):
    return stream(seed).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def draw(paster, host=HOST, seed=0):
    params = paster.make_params(host, stream(seed))
    return *paster.apply(host, params), params


def check(paster, host, seed):
    before = host.copy()
    params = paster.make_params(host, stream(seed, 1))
    image, mask = paster.apply(host, params)
    assert np.array_equal(host, before)
    assert (image.shape, image.dtype) == (host.shape, host.dtype)
    assert (mask.shape, mask.dtype) == (host.shape[:2], np.uint8)
    assert set(np.unique(mask)) <= {0, paster.defect_class}
    assert mask.any()
    assert np.array_equal(image[mask == 0], host[mask == 0])
    assert (image != host).any()
    again, same = paster.apply(host, json.loads(json.dumps(params)))
    assert np.array_equal(again, image)
    assert np.array_equal(same, mask)


def test_two_thousand_pastes_change_their_mask_only_and_replay_from_json():
    rng = np.random.default_rng(0)
    pasters = list(PASTERS.values())
    for number in range(2000):
        height, width = rng.integers(16, 80, 2).tolist()
        channels, dtype = (1, 3)[number % 2], (np.uint8, np.uint16)[number // 2 % 2]
        check(pasters[number % len(pasters)], host_of(height, width, channels, dtype, number), number)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(PASTERS.values())),
    st.integers(16, 300),
    st.integers(16, 300),
    st.sampled_from([1, 3]),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 2**64 - 1),
)
def test_any_size_and_dtype(paster, height, width, channels, dtype, seed):
    check(paster, host_of(height, width, channels, dtype, seed), seed)


@pytest.mark.parametrize("size", [(4096, 4096), (16, 4096), (4096, 17), (16, 16)])
def test_extreme_sizes(size):
    check(MemSegPaste(TEXTURES), host_of(*size, 1, np.uint8, 0), 3)


@pytest.mark.parametrize("name", PASTERS)
def test_a_pickled_copy_paints_the_same(name):
    paster = PASTERS[name]
    copy = pickle.loads(pickle.dumps(paster))
    assert fingerprint_of(copy) == fingerprint_of(paster)
    image, _, params = draw(paster)
    assert np.array_equal(copy.apply(HOST, params)[0], image)
    assert draw(copy)[2] == params


def test_views_and_read_only_hosts_are_painted_like_their_copies():
    flipped = HOST[::-1, ::-1]
    frozen = HOST.copy()
    frozen.setflags(write=False)
    paster = MemSegPaste(TEXTURES, preset="draem")
    for host in (flipped, frozen, HOST[:, :, ::-1], HOST.swapaxes(0, 1)):
        assert np.array_equal(draw(paster, host)[0], draw(paster, host.copy())[0])


def test_an_opaque_texture_is_seen_as_it_is():
    texture = host_of(64, 96, 3, np.uint8, 5)
    for fit in ("cover", "stretch"):
        paster = MemSegPaste([texture], texture_fit=fit, **OPAQUE)
        image, mask, _ = draw(paster)
        assert np.array_equal(image[mask > 0], texture[mask > 0])


def test_opacity_is_the_weight_of_the_source():
    paster = MemSegPaste([np.full((20, 20, 3), [200, 30, 110], np.uint8)], p_texture=1.0, min_contrast=0.0)
    for seed in range(20):
        image, mask, params = draw(paster, seed=seed)
        opacity = params["opacity"]
        assert 0.15 <= opacity <= 1
        expected = opacity * np.array([200, 30, 110]) + (1 - opacity) * HOST[mask > 0]
        assert np.abs(image[mask > 0] - expected).max() <= 0.5 + 1e-3


def test_an_eight_bit_texture_spans_a_sixteen_bit_host():
    host = HOST.astype(np.uint16) * 257
    image, mask, _ = draw(MemSegPaste([np.full((20, 20, 3), 77, np.uint8)], **OPAQUE), host)
    assert (image[mask > 0] == 77 * 257).all()


@pytest.mark.parametrize("name", PASTERS)
def test_grey_stays_grey_in_three_channels_too(name):
    grey = np.repeat(HOST[..., :1], 3, axis=2)
    for seed in range(20):
        image = draw(PASTERS[name], grey, seed)[0]
        assert np.ptp(image, axis=2).max() == 0


def test_colour_textures_stay_coloured_on_colour_hosts():
    image, mask, _ = draw(MemSegPaste([np.full((20, 20, 3), [200, 30, 110], np.uint8)], **OPAQUE))
    assert (image[mask > 0] == [200, 30, 110]).all()


@pytest.mark.parametrize("level", [0, 1, 100, 250, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_constant_host_gets_a_visible_defect(level, dtype):
    white = np.iinfo(dtype).max
    host = np.full((64, 64, 1), level * white // 255, dtype)
    for feather in (0.0, 3.0):
        for seed in range(10):
            image, mask, _ = draw(MemSegPaste(feather=feather), host, seed)
            change = np.abs(image.astype(float) - host)[mask > 0]
            assert change.mean() >= 0.02 * white - 0.5  # rounding


@pytest.mark.parametrize("sigma", [4, 12])
@pytest.mark.parametrize("striped", [False, True])
def test_a_defect_stands_out_of_the_hosts_noise_but_need_not_of_its_stripes(sigma, striped):
    level = 128 + 60 * striped * np.sign(np.sin(np.arange(120)))[None, :, None]
    host = np.clip(level + np.random.default_rng(0).normal(0, sigma, (120, 120, 1)), 0, 255).astype(np.uint8)
    changes = []
    for seed in range(30):
        image, mask, _ = draw(MemSegPaste(), host, seed)
        changes.append(abs(image[mask > 0].mean() - host[mask > 0].mean()))
    assert min(changes) > (1.0 if striped else 1.8) * sigma
    assert min(changes) < 2.2 * sigma


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("feather", [0.0, 4.0])
def test_a_faint_paste_is_lifted_to_the_contrast_asked_for_and_no_other_is(channels, feather):
    host = (np.random.default_rng(0).normal(120, 6, (90, 110, channels))).astype(np.uint8)
    faint, lifted = (MemSegPaste(min_contrast=contrast, feather=feather) for contrast in (0.0, 2.0))
    wanted, seen = 2 * noise_of(host), set()
    for seed in range(40):
        params = faint.make_params(host, stream(seed))
        before, mask = faint.apply(host, params)
        after, _ = lifted.apply(host, params)
        shift, change = ((image.astype(float) - host)[mask > 0].mean() for image in (before, after))
        seen.add(abs(shift) < wanted - 0.5)
        if abs(shift) < wanted - 0.5:
            assert abs(change) == pytest.approx(wanted, abs=0.5)
        elif abs(shift) > wanted + 0.5:
            assert np.array_equal(before, after)
    assert seen == {True, False}


def test_a_paste_that_changes_nothing_is_refused():
    host = np.full((64, 64, 1), 100, np.uint8)
    with pytest.raises(HostRefused, match="min_contrast > 0, or textures"):
        draw(MemSegPaste(perturb="none", min_contrast=0.0), host)


@pytest.mark.parametrize(("threshold", "expected"), [(9.0, 40), (-9.0, 1228)])
def test_a_field_that_never_fits_is_cut_at_its_quantile(threshold, expected):
    paster = MemSegPaste(threshold=threshold, min_area=40, max_area_fraction=0.2)
    for seed in range(5):
        _, mask, params = draw(paster, seed=seed)
        assert np.count_nonzero(mask) == expected
        field = Perlin()(64, 96, cells=tuple(params["cells"]), angle=params["angle"], seed=params["seed"] + 3)
        assert field[mask > 0].min() >= field[mask == 0].max()


class Flat:
    """A field without any hill."""

    def __call__(self, height, width, *, cells, angle, seed):
        return np.zeros((height, width), np.float32)


def test_a_constant_field_gives_the_smallest_mask():
    _, mask, _ = draw(MemSegPaste(field=Flat(), min_area=23))
    assert np.count_nonzero(mask) == 23
    inside = np.zeros((64, 96), bool)
    inside[50:, 80:] = True
    _, mask, _ = draw(MemSegPaste(field=Flat(), min_area=23, foreground=HostMasks([(HOST, inside)])))
    assert np.count_nonzero(mask) == 23
    assert not mask[~inside].any()


def test_a_low_field_is_drawn_again_before_it_is_cut():
    # one cell is under the threshold in more than half of all draws
    areas = [np.count_nonzero(draw(MemSegPaste(cells=1), seed=seed)[1]) for seed in range(60)]
    assert sum(area == 16 for area in areas) < 15
    assert min(areas) >= 16


def test_defects_keep_to_the_foreground():
    inside = np.zeros((64, 96), bool)
    inside[20:40, 30:90] = True
    paster = MemSegPaste(TEXTURES, foreground=HostMasks([(HOST, inside)]))
    for seed in range(40):
        _, mask, _ = draw(paster, seed=seed)
        assert mask.any()
        assert not mask[~inside].any()


def test_a_foreground_smaller_than_the_smallest_defect_is_filled():
    inside = np.zeros((64, 96), bool)
    inside[:8, :8] = True
    _, mask, _ = draw(MemSegPaste(foreground=HostMasks([(HOST, inside)]), min_area=100))
    assert np.array_equal(mask > 0, inside)


def test_feathering_fades_in_from_the_edge():
    texture = [np.full((20, 20, 3), 255, np.uint8)]
    host = np.zeros((300, 300, 3), np.uint8)
    options = {"p_texture": 1.0, "opacity": 1.0, "cells": 2}
    hard, mask, params = draw(MemSegPaste(texture, **options), host)
    soft, same = MemSegPaste(texture, feather=6, **options).apply(host, params)
    assert np.array_equal(same, mask)
    assert (hard[mask > 0] == 255).all()
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    shallow, deep = (mask > 0) & (depth < 1.2), depth > 8
    assert shallow.any()
    assert deep.any()
    assert 0 < soft[shallow].min() <= soft[shallow].max() < 60
    assert (soft[deep] == 255).all()


def test_cells_are_powers_of_two_of_at_least_four_pixels():
    cells = np.array([draw(MemSegPaste(), seed=seed)[2]["cells"] for seed in range(200)])
    assert set(cells[:, 0].tolist()) == {1, 2, 4, 8, 16}
    assert set(cells[:, 1].tolist()) == {1, 2, 4, 8, 16}
    assert draw(MemSegPaste(cells=8))[2]["cells"] == [8, 8]
    assert draw(MemSegPaste(cells=32), HOST[:16, :32])[2]["cells"] == [4, 8]


@pytest.mark.parametrize(("shape", "grid"), [((64, 96), [4, 8]), ((96, 64), [8, 4]), ((64, 64), [4, 8])])
def test_the_longer_side_gets_more_cells(shape, grid):
    host = host_of(*shape, 1, np.uint8, 0)
    for given_grid in ((4, 8), (8, 4)):
        params = draw(MemSegPaste(grid=given_grid), host)[2]
        assert params["grid"] == grid
        assert sorted(params["shuffle"]) == list(range(32))


def test_half_of_the_sources_are_textures():
    kinds = [MemSegPaste(TEXTURES).make_params(HOST, stream(seed))["source"] for seed in range(400)]
    assert 160 < kinds.count("texture") < 240
    assert MemSegPaste().make_params(HOST, stream(0))["source"] == "structure"


def test_presets():
    draem = MemSegPaste(TEXTURES, preset="draem", opacity=0.5)
    assert (draem.p_texture, draem.opacity, draem.perturb, draem.perturb_texture) == (1.0, (0.5, 0.5), "draem", True)
    faithful = MemSegPaste(preset="faithful")
    assert (faithful.grid, faithful.field.zero_corners) == ((8, 8), True)
    assert repr(MemSegPaste(preset="memseg")) == repr(MemSegPaste())


def test_albumentations_perturbs_the_source():
    albumentations = pytest.importorskip("albumentations", reason="pip install 'inout-aug[albumentations]'")
    texture = [np.full((30, 30, 3), 40, np.uint8)]
    paster = MemSegPaste(texture, perturb=albumentations.InvertImg(p=1), perturb_texture=True, **OPAQUE)
    image, mask, _ = draw(paster)
    assert (image[mask > 0] == 215).all()


def test_an_unreadable_texture_is_replaced_by_the_next_and_the_record_says_so(tmp_path):
    (tmp_path / "a.png").write_bytes(b"torn")
    cv2.imwrite(str(tmp_path / "b.png"), TEXTURES[0])
    paster = MemSegPaste(tmp_path, p_texture=1.0)
    with pytest.warns(UserWarning, match=r"a\.png cannot be read"):
        names = {paster.make_params(HOST, stream(seed))["name"] for seed in range(10)}
    assert names == {"b.png"}


def test_params_of_a_texture_that_is_not_there_are_refused():
    params = draw(MemSegPaste(TEXTURES, p_texture=1.0))[2]
    with pytest.raises(ValueError, match="pass textures="):
        MemSegPaste().apply(HOST, params)
    with pytest.raises(ValueError, match="which is not among Textures"):
        MemSegPaste(TEXTURES).apply(HOST, params | {"name": "cracked/cracked_004.jpg"})


@pytest.mark.parametrize(
    "bad", [HOST.astype(np.float32), HOST[..., :2], HOST[:15], HOST[..., 0], np.stack([HOST, HOST])]
)
def test_what_is_no_image_is_refused(bad):
    paster = MemSegPaste()
    with pytest.raises((TypeError, ValueError), match=r"an image (is|has)"):
        paster.make_params(bad, stream(0))
    with pytest.raises((TypeError, ValueError), match=r"an image (is|has)"):
        paster.apply(bad, paster.make_params(HOST, stream(0)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preset": "cutmix"}, ValueError, "preset is one of"),
        ({"opactiy": 0.5}, TypeError, "no option .'opactiy'."),
        ({"cells": 3}, ValueError, "power of two"),
        ({"cells": (8, 4)}, ValueError, "power of two"),
        ({"opacity": (0.5, 1.5)}, ValueError, "opacity"),
        ({"p_texture": 1.0}, ValueError, "none are given"),
        ({"preset": "draem"}, ValueError, "none are given"),
        ({"texture_fit": "tile"}, ValueError, '"cover" or "stretch"'),
        ({"grid": (1, 1)}, ValueError, "at least 2"),
        ({"perturb": "blur"}, ValueError, "perturb"),
        ({"foreground": HOST}, TypeError, "See HostMasks"),
        ({"min_area": 0}, ValueError, "min_area"),
        ({"min_area": 16.5}, ValueError, "min_area"),
        ({"max_area_fraction": 1.5}, ValueError, "max_area_fraction"),
        ({"min_contrast": -0.1}, ValueError, "min_contrast"),
        ({"feather": -1}, ValueError, "feather"),
        ({"feather": float("inf")}, ValueError, "feather"),
        ({"defect_class": 0}, ValueError, "defect_class"),
        ({"threshold": float("nan")}, ValueError, "threshold"),
    ],
)
def test_a_bad_option_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        MemSegPaste(**options)


def no_place(image):
    return np.ones(image.shape[:2])


class Place:
    def __init__(self, margin):
        self.margin = margin

    def __call__(self, image):
        return np.ones(image.shape[:2])


def test_the_repr_shows_every_option_and_no_address():
    shown = repr(MemSegPaste(TEXTURES))
    assert all(f"{name}=" in shown for name in (*PRESETS["memseg"], "textures"))
    variants = [
        MemSegPaste(**options)
        for options in (
            {},
            {"opacity": 0.5},
            {"field": Perlin(zero_corners=True)},
            {"foreground": no_place},
            {"foreground": Place(1)},
            {"foreground": Place(2)},
            {"textures": TEXTURES},
            {"textures": TEXTURES[:2]},
        )
    ]
    assert len({fingerprint_of(paster) for paster in variants}) == len(variants)
    assert not any(" at 0x" in repr(paster) for paster in variants)


def test_memory_does_not_grow_over_many_draws():
    paster = MemSegPaste(TEXTURES)
    hosts = [host_of(side, 50 + side, 3, np.uint8, side) for side in range(20, 60)]

    def paint(numbers):
        for number in numbers:
            draw(paster, hosts[number % len(hosts)], number)

    paint(range(2000))
    tracemalloc.start()
    try:
        paint(range(2000, 2200))
        before = tracemalloc.take_snapshot()
        paint(range(2200, 4000))
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    grown = sum(entry.size_diff for entry in after.compare_to(before, "filename") if "tracemalloc" not in str(entry))
    assert grown < 200_000


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["ksdd1/train", "magnetic_tile/train/good"])
def test_real_surfaces_stay_grey_and_get_visible_defects(folder, real_data):
    files = [path for path in sorted(Path(real_data, folder).iterdir()) if "_GT" not in path.name][:40]
    paster = MemSegPaste(Path(real_data, "textures"))
    for seed, path in enumerate(files):
        host = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., None]
        image, mask, _ = draw(paster, host, seed)
        assert image.shape == host.shape
        assert np.array_equal(image[mask == 0], host[mask == 0])
        assert abs(image[mask > 0].mean() - host[mask > 0].mean()) > 4.5
