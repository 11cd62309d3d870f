"""Pixels and an autoencoder's latents: there and back, with moments that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.defectdiffu.masks import hard_mask, scaled_area, soft_masks
from inout_generators.defectdiffu.spaces import PixelSpace, VAESpace, load_space, mask_images, save_space


def images(channels: int = 3, count: int = 2, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max + 1, (count, 16, 24, channels), dtype=dtype)


def vae() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back_bit_for_bit(channels: int) -> None:
    space = PixelSpace(channels)
    given = images(channels)
    latents = space.encode(given)
    assert latents.shape == (2, channels, 16, 24)
    assert latents.dtype == torch.float32
    np.testing.assert_array_equal(space.decode(latents), given)


def test_grey_images_and_masks_are_repeated_in_colour() -> None:
    latents = PixelSpace(3).encode(mask_images(np.eye(16, dtype=np.uint8)[None] * 5))
    assert latents.unique().tolist() == [-1, 1]
    assert (latents[:, 0] == latents[:, 2]).all()
    with pytest.raises(ValueError, match="1 or 1 channels here"):
        PixelSpace(1).encode(images(3))
    with pytest.raises(ValueError, match="1 or 3 channels; got 4"):
        PixelSpace(4)


def test_sixteen_bits_count() -> None:
    grey = np.full((1, 16, 16, 1), 12345, np.uint16)
    assert float(PixelSpace(1).encode(grey).mean()) == pytest.approx(12345 / 65535 * 2 - 1, abs=1e-6)


def test_latents_are_the_autoencoders_scaled() -> None:
    space, given = VAESpace(vae()), images()
    assert (space.channels, space.image_channels, space.factor) == (4, 3, 2)
    values = torch.from_numpy(given).permute(0, 3, 1, 2).float() / 127.5 - 1
    drawn = space.vae.encode(values).latent_dist
    scale = space.vae.config.scaling_factor
    torch.testing.assert_close(space.encode(given), drawn.mean * scale, rtol=1e-4, atol=1e-5)
    noise = torch.randn(2, 4, 8, 12)
    torch.testing.assert_close(
        space.encode(given, noise), (drawn.mean + drawn.std * noise) * scale, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(space.values(space.encode(given)), space.vae.decode(drawn.mean).sample)
    assert space.decode(space.encode(given)).shape == given.shape
    with pytest.raises(ValueError, match="multiples of 2"):
        space.encode(given[:, :15])


def test_moments_are_computed_once(tmp_path: Path) -> None:
    space, given = VAESpace(vae(), cache=tmp_path), images()
    calls: list[int] = []
    space.vae.encoder.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    first = space.moments(given[:1])
    both = space.moments(given)
    again = space.moments(given[::-1].copy())
    assert calls == [1, 1]
    torch.testing.assert_close(both[:1], first, rtol=0, atol=0)
    torch.testing.assert_close(again, both.flip(0), rtol=0, atol=0)
    # of another autoencoder
    other = vae()
    torch.nn.init.ones_(other.quant_conv.bias)
    assert not torch.allclose(VAESpace(other, cache=tmp_path).moments(given), both)


def test_spaces_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    for k, space in enumerate((PixelSpace(1), VAESpace(vae()))):
        again = load_space(save_space(space, tmp_path / str(k)), tmp_path / str(k))
        torch.testing.assert_close(again.encode(images(1)), space.encode(images(1)))
    with pytest.raises(CheckpointError, match="no space 'wavelets'"):
        load_space({"kind": "wavelets"}, tmp_path)


def test_soft_masks_are_the_luma_of_what_is_decoded() -> None:
    latents = torch.randn(2, 3, 16, 24)
    red, green, blue = latents.unbind(1)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(soft_masks(PixelSpace(3), latents), expected.numpy(), rtol=1e-5, atol=1e-6)
    assert soft_masks(PixelSpace(1), latents[:, :1]).shape == (2, 16, 24)


def test_nothing_there_is_an_empty_mask() -> None:
    rng = np.random.default_rng(0)
    for soft in (np.full((32, 32), -1.0), np.full((32, 32), 0.3), rng.normal(-1, 0.02, (32, 32))):
        assert not hard_mask(soft, 1).any()
    soft = np.full((32, 32), -1.0)
    soft[4:10, 4:10] = soft[20, 20] = 0.9
    assert hard_mask(soft, 4).sum() == 36
    assert scaled_area((256, 256), 16) == 4
