"""PasteDefect in AugmentationSequential: masks and boxes follow, replays are exact."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from inout_aug import NSA, CutPaste, MemSegPaste, StrokePaste
from inout_aug.boxes import boxes_of
from inout_aug.outlines import instances
from inout_aug.paste.batch import BatchPaste
from support import Square

K = pytest.importorskip("kornia.augmentation")
from inout_aug.integrations.kornia import PasteDefect  # noqa: E402  # after the skip

SIZE = (48, 64)
PASTERS = [BatchPaste(share=1), MemSegPaste(), CutPaste(), NSA(), StrokePaste()]


def batch(dtype: Any = torch.float32, channels: int = 3, count: int = 4) -> torch.Tensor:
    return torch.rand(count, channels, *SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)


def boxes_in(mask: torch.Tensor) -> torch.Tensor:
    """Boxes of a mask's defects in kornia's convention, found from the mask alone."""
    found = boxes_of(list(instances(mask.byte().numpy())), "xyxy", SIZE)
    return torch.from_numpy(found - [0, 0, 1, 1]).float()


@pytest.mark.parametrize("paster", PASTERS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("with_boxes", [True, False])
def test_any_paster_any_type_any_targets(paster: Any, dtype: Any, with_mask: bool, with_boxes: bool) -> None:
    torch.manual_seed(0)
    paste = PasteDefect(paster, p=0.7)
    images = batch(dtype)
    keys, given = ["input"], [images.clone()]
    if with_mask:
        keys, given = [*keys, "mask"], [*given, torch.zeros(4, *SIZE, dtype=torch.uint8)]
    if with_boxes:
        keys, given = [*keys, "bbox_xyxy"], [*given, [torch.zeros(0, 4)] * 4]
    augment = pickle.loads(pickle.dumps(K.AugmentationSequential(paste, data_keys=keys)))
    out = augment(*given)
    out = out if isinstance(out, list) else [out]
    changed = (out[0] != images).any(1)
    assert out[0].dtype == dtype
    positive = augment[0].relabel(torch.zeros(4))
    assert positive.any()
    assert (changed.flatten(1).any(1) <= positive.bool()).all()
    torch.testing.assert_close(out[0][positive == 0], images[positive == 0], atol=0, rtol=0)
    if with_mask:
        masks = out[1][:, 0]
        assert (masks[changed] == 1).all()
        assert torch.equal(masks.flatten(1).any(1).float().bool(), positive.bool())
    if with_mask and with_boxes:
        for boxes, mask in zip(out[2], masks, strict=True):
            torch.testing.assert_close(boxes, boxes_in(mask))


@pytest.mark.parametrize("order", [["input", "mask", "bbox_xyxy"], ["input", "bbox_xyxy", "mask"]])
def test_what_follows_moves_all_together(order: list[str]) -> None:
    torch.manual_seed(0)
    augment = K.AugmentationSequential(PasteDefect(Square(), p=1.0), K.RandomHorizontalFlip(p=1.0), data_keys=order)
    given = {"input": batch(), "mask": torch.zeros(4, 1, *SIZE), "bbox_xyxy": torch.tensor([[[2.0, 3, 6, 8]]] * 4)}
    out = dict(zip(order, augment(*[given[key] for key in order]), strict=True))
    assert out["bbox_xyxy"].shape == (4, 2, 4)
    assert out["bbox_xyxy"][:, 0].tolist() == [[57, 3, 61, 8]] * 4
    for boxes, mask in zip(out["bbox_xyxy"], out["mask"][:, 0], strict=True):
        torch.testing.assert_close(boxes[1:], boxes_in(mask))
    torch.testing.assert_close((out["input"] != given["input"].flip(3)).any(1), out["mask"][:, 0] > 0)


@pytest.mark.parametrize("key", ["bbox", "bbox_xyxy", "bbox_xywh"])
def test_box_formats(key: str) -> None:
    torch.manual_seed(0)
    augment = K.AugmentationSequential(PasteDefect(Square(), p=1.0), data_keys=["input", "mask", key])
    old = {"bbox_xyxy": [2.0, 3, 6, 8], "bbox_xywh": [2.0, 3, 5, 6], "bbox": [[2.0, 3], [6, 3], [6, 8], [2, 8]]}
    _, masks, boxes = augment(batch(), torch.zeros(4, 1, *SIZE), torch.tensor([[old[key]]] * 4))
    assert boxes[0, 0].tolist() == old[key]
    left, top, right, bottom = boxes_in(masks[0, 0])[0].tolist()
    new = {
        "bbox_xyxy": [left, top, right, bottom],
        "bbox_xywh": [left, top, right - left + 1, bottom - top + 1],
        "bbox": [[left, top], [right, top], [right, bottom], [left, bottom]],
    }
    assert boxes[0, 1].tolist() == new[key]


@pytest.mark.parametrize("paster", PASTERS, ids=lambda p: type(p).__name__)
def test_recorded_parameters_replay_a_batch(paster: Any) -> None:
    torch.manual_seed(0)
    augment = K.AugmentationSequential(
        PasteDefect(paster, p=0.5), K.RandomHorizontalFlip(), data_keys=["input", "mask"]
    )
    first = augment(batch(), torch.zeros(4, 1, *SIZE))
    params = augment._params
    augment(batch(), torch.zeros(4, 1, *SIZE))
    again = augment(batch(), torch.zeros(4, 1, *SIZE), params=params)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_randomness_is_torchs() -> None:
    paste = PasteDefect(BatchPaste(share=1), p=1.0)
    torch.manual_seed(1)
    first, second = paste(batch()), paste(batch())
    torch.manual_seed(1)
    assert torch.equal(paste(batch()), first)
    assert not torch.equal(first, second)


def test_shapes_and_shared_parameters() -> None:
    assert PasteDefect(Square(), p=1.0, keepdim=True)(batch()[0]).shape == (3, *SIZE)
    assert PasteDefect(BatchPaste(share=1), p=1.0)(batch(channels=1)).shape == (4, 1, *SIZE)
    same = PasteDefect(Square(), p=1.0, same_on_batch=True)
    changed = same(batch()) != batch()
    assert (changed == changed[:1]).all()
    assert same(batch()[:0]).shape == (0, 3, *SIZE)
    assert PasteDefect(BatchPaste(share=1), p=1.0)(batch()[:0]).shape == (0, 3, *SIZE)


def test_masks_have_the_users_convention_and_keep_older_defects() -> None:
    torch.manual_seed(0)
    augment = K.AugmentationSequential(PasteDefect(Square(), mask_value=255, p=1.0), data_keys=["input", "mask"])
    old = torch.zeros(4, 1, *SIZE, dtype=torch.uint8)
    old[:, :, :2] = 255
    masks = augment(batch(), old)[1]
    assert masks.unique().tolist() == [0, 255]
    assert (masks[:, :, :2] == 255).all()
    with pytest.raises(ValueError, match="one value per pixel"):
        augment(batch(), torch.zeros(4, 3, *SIZE))


def test_refused_hosts_are_left_as_they_are() -> None:
    flat = torch.full((2, 3, *SIZE), 0.5)
    paste = PasteDefect(CutPaste(jitter=0), p=1.0)
    assert torch.equal(paste(flat), flat)
    assert paste.relabel(torch.tensor([0, 3])).tolist() == [0, 3]


def test_bad_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match="make_params and apply"):
        PasteDefect(MemSegPaste)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="same_on_batch"):
        PasteDefect(BatchPaste(), same_on_batch=True)
    with pytest.raises(ValueError, match="normalised"):
        PasteDefect(Square(), p=1.0)(batch() * 4 - 2)
