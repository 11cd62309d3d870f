"""Where images are noised: the latents of a variational autoencoder, or the pixels themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from inout_aug.cache.fingerprint import fingerprint
from inout_aug.sample import Image, Mask
from inout_generators.common.checkpoints import CheckpointError, PathLike, read_tensors, write_tensors
from inout_generators.common.pixels import scale, unscale

_FOLDER = "space"


@runtime_checkable
class Space(Protocol):
    """Where images are noised. Masks go the same way, as black and white images; see `mask_images`.

    Attributes:
        channels: Of a latent.
        image_channels: Of the images that come out: 1 or 3.
        factor: Pixels per latent pixel, along each side.
    """

    @property
    def channels(self) -> int: ...  # noqa: D102
    @property
    def image_channels(self) -> int: ...  # noqa: D102
    @property
    def factor(self) -> int: ...  # noqa: D102

    def moments(self, images: Image) -> Tensor:
        """Return all that is to know of some images, (B, M, H / factor, W / factor), float32: the costly part."""
        ...

    def sample(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return latents (B, channels, ...): drawn with standard normal noise of their shape, or the mean without."""
        ...

    def encode(self, images: Image, noise: Tensor | None = None) -> Tensor:
        """Return the latents of uint8 or uint16 images (B, H, W, 1 or 3), sides multiples of the factor."""
        ...

    def values(self, latents: Tensor) -> Tensor:
        """Return the images that latents stand for, as float32 (B, image_channels, H, W), about in [-1, 1]."""
        ...

    def decode(self, latents: Tensor) -> Image:
        """Return the images that latents stand for, as uint8 (B, H, W, image_channels) on the CPU."""
        ...

    def clamp(self, latents: Tensor) -> Tensor:
        """Return a guess of clean latents with what no image has taken out."""
        ...


class PixelSpace:
    """The pixels themselves, in [-1, 1], where no autoencoder is at hand; the net wants larger patches then, 4 to 8.

    Args:
        channels: 1 for grey images, 3 for colour.

    Raises:
        ValueError: Other channels.

    Example:
        >>> space = PixelSpace(1)
        >>> image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
        >>> bool((space.decode(space.encode(image)) == image).all())
        True
    """

    factor = 1

    def __init__(self, channels: int = 3) -> None:
        if channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels; got {channels}")
        self.channels = self.image_channels = channels

    def __repr__(self) -> str:
        return f"PixelSpace({self.channels})"

    def moments(self, images: Image) -> Tensor:
        """Return the images as floats, (B, channels, H, W)."""
        return torch.from_numpy(np.ascontiguousarray(scale(_as(images, self.channels)).transpose(0, 3, 1, 2)))

    def sample(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return them as they are: nothing is random here."""
        return moments

    def encode(self, images: Image, noise: Tensor | None = None) -> Tensor:
        """Return the images as floats, (B, channels, H, W)."""
        return self.moments(images)

    def values(self, latents: Tensor) -> Tensor:
        """Return latents as float32."""
        return latents.float()

    def decode(self, latents: Tensor) -> Image:
        """Return uint8 images, (B, H, W, channels)."""
        return _pixels(latents)

    def clamp(self, latents: Tensor) -> Tensor:
        """Return latents no darker than black and no lighter than white."""
        return latents.clamp(-1, 1)


class VAESpace(nn.Module):
    """The latents of a variational autoencoder, as Stable Diffusion's.

    Args:
        vae: A `diffusers.AutoencoderKL`. It is frozen, not copied.
        cache: Folder where moments are kept, by the images' bytes; None computes them at every visit.

    Example:
        >>> space = VAESpace.from_pretrained("stabilityai/sd-vae-ft-mse", cache="moments")  # doctest: +SKIP
    """

    def __init__(self, vae: Any, *, cache: PathLike | None = None) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.cache = None if cache is None else Path(cache)
        self._scale, self._shift = float(vae.config.scaling_factor), float(vae.config.get("shift_factor") or 0)

    @classmethod
    def from_pretrained(
        cls,
        source: PathLike,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        cache: PathLike | None = None,
    ) -> VAESpace:
        """Load from a folder, or from the Hugging Face Hub.

        Args:
            source: The folder or repository.
            revision: Branch, tag or commit of the repository.
            subfolder: Such as "vae" in a Stable Diffusion pipeline.
            cache: See the class.

        Raises:
            OSError: There is no such model, or the Hub cannot be reached.
        """
        from diffusers import AutoencoderKL

        more = {"revision": revision} | ({} if subfolder is None else {"subfolder": subfolder})
        return cls(AutoencoderKL.from_pretrained(source, use_safetensors=True, **more), cache=cache)

    @property
    def channels(self) -> int:
        """Of a latent."""
        return int(self.vae.config.latent_channels)

    @property
    def image_channels(self) -> int:
        """Of an image."""
        return int(self.vae.config.out_channels)

    @property
    def factor(self) -> int:
        """Pixels per latent pixel, along each side."""
        return 1 << (len(self.vae.config.block_out_channels) - 1)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the weights, which cached moments go by."""
        return fingerprint(type(self), version="1", weights=self.vae.state_dict(), params={}, libraries=("diffusers",))

    def moments(self, images: Image) -> Tensor:
        """Return mean and standard deviation of the latents of uint8 or uint16 images, float32 on the CPU.

        Args:
            images: (B, H, W, 1 or 3), sides multiples of the factor.

        Returns:
            (B, 2 * channels, H / factor, W / factor).

        Raises:
            ValueError: Sides are no multiples of the factor.
        """
        if images.ndim != 4 or any(side % self.factor for side in images.shape[1:3]):
            raise ValueError(
                f"images are (B, H, W, C), with sides that are multiples of {self.factor}; got {images.shape}. Resize "
                "or crop them"
            )
        if self.cache is None:
            return self._encoded(images)
        files = [self._file(image) for image in images]
        missing = [k for k, file in enumerate(files) if not file.exists()]
        if missing:
            for k, moments in zip(missing, self._encoded(images[missing]), strict=True):
                write_tensors(files[k], {"moments": moments})
        return torch.stack([read_tensors(file)["moments"] for file in files])

    def sample(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return latents, (B, channels, ...), scaled to about unit variance; the mean without noise."""
        mean, deviation = moments.chunk(2, 1)
        latents = mean if noise is None else mean + deviation * noise
        return (latents - self._shift) * self._scale

    def encode(self, images: Image, noise: Tensor | None = None) -> Tensor:
        """Return the latents of uint8 or uint16 images, float32 on the CPU."""
        return self.sample(self.moments(images), noise)

    @torch.no_grad()
    def values(self, latents: Tensor) -> Tensor:
        """Return the images that latents stand for: float32 (B, image_channels, H, W), about in [-1, 1]."""
        z = latents.float() / self._scale + self._shift
        return torch.as_tensor(self.vae.decode(z.to(self.vae.device, self.vae.dtype)).sample).float()

    def decode(self, latents: Tensor) -> Image:
        """Return uint8 images, (B, H, W, image_channels)."""
        return _pixels(self.values(latents))

    def clamp(self, latents: Tensor) -> Tensor:
        """Return latents as they are: they have no bounds."""
        return latents

    @torch.no_grad()
    def _encoded(self, images: Image) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(scale(_as(images, self.image_channels)).transpose(0, 3, 1, 2)))
        drawn = self.vae.encode(values.to(self.vae.device, self.vae.dtype)).latent_dist
        return torch.cat([drawn.mean, drawn.std], 1).float().cpu()

    def _file(self, image: Image) -> Path:
        content = f"{image.dtype}{image.shape}".encode() + np.ascontiguousarray(image).tobytes()
        name = hashlib.blake2b(content, key=self.fingerprint.encode()[:64], digest_size=20).hexdigest()
        return cast(Path, self.cache) / name[:2] / f"{name}.safetensors"


def mask_images(masks: Mask | Sequence[Mask]) -> Image:
    """Return masks (B, H, W), non-zero inside, as black and white images (B, H, W, 1).

    Example:
        >>> mask_images(np.eye(2, dtype=np.uint8)[None])[0, :, :, 0].tolist()
        [[255, 0], [0, 255]]
    """
    return cast(Image, ((np.asarray(masks) > 0) * np.uint8(255))[..., None])


def save_space(space: Space, folder: Path) -> dict[str, Any]:
    """Write a space below a folder, and return what `load_space` wants to know of it.

    Raises:
        TypeError: It is none of this module's.
    """
    if isinstance(space, PixelSpace):
        return {"kind": "pixels", "channels": space.channels}
    if isinstance(space, VAESpace):
        space.vae.save_pretrained(folder / _FOLDER)
        return {"kind": "vae"}
    raise TypeError(f"PixelSpace and VAESpace are saved; got a {type(space).__name__}")


def load_space(settings: Mapping[str, Any], folder: Path) -> Space:
    """Return what `save_space` wrote.

    Raises:
        CheckpointError: It is damaged, or of another version.
    """
    kind = settings.get("kind")
    if kind == "pixels":
        return PixelSpace(settings["channels"])
    if kind == "vae":
        return VAESpace.from_pretrained(folder / _FOLDER)
    raise CheckpointError(f"there is no space {kind!r} in this version; there are pixels, vae")


def _as(images: Image, channels: int) -> Image:
    """Return images with so many channels: grey ones repeated."""
    given = images.shape[-1]
    if given != channels and given != 1:
        raise ValueError(f"images have 1 or {channels} channels here; got {images.shape}")
    return images if given == channels else cast(Image, np.repeat(images, channels, -1))


def _pixels(values: Tensor) -> Image:
    # what overflowed in half precision is mid grey; a cache's gates refuse it
    return unscale(values.detach().float().nan_to_num(0).cpu().permute(0, 2, 3, 1).numpy(), np.uint8)
