"""Stable Diffusion with a LoRA as a `Generator` of defects in the user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from diffusers import StableDiffusionPipeline

from inout_aug.plugin import Request
from inout_aug.sample import Mask, Sample
from inout_aug.seeding import stream
from inout_generators.common.checkpoints import PathLike
from inout_generators.common.insertion import Window, host_of, put_back, window_anywhere
from inout_generators.common.masks import perlin_region
from inout_generators.lora.adapters import LoRA
from inout_generators.lora.drawing import Task
from inout_generators.lora.filling import (
    Filling,
    InpaintPipeline,
    as_inpainting,
    as_made,
    as_seen,
    cells_of,
    drawn_size,
    fill,
    resized,
    window_for,
)
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.prompts import PromptsLike

Preset: TypeAlias = Literal["diag"]
RegionsLike: TypeAlias = "Literal['perlin'] | PathLike | Sequence[Mask]"
RegionsAre: TypeAlias = Literal["real", "drawn"]

# beside those of drawing.py
_REGION = 3

PRESETS: dict[str, dict[str, Any]] = {
    # Girella et al., "Leveraging latent diffusion models for training-free in-distribution data augmentation for
    # surface defect detection", arXiv 2407.03961, and its code
    "diag": {
        "prompts": {"white marks on the wall": "defect", "copper metal scratches": "defect"},
        "negative_prompt": "smooth, plain, black, dark, shadow",
        "steps": 30,
        "guidance_scale": 20.0,
        "strength": 0.99,
        "scheduler": None,
    }
}


class LoRAInpaint(LoRADiffusion):
    """Puts defects into normal images: a region of a host is drawn anew, every other pixel is the host's, bit for bit.

    Any Stable Diffusion serves, and any that was trained for inpainting, SDXL too: see `fill`. What is seen is a window
    around the region, enlarged to the size that the model knows; what is made is put back inside the region alone. So
    the masks are exact, other than those of whole images.

    A request's `strength`, in (0, 1], scales the generator's. Hosts come in any size, 8 or 16 bit, grey or colour.

    Args:
        pipeline: Stable Diffusion 1.x, 2.x or XL, for whole images or for inpainting. It is moved and changed.
        prompts: See `LoRADiffusion`.
        preset: "diag" for the settings of DIAG (arXiv 2407.03961): no training at all. Others given go first.
        strength: Share of the noise from which a region is drawn anew, in (0, 1]; 1 by default.
        regions: Where a defect goes if a request does not say: "perlin" noise; or masks, of which each request gets
            one: a folder of image files, or arrays (H, W), non-zero inside, put where they lie in their own images.
        regions_are: What such masks are, said in every sample's origin: those of "real" defects, with which the samples
            are no longer zero-shot, or "drawn" by a person.
        max_share: The most of a window's height, and of its width, that a region takes up, in (0, 1].
        max_zoom: How much a window is enlarged at most, for small regions; at least 1.
        feather: Pixels, inside the region, over which the host fades into the defect.
        size: (H, W) drawn at, as in `LoRADiffusion`; None for the square that the model was trained at.
        settings: Others of `LoRADiffusion`, but for `masker`.

    Raises:
        FileNotFoundError: There is no such folder of masks.
        ValueError: A setting is out of range, a mask is empty, or a prompt is too long.

    Example:
        >>> from inout_generators.lora.tiny import tiny_stable_diffusion
        >>> generator = LoRAInpaint(tiny_stable_diffusion(), {"a scratch": "scratch"}, steps=2, device="cpu")
        >>> host = np.full((60, 80, 1), 90, np.uint8)
        >>> sample = generator.generate([Request(seed=0, height=60, width=80, channels=1, host=host)])[0]
        >>> bool((sample.image == host)[sample.mask == 0].all())
        True
    """

    name = "LoRAInpaint"
    hosts = True
    _alike = ("size", "strength")

    def __init__(
        self,
        pipeline: StableDiffusionPipeline | InpaintPipeline,
        prompts: PromptsLike | None = None,
        *,
        preset: Preset | None = None,
        strength: float | None = None,
        regions: RegionsLike = "perlin",
        regions_are: RegionsAre = "real",
        max_share: float = 0.5,
        max_zoom: float = 4.0,
        feather: float = 4.0,
        size: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"preset is one of {', '.join(PRESETS)}; got {preset!r}")
        given = {name: value for name, value in (("prompts", prompts), ("strength", strength)) if value is not None}
        chosen = {"prompts": None, "strength": 1.0, **PRESETS.get(preset or "", {}), **settings, **given}
        self.strength = float(chosen.pop("strength"))
        self.max_share, self.max_zoom, self.feather = max_share, max_zoom, feather
        if not (0 < self.strength <= 1 and 0 < max_share <= 1 and max_zoom >= 1 and feather >= 0):
            raise ValueError(
                "strength and max_share are in (0, 1], max_zoom is at least 1, feather is not negative; got "
                f"{self.strength}, {max_share}, {max_zoom} and {feather}"
            )
        if regions_are not in ("real", "drawn"):
            raise ValueError(f"regions_are real or drawn; got {regions_are!r}")
        self.regions_are = regions_are
        self.regions = () if isinstance(regions, str) and regions == "perlin" else _as_regions(regions)
        filling = as_inpainting(pipeline)
        super().__init__(filling, size=size or _native_size(filling), masker=None, **chosen)

    @property
    def masks(self) -> bool:
        """True: it makes masks."""
        return True

    def load_lora(self, lora: LoRA | PathLike, *, alpha: float = 0.6) -> None:
        """Use another LoRA, or one for the first time; see `LoRADiffusion.load_lora`.

        Raises:
            ValueError: The base is SDXL.
        """
        if "text_encoder_2" in self._nets():
            raise ValueError("LoRAs are for Stable Diffusion 1.x and 2.x here; the base is SDXL, which serves without")
        super().load_lora(lora, alpha=alpha)

    def _params(self) -> dict[str, Any]:
        where = [[list(mask.shape), mask.tobytes().hex()] for mask in self.regions]
        return {
            **super()._params(),
            "strength": self.strength,
            "regions": [where, self.regions_are] if where else "perlin",
            "max_share": self.max_share,
            "max_zoom": self.max_zoom,
            "feather": self.feather,
        }

    def _task(self, request: Request) -> Filling:
        host, size = host_of(request), cast("tuple[int, int]", self.size)
        strength = self.strength * request.strength
        if int(self.steps * strength) < 1:
            raise ValueError(f"strength {strength} of {self.steps} steps is none; take more of one of them")
        region = self._region(request)
        window = window_for(region, size, max_share=self.max_share, max_zoom=self.max_zoom)
        region, cell = region[window.slices], self.pipeline.vae_scale_factor
        drawn_at = drawn_size(window, size, cell)
        return Filling(
            self._prompt(request),
            request.seed,
            drawn_at,
            strength,
            window,
            region,
            as_seen(host[window.slices], drawn_at),
            cells_of(region, drawn_at, cell),
        )

    def _region(self, request: Request) -> Mask:
        """Return where the defect goes, uint8 (H, W), 1 inside."""
        if request.region is not None:
            return (request.region > 0).astype(np.uint8)
        whole, rng = (request.height, request.width), stream(request.seed, _REGION)
        if self.regions:
            mask = self.regions[int(rng.integers(len(self.regions)))]
            return (resized(mask.astype(np.float32), whole, smooth=cv2.INTER_NEAREST) > 0).astype(np.uint8)
        window = window_anywhere(whole, cast("tuple[int, int]", self.size), rng)
        region = np.zeros(whole, np.uint8)
        region[window.slices] = perlin_region(*window.size, rng)
        return region

    def _draw(self, tasks: Sequence[Task]) -> list[tuple[Any, Mask | None]]:
        made = fill(
            self.pipeline,
            cast(Sequence[Filling], tasks),
            negative_prompt=self.negative_prompt,
            guidance_scale=self.guidance_scale,
            steps=self.steps,
            clip_skip=self.clip_skip,
        )
        return [(pixels, None) for pixels in made]

    def _sample(self, request: Request, task: Task, drawn: tuple[Any, Mask | None]) -> Sample:
        filling, host = cast(Filling, task), host_of(request)
        window: Window = filling.window
        made = as_made(drawn[0], host[window.slices])
        image, mask = put_back(host, window, made, filling.region, self.feather)
        source = "given" if request.region is not None else self.regions_are if self.regions else "perlin"
        params = {
            "prompt": filling.prompt,
            "region": source,
            "window": [window.top, window.left, *window.size],
            "drawn_at": list(filling.size),
            "strength": filling.strength,
        }
        return Sample(image, mask * np.uint8(request.defect_class), request.defect_class, self._origin(request, params))


def _native_size(pipeline: InpaintPipeline) -> tuple[int, int]:
    side = pipeline.unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    return height * pipeline.vae_scale_factor, width * pipeline.vae_scale_factor


def _as_regions(given: PathLike | Sequence[Mask]) -> tuple[Mask, ...]:
    """Return masks, 1 inside, from a folder of image files or from arrays."""
    named: dict[str, Any]
    if isinstance(given, str | Path):
        if not Path(given).is_dir():
            raise FileNotFoundError(
                f"there is no folder of masks at {given}; regions are 'perlin', a folder, or arrays"
            )
        files = sorted(file for file in Path(given).iterdir() if file.is_file() and not file.name.startswith("."))
        named = {file.name: cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files}
    else:
        named = {f"mask {k}": np.asarray(mask) for k, mask in enumerate(cast("Sequence[Mask]", given))}
    for name, mask in named.items():
        if mask is None or mask.ndim != 2 or not mask.any():
            what = "no image" if mask is None else f"of shape {mask.shape} with {np.count_nonzero(mask)} pixels inside"
            raise ValueError(f"masks are (H, W), and none is empty; {name} is {what}")
    if not named:
        raise ValueError(f"there are no masks in {given}")
    return tuple((mask > 0).astype(np.uint8) for mask in named.values())
