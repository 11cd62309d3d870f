"""LPIPS: only with weights that are there, with torchmetrics' own figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity
from torchvision.models import squeezenet1_1

from inout_aug.evaluate import LPIPS
from inout_aug.evaluate.perceptual import perceptual, weights_path
from inout_aug.seeding import stream


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub folder, and no way to fill it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


@pytest.fixture
def lpips(hub: Path) -> LPIPS:
    path = weights_path("squeeze")
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(squeezenet1_1().state_dict(), path)
    found = LPIPS.available()
    assert found is not None
    return found


def images(count: int) -> list[Any]:
    return [stream(k).integers(0, 256, (256, 256, 3)).astype(np.uint8) for k in range(count)]


def test_without_weights_there_is_none(hub: Path) -> None:
    assert LPIPS.available() is None
    with pytest.raises(FileNotFoundError, match=r"alexnet-owt-\w+\.pth; nothing is downloaded"):
        LPIPS()


def test_the_distance_is_torchmetrics(lpips: LPIPS) -> None:
    assert lpips.network == "squeeze"
    one, other = images(2)
    tensors = [torch.from_numpy(image.transpose(2, 0, 1)[None]).float() / 255 for image in (one, other)]
    expected = learned_perceptual_image_patch_similarity(*tensors, net_type="squeeze", normalize=True)
    assert lpips(one, other) == pytest.approx(float(expected), rel=1e-5)
    assert lpips(one, one) == 0
    deep = [image[..., :1].astype(np.uint16) * 257 for image in (one, other)]
    assert lpips(*deep) == pytest.approx(lpips(*(image[..., :1].repeat(3, axis=2) for image in (one, other))))


def test_means_are_of_all_pairs_where_they_are_few(lpips: LPIPS) -> None:
    pictures = images(4)
    found = perceptual(lpips, pictures, [0, 0, 1, 2])
    every = [lpips(pictures[i], pictures[j]) for i in range(4) for j in range(i)]
    assert found.pairs == 6
    assert found.pairwise == pytest.approx(np.mean(every), rel=1e-5)
    assert found.within_clusters == pytest.approx(lpips(pictures[0], pictures[1]), rel=1e-5)
    assert perceptual(lpips, pictures, [0, 1, 2, 3]).within_clusters is None
