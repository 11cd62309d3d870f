"""Defect-Gen as a `Generator`: images with masks, or defects in the user's own images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from inout_aug.cache.fingerprint import fingerprint
from inout_aug.plugin import Request
from inout_aug.sample import Image, Mask, Origin, Params, Sample, check_image
from inout_aug.seeding import check_seed, stream
from inout_generators.common.checkpoints import PathLike
from inout_generators.common.insertion import Window, answered, host_of, put_back, window_anywhere, window_around
from inout_generators.common.masks import perlin_region, shows, without_specks
from inout_generators.common.schedule import CosineSchedule
from inout_generators.defect_gen import folder
from inout_generators.defect_gen.batches import Batches, Task
from inout_generators.defect_gen.checks import check_reach, check_request, check_settings, classes_of
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.sampling import SWITCH_T, Known, Sampler

Regions: TypeAlias = Literal["generated", "perlin"]

# raised whenever the same weights and settings give other pixels
_VERSION = "1"
# what a stream is for, so that one seed gives unrelated numbers
_DRAW, _PLACE, _FILL = range(3)
_ATTEMPTS = 20


class NoDefectDrawn(RuntimeError):
    """The nets drew images without the defect that was asked for, again and again."""


class DefectGen:
    """Two-stage diffusion that learns image and mask together from a handful of defects.

    Yang et al., "Defect Spectrum" (ECCV 2024), section 4: a large net lays out image and mask, a net that sees only a
    neighbourhood draws the rest, so that few training images suffice without being copied. Asked for a sample with a
    host, it draws a mask, and fills it in a window of the host: pixels outside the mask stay the host's, bit for bit.

    A sample depends on its own request alone, whatever batch it is drawn in; on a GPU, or when memory ran out, up to
    the last bits of the nets' arithmetic.

    Args:
        large: The net of the coarse phase, `net(x_t, t) -> x0`, as a `DefectGenUNet`. It is moved, not copied.
        local: The net of the rest.
        encoding: Of images and masks; names the classes.
        size: (H, W) that the nets were trained at.
        crop: Trained on windows of larger images as they are, not on whole images: then it wants hosts.
        switch_t: Timestep from which up the large net serves, in [0, T]; the paper's u is T - switch_t.
        sampler: See `sample`.
        steps: Timesteps visited.
        schedule: Which the nets were trained with; by default T = 1000.
        regions: Where a defect goes in a host if a request names no region: a mask that the nets draw, or Perlin noise.
        min_area: Connected parts of a mask with fewer pixels are removed.
        feather: Pixels, inside the mask, over which a host fades into its defect.
        batch_size: Samples drawn at a time; by default 4 on a CPU, else 16. Halved when memory runs out.
        device: By default a GPU if there is one.
        dtype: Of the nets: float32, or bfloat16 or float16 on a GPU.
        compile: Compile the nets and record CUDA graphs, on a GPU.
        provenance: What was trained on what, as JSON-able values.

    Attributes:
        hosts: Whether it wants requests with a host.
        defect_classes: Number of defect classes.

    Raises:
        ValueError: Nets and encoding do not fit together, or a setting is out of range.

    Example:
        >>> from inout_generators.defect_gen.unet import preset
        >>> encoding = Encoding(1, ("crack",))
        >>> nets = (preset(name, channels=encoding.channels) for name in ("tiny_large", "tiny_local"))
        >>> generator = DefectGen(*nets, encoding, size=(64, 64), crop=True)
        >>> generator.hosts, generator.defect_classes
        (True, 1)
    """

    name = "DefectGen"

    def __init__(
        self,
        large: nn.Module,
        local: nn.Module,
        encoding: Encoding,
        *,
        size: tuple[int, int],
        crop: bool = False,
        switch_t: int = SWITCH_T,
        sampler: Sampler = "ddim",
        steps: int = 20,
        schedule: CosineSchedule | None = None,
        regions: Regions = "generated",
        min_area: int = 4,
        feather: float = 2.0,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        compile: bool = False,  # noqa: A002 - torch's word
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.large, self.local, self.encoding = large, local, encoding
        self.size = (int(size[0]), int(size[1]))
        self.crop, self.switch_t, self.sampler, self.steps = crop, switch_t, sampler, steps
        self.schedule = schedule or CosineSchedule()
        self.regions, self.min_area, self.feather = regions, min_area, feather
        # the attribute dtype would say that of the images, to a cache
        self.precision = dtype
        self.provenance = dict(provenance or {})
        check_settings(self)
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        for net in (large, local):
            net.to(device=where, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            net.eval().requires_grad_(False)
            if compile:
                net.compile(mode="reduce-overhead")
        self._batches = Batches(
            large,
            local,
            encoding,
            schedule=self.schedule,
            switch_t=switch_t,
            steps=steps,
            sampler=sampler,
            conditional=classes_of(large) > 0,
            batch_size=batch_size or (4 if where.type == "cpu" else 16),
        )

    def __repr__(self) -> str:
        kind = "crops" if self.crop else "images"
        names = ", ".join(self.encoding.classes)
        return f"DefectGen({names}; {kind} of {self.size[0]}x{self.size[1]}, {self.sampler} in {self.steps} steps)"

    @property
    def hosts(self) -> bool:
        """Whether it wants requests with a host: it knows windows of images, not whole ones."""
        return self.crop

    @property
    def defect_classes(self) -> int:
        """Number of defect classes."""
        return len(self.encoding.classes)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of code version, weights and settings."""
        nets = {"large": self.large, "local": self.local}
        weights = {f"{net}.{key}": value for net in nets for key, value in nets[net].state_dict().items()}
        params = {**folder.describe(self), "dtype": str(self.precision)}
        del params["provenance"]
        return fingerprint(
            type(self), version=_VERSION, weights=weights, params=params, libraries=("torch", "diffusers", "numpy")
        )

    @classmethod
    def from_pretrained(cls, path: PathLike = "surfaces", *, revision: str | None = None, **settings: Any) -> DefectGen:
        """Load a generator from a folder that `save_pretrained` wrote, or from the Hugging Face Hub.

        Args:
            path: The folder; the name of a repository, `owner/name`; or "surfaces", which comes with the package: the
                defects of `inout_aug.datasets.Surfaces(materials=("metal",))` at half its size.
            revision: Branch, tag or commit of the repository.
            settings: Of the constructor, such as `device`, `steps` or `sampler`, where they are to differ.

        Raises:
            FileNotFoundError: There is no such folder, or it lacks a file.
            CheckpointError: A file is damaged, a pickle, of a later version, or does not belong to the others.
        """
        large, local, stored = folder.load(path, revision)
        return cls(large, local, **{**stored, **settings})

    def save_pretrained(self, path: PathLike, *, half: bool = False) -> None:
        """Write a folder: `defect_gen.json`, and each net in diffusers' layout, as safetensors.

        Args:
            path: The folder; made if need be.
            half: Write float16 weights, half as large. What is read back is float32 again.

        Raises:
            TypeError: A net is none of diffusers' models.
            OSError: It cannot be written.
        """
        folder.save(self, path, half=half)

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample per request, in order.

        Requests without a host give images near the trained size, uint8. Requests with one give it back with a defect
        in it, in its dtype; `strength`, in (0, 1], is the share of noise from which the region is drawn anew.

        Raises:
            NoDefectDrawn: The nets do not draw what was asked for.
            ValueError: A request cannot be met; the message says which and why.
        """
        for request in requests:
            check_request(self, request)
        return answered(requests, whole=self._whole, inserted=self._inserted)

    def edit(
        self,
        host: Image,
        mask: ArrayLike | None = None,
        *,
        strength: float = 1.0,
        seed: int = 0,
        defect_class: int = 1,
    ) -> Sample:
        """Return a normal image with a defect in it; every pixel outside the returned mask is the host's.

        Args:
            host: uint8 or uint16, (H, W, C).
            mask: Where the defect goes, (H, W), non-zero inside; None leaves it to `regions`.
            strength: Share of the noise from which the region is drawn anew, in (0, 1].
            seed: Fixes the sample.
            defect_class: From 1.

        Raises:
            NoDefectDrawn: The nets do not draw such a defect.
            TypeError: The host is no uint8 or uint16 array.
            ValueError: Host, mask or a setting is not as it must be; the message says why.
        """
        check_image(host)
        region = None if mask is None else (np.asarray(mask) != 0).astype(np.uint8)
        height, width, channels = host.shape
        asked = Request(
            seed=check_seed(seed),
            height=height,
            width=width,
            channels=channels,
            defect_class=defect_class,
            strength=strength,
            host=host,
            region=region,
        )
        return self.generate([asked])[0]

    def _whole(self, requests: Sequence[Request]) -> list[Sample]:
        wanted = [_Wanted(r.seed, (r.height, r.width), r.defect_class) for r in requests]
        samples = []
        for request, drawn in zip(requests, self._pairs(wanted), strict=True):
            images, _ = self.encoding.decode(drawn.x0[None])
            samples.append(self._sample(images[0], drawn.mask, request, {"attempt": drawn.attempt}))
        return samples

    def _inserted(self, requests: Sequence[Request]) -> list[Sample]:
        places = self._places(requests)
        tasks = [self._filling(request, *place) for request, place in zip(requests, places, strict=True)]
        samples = []
        for request, (window, region), x0 in zip(requests, places, self._batches.draw(tasks), strict=True):
            host = host_of(request)
            made = (x0[: self.encoding.image_channels].permute(1, 2, 0).double().numpy() + 1) / 2
            image, mask = put_back(host, window, made * np.iinfo(host.dtype).max, region, self.feather)
            where = [window.top, window.left, window.height, window.width]
            samples.append(self._sample(image, mask * np.uint8(request.defect_class), request, {"window": where}))
        return samples

    def _places(self, requests: Sequence[Request]) -> list[tuple[Window, Mask]]:
        """Return, for each request, the window of the host that the nets see, and the region in it, 1 inside."""
        places: dict[int, tuple[Window, Mask]] = {}
        wanted: dict[int, _Wanted] = {}
        for k, request in enumerate(requests):
            host = host_of(request)
            rng = stream(request.seed, _PLACE)
            if request.region is not None:
                window = window_around(request.region, self.size) if self.crop else Window(0, 0, *host.shape[:2])
                region = (request.region[window.slices] > 0).astype(np.uint8)
            else:
                window = window_anywhere(host.shape[:2], self.size if self.crop else host.shape[:2], rng)
                region = perlin_region(*window.size, rng)
            places[k] = window, region
            check_reach(self, window.size, "the part of the host that the nets must see")
            if request.region is None and self.regions == "generated":
                wanted[k] = _Wanted(request.seed, window.size, request.defect_class)
        for (k, asked), drawn in zip(wanted.items(), self._pairs(list(wanted.values())), strict=True):
            places[k] = places[k][0], (drawn.mask == asked.defect_class).astype(np.uint8)
        return [places[k] for k in range(len(requests))]

    def _filling(self, request: Request, window: Window, region: Mask) -> Task:
        """Return the task to fill a region: image and mask are known, but for the image inside."""
        host = host_of(request)[window.slices]
        x0 = self.encoding.encode(host[None], (region * np.uint8(request.defect_class))[None])
        held = torch.ones_like(x0, dtype=torch.bool)
        held[:, : self.encoding.image_channels] = torch.from_numpy(region == 0)
        t = max(0, round(request.strength * self.schedule.steps) - 1)
        return Task(
            key=(request.seed, _FILL), size=window.size, defect_class=request.defect_class, known=Known(x0, held, t)
        )

    def _pairs(self, wanted: Sequence[_Wanted]) -> list[_Drawn]:
        """Draw images with masks, anew where a mask does not show what was asked for."""
        found: dict[int, _Drawn] = {}
        for attempt in range(_ATTEMPTS):
            missing = [k for k in range(len(wanted)) if k not in found]
            tasks = [
                Task(key=(wanted[k].seed, _DRAW, attempt), size=wanted[k].size, defect_class=wanted[k].defect_class)
                for k in missing
            ]
            for k, x0 in zip(missing, self._batches.draw(tasks), strict=True):
                _, masks = self.encoding.decode(x0[None])
                mask = without_specks(masks[0], self.min_area)
                if shows(mask, wanted[k].defect_class, self.min_area):
                    found[k] = _Drawn(x0, mask, attempt)
            if len(found) == len(wanted):
                return [found[k] for k in range(len(wanted))]
        lost = next(asked for k, asked in enumerate(wanted) if k not in found)
        name = self.encoding.classes[lost.defect_class - 1]
        raise NoDefectDrawn(
            f"none of {_ATTEMPTS} images drawn for seed {lost.seed} at {lost.size} shows {name!r} (defect class "
            f"{lost.defect_class}) on {self.min_area} pixels or more, and no other class on more. Train longer, or "
            "lower min_area"
        )

    def _sample(self, image: Image, mask: Mask, request: Request, params: Params) -> Sample:
        origin = Origin(generator=self.name, fingerprint=self.fingerprint, seed=(request.seed,), params=params)
        return Sample(image, mask, request.defect_class, origin)


@dataclass(frozen=True, slots=True)
class _Wanted:
    seed: int
    size: tuple[int, int]
    defect_class: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    x0: Tensor
    mask: Mask
    attempt: int
