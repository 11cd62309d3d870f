import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_aug import BatchPaste, MemSegPaste
from inout_aug.paste import Textures

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8]


def batch(count=8, size=(48, 64), channels=3, dtype=torch.float32, positives=0, seed=0):
    images = torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2
    images = (images * 255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)
    labels = (torch.arange(count) < positives).long()
    return images, labels, torch.zeros(count, *size, dtype=torch.uint8)


def textures(count=3, size=(40, 90)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)]


def assert_painted(before, after, *, normal=0):
    (images, labels, masks), (painted, new_labels, new_masks) = before, after
    changed = new_labels != labels
    assert torch.equal(new_masks.flatten(1).any(1), changed | masks.flatten(1).any(1))
    assert (labels[changed] == normal).all()
    outside = (new_masks == masks)[:, None].expand_as(images)
    assert torch.equal(painted[outside], images[outside])
    differs = (painted != images).flatten(1).any(1)
    assert torch.equal(differs, changed)
    assert painted.dtype == images.dtype
    assert painted.shape == images.shape
    assert (painted >= 0).all()
    assert (painted <= (255 if images.dtype == torch.uint8 else 1)).all()


@pytest.mark.parametrize("bank", [None, textures()])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_defects_lie_inside_their_masks_alone(dtype, channels, bank):
    given_ = batch(12, channels=channels, dtype=dtype, positives=3)
    kept = [part.clone() for part in given_]
    after = BatchPaste(bank, share=0.7, exact=True, seed=3)(*given_)
    assert all(torch.equal(a, b) for a, b in zip(given_, kept, strict=True))
    assert_painted(given_, after)
    assert int((after[1] - given_[1]).sum()) == 6
    assert (after[1][:3] == 1).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.tuples(st.integers(16, 90), st.integers(16, 90)),
    st.integers(0, 2**63),
    st.sampled_from([(1, 32), 1, 32]),
    st.sampled_from([-0.3, 0.5, 1.9]),
)
def test_no_positive_has_an_empty_mask_at_any_size(count, size, seed, cells, threshold):
    given_ = batch(count, size)
    after = BatchPaste(share=1.0, exact=True, seed=seed, cells=cells, threshold=threshold)(*given_)
    assert after[1].all()
    assert_painted(given_, after)
    assert (after[2].flatten(1).sum(1) >= 2).all()


def test_masks_are_as_large_as_those_of_the_paper():
    # MemSeg's code gives a median of 4.6 % at 256², with 3 to 5 % empty ones
    masks = BatchPaste(share=1.0, exact=True)(*batch(192, (128, 128)))[2]
    area = masks.flatten(1).float().mean(1)
    assert 0.035 < area.median() < 0.07
    assert area.max() < 0.6


@pytest.mark.parametrize(("share", "normals", "painted"), [(0.25, 8, 2), (0.5, 5, 3), (0.1, 4, 0), (1.0, 7, 7)])
def test_exact_rounds_the_share_of_each_batch(share, normals, painted):
    paste = BatchPaste(share=share, exact=True)
    for _ in range(3):
        images, labels, _ = batch(normals + 2, positives=2)
        assert int(paste(images, labels)[1].sum()) == painted + 2


@pytest.mark.parametrize(("share", "count"), [(0.3, 1), (0.3, 7), (0.123, 16), (0.9, 3)])
def test_otherwise_the_share_is_exact_over_an_epoch(share, count):
    paste = BatchPaste(share=share, seed=1)
    images, labels, _ = batch(count, (16, 16))
    counts = [int(paste(images, labels)[1].sum()) for _ in range(60)]
    assert all(abs(sum(counts[:n]) - share * count * n) < 1 for n in range(1, 61))


def test_with_a_varying_number_of_normals_the_share_evens_out():
    paste, rng = BatchPaste(share=0.4), np.random.default_rng(0)
    normals = rng.integers(0, 9, 300)
    images = batch(8, (16, 16))[0]
    painted = sum(
        int(paste(images, (torch.arange(8) >= count).long())[1].sum()) - 8 + int(count) for count in normals.tolist()
    )
    assert abs(painted / normals.sum() - 0.4) < 0.03


def test_draws_follow_from_seed_epoch_and_step():
    given_ = batch()
    paste, again = BatchPaste(seed=5), BatchPaste(seed=5)
    first, second = paste(*given_), paste(*given_)
    assert not torch.equal(first[2], second[2])
    assert torch.equal(again(*given_)[0], first[0])
    again.set_epoch(0, step=1)
    assert torch.equal(again(*given_)[0], second[0])
    again.set_epoch(1)
    assert not torch.equal(again(*given_)[0], first[0])
    assert not torch.equal(BatchPaste(seed=6)(*given_)[0], first[0])
    random_before = torch.get_rng_state()
    paste(*given_)
    assert torch.equal(torch.get_rng_state(), random_before)


def test_a_saved_and_loaded_module_goes_on_where_it_was():
    paste = BatchPaste(textures(), seed=5)
    paste(*batch())
    file = io.BytesIO()
    torch.save(paste.state_dict(), file)
    file.seek(0)
    loaded = BatchPaste(textures(), seed=5)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, pickle.loads(pickle.dumps(paste)), copy.deepcopy(paste)):
        assert torch.equal(other(*batch())[0], copy.deepcopy(paste)(*batch())[0])


def test_a_sample_is_painted_the_same_whatever_else_is_in_the_batch():
    paste = BatchPaste(share=1.0, exact=True)
    draws = paste.draw(batch(6)[0])
    images, labels, masks = batch(6)
    whole = paste(images, labels, masks, draws=draws)
    images[1:] = images[1:].flip(0)
    other = paste(images, labels, masks, draws=draws)
    assert torch.equal(whole[0][0], other[0][0])
    assert torch.equal(whole[2], other[2])


@pytest.mark.parametrize(("dtype", "bank"), [(torch.float32, None), (torch.uint8, textures())])
def test_it_compiles_as_one_graph_and_paints_the_same_pixels(dtype, bank):
    paste = BatchPaste(bank, share=0.5)
    compiled = torch.compile(paste, backend="aot_eager", fullgraph=True)
    given_ = batch(6, dtype=dtype, positives=1)
    for _ in range(2):
        draws = paste.draw(given_[0])
        assert all(
            torch.equal(a, b) for a, b in zip(compiled(*given_, draws=draws), paste(*given_, draws=draws), strict=True)
        )


def test_one_compiled_module_takes_batches_of_several_sizes():
    paste = BatchPaste(share=0.5)
    compiled = torch.compile(paste, backend="eager", fullgraph=True)
    for count, size in ((4, (64, 64)), (6, (90, 40))):
        given_ = batch(count, size)
        draws = paste.draw(given_[0])
        assert torch.equal(compiled(*given_, draws=draws)[2], paste(*given_, draws=draws)[2])


def test_compiled_code_asks_for_draws():
    with pytest.raises(Exception, match=r"give draws=paste\.draw"):
        torch.compile(BatchPaste(), backend="eager", fullgraph=True)(*batch())


def test_the_structure_source_shows_the_hosts_own_values():
    images = torch.zeros(1, 1, 64, 64)
    images[..., 32:] = 0.5
    paste = BatchPaste(share=1.0, exact=True, opacity=1.0)
    for _ in range(8):
        painted, _, masks = paste(images, torch.zeros(1), torch.zeros(1, 64, 64))
        # two values in the host make two values in its shuffled, brightened copy
        assert len(painted[0, 0][masks[0] > 0].unique()) <= 2


def test_the_texture_source_shows_a_texture_and_keeps_its_colours():
    picture = np.zeros((30, 50, 3), np.uint8)
    picture[..., 0] = 200
    paste = BatchPaste([picture], share=1.0, exact=True, p_texture=1.0, opacity=1.0)
    painted, _, masks = paste(*batch(4))
    inside = painted.movedim(1, -1)[masks > 0]
    assert torch.allclose(inside, torch.tensor([200 / 255, 0.0, 0.0]), atol=1e-6)
    grey = batch(4, channels=1)[0].expand(-1, 3, -1, -1)
    painted = paste(grey, torch.zeros(4))[0]
    assert torch.equal(painted[:, 0], painted[:, 1])
    assert torch.equal(painted[:, 0], painted[:, 2])


def test_a_defect_shows_on_an_even_surface():
    for value in (0.0, 0.5, 1.0):
        images = torch.full((16, 3, 32, 32), value)
        painted, _, masks = BatchPaste(share=1.0, exact=True)(images, torch.zeros(16), torch.zeros(16, 32, 32))
        change = (painted - images).abs().amax(1)
        assert (change[masks > 0] > 0.014).all()


def test_a_hosts_foreground_bounds_its_defects():
    images, labels, masks = batch(6)
    images[0] = 0
    images[1:, :, :, :20] = 0

    def product(hosts):
        return hosts[:, 0] > 0

    paste = BatchPaste(share=1.0, exact=True, foreground=product)
    _, labels, masks = paste(images, labels, masks)
    assert labels.tolist() == [0, 1, 1, 1, 1, 1]
    assert masks[:, :, :20].sum() == 0
    assert masks[1:].flatten(1).any(1).all()


def test_it_takes_the_settings_of_a_single_paster():
    paste = BatchPaste.like(MemSegPaste(textures(), cells=4, opacity=0.7, p_texture=1.0), share=0.25)
    assert (paste.ranges.cells, paste.ranges.opacity, paste.ranges.textures) == ((4, 4), (0.7, 0.7), 3)


def test_of_many_textures_some_are_taken_and_scaled_to_squares():
    paste = BatchPaste(
        Textures([*textures(10), np.full((300, 280), 65535, np.uint16)]), texture_size=64, max_textures=4
    )
    assert paste.bank.shape == (4, 3, 64, 64)
    assert (paste.bank[-1] == 255).all()
    assert paste.half().bank.dtype == torch.uint8


def test_after_eval_nothing_is_painted():
    given_ = batch()
    after = BatchPaste().eval()(*given_)
    assert all(torch.equal(a, b) for a, b in zip(given_, after, strict=True))


def test_inplace_writes_into_what_is_given():
    given_ = batch()
    expected = BatchPaste(seed=2)(*given_)
    after = BatchPaste(seed=2, inplace=True)(*given_)
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(given_, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(expected, after, strict=True))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool, torch.float32, torch.float16])
@pytest.mark.parametrize("column", [False, True])
def test_labels_of_any_number_type(dtype, column):
    images, labels, _ = batch(positives=2)
    labels = labels.to(dtype)[:, None] if column else labels.to(dtype)
    after = BatchPaste(share=1.0, exact=True)(images, labels)[1]
    assert after.dtype == dtype
    assert torch.equal(after, torch.ones_like(labels))


def test_labels_other_than_0_and_1():
    images, _, masks = batch()
    labels = torch.tensor([7, 7, 3, 4, 7, 0, 1, 7])
    _, after, masks = BatchPaste(share=1.0, exact=True, normal_label=7, positive_label=9)(images, labels, masks)
    assert after.tolist() == [9, 9, 3, 4, 9, 0, 1, 9]
    assert masks.flatten(1).any(1).tolist() == (labels == 7).tolist()


@pytest.mark.parametrize(
    ("dtype", "value"), [(torch.uint8, 255), (torch.bool, 1), (torch.float32, 1), (torch.int64, 5)]
)
def test_masks_of_any_type_keep_what_they_hold(dtype, value):
    images, labels, _ = batch(positives=1)
    masks = torch.zeros(8, 1, 48, 64, dtype=dtype)
    masks[0, 0, :3] = 1
    after = BatchPaste(share=1.0, exact=True, defect_class=value)(images, labels, masks)[2]
    assert after.dtype == dtype
    assert after.shape == masks.shape
    assert torch.equal(after[0], masks[0])
    assert all(part.unique().tolist() == [0, value] for part in after[1:])


def test_memory_formats_do_not_matter():
    images, labels, _ = batch()
    expected = BatchPaste()(images, labels)[0]
    last = images.to(memory_format=torch.channels_last)
    painted = BatchPaste()(last, labels)[0]
    assert painted.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(painted, expected)
    wide = torch.zeros(8, 3, 48, 128)
    wide[..., ::2] = images
    assert torch.equal(BatchPaste()(wide[..., ::2], labels)[0], expected)
    for odd in (torch.zeros(8, 3, 48, 80)[..., 5:69], torch.zeros(8, 3, 64, 48).mT, last.clone()):
        kept = odd.copy_(images)
        assert torch.equal(BatchPaste(inplace=True)(odd, labels.clone())[0], expected)
        assert torch.equal(kept, expected)
    one = images[:1].expand(8, -1, -1, -1)
    before = one.clone()
    painted, new, _ = BatchPaste(share=1.0, exact=True)(one, labels[:1].expand(8), torch.zeros(8, 48, 64))
    assert new.all()
    assert torch.equal(one, before)
    assert (painted != before).flatten(1).any(1).all()


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_batches(count):
    given_ = batch(count)
    after = BatchPaste(share=1.0, exact=True)(*given_)
    assert_painted(given_, after)
    assert int(after[1].sum()) == count


@pytest.mark.parametrize("settings_", [{"exact": True}, {"share": 0.0}])
def test_batches_without_anything_to_paint_come_back_as_they_are(settings_):
    given_ = batch(positives=8 if "exact" in settings_ else 0)
    after = BatchPaste(**settings_)(*given_)
    assert all(torch.equal(a, b) for a, b in zip(given_, after, strict=True))


def test_under_autocast_and_with_gradients_it_paints_the_same():
    images, labels, _ = batch()
    expected = BatchPaste()(images, labels)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(BatchPaste()(images.requires_grad_(), labels)[0], expected)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda x, y, m: ((x - 0.45) / 0.22, y, m), "normalised: paste first"),
        (lambda x, y, m: (x * 255, y, m), "divide it by 255"),
        (lambda x, y, m: (x * float("nan"), y, m), "nan"),
        (lambda x, y, m: (x.int(), y, m), "images are float"),
        (lambda x, y, m: (x.movedim(1, -1), y, m), "permute"),
        (lambda x, y, m: (x[0], y, m), r"\(B, C, H, W\)"),
        (lambda x, y, m: (x[..., :8], y, m[..., :8]), "16 pixels"),
        (lambda x, y, m: (x, torch.eye(8), m), "argmax"),
        (lambda x, y, m: (x, y[:3], m), "one number per image"),
        (lambda x, y, m: (x, y.tolist(), m), "labels must be a tensor"),
        (lambda x, y, m: (x.numpy(), y, m), "images must be a tensor"),
        (lambda x, y, m: (x, y, m[:, ::2]), "nearest neighbour"),
    ],
)
def test_bad_batches_are_refused_with_the_remedy(change, what):
    with pytest.raises((TypeError, ValueError), match=what):
        BatchPaste()(*change(*batch()))


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"share": 1.5}, ValueError, "share"),
        ({"cells": (3, 8)}, ValueError, "power of two"),
        ({"opacity": 0}, ValueError, "opacity"),
        ({"grid": (1, 1)}, ValueError, "grid"),
        ({"p_texture": 1}, ValueError, "none are given"),
        ({"normal_label": 1}, ValueError, "both 1"),
        ({"defect_class": 0}, ValueError, "defect_class"),
        ({"foreground": 3}, TypeError, "callable"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_options_are_refused(options, error, what):
    with pytest.raises(error, match=what):
        BatchPaste(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_paints_the_same_without_being_waited_for():
    given_ = batch(16, (128, 128), positives=3)
    here = BatchPaste(textures(), seed=1)(*given_)
    paste = BatchPaste(textures(), seed=1).cuda()
    on_gpu = [part.cuda() for part in given_]
    there = [part.cpu() for part in paste(*on_gpu)]
    assert torch.equal(here[1], there[1])
    assert (here[2] != there[2]).float().mean() < 1e-4
    same = (here[2] == there[2])[:, None].expand_as(here[0])
    assert torch.allclose(here[0][same], there[0][same], atol=1e-4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        paste(*on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_replays_with_new_draws():
    paste = BatchPaste(textures(), seed=1).cuda()
    given_ = [part.cuda() for part in batch(8, (64, 64))]
    static = paste.draw(given_[0]).to(torch.device("cuda"))
    for _ in range(3):
        paste(*given_, draws=static)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        painted = paste(*given_, draws=static)
    for _ in range(2):
        draws = paste.draw(given_[0])
        for old, new in zip(static, draws, strict=True):
            old.copy_(new)
        graph.replay()
        assert torch.equal(painted[2], paste(*given_, draws=draws)[2])
