"""DefectDiffu as a `Generator`: any defect on any product, at any strength, as whole images or in the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from inout_aug.cache.fingerprint import fingerprint
from inout_aug.plugin import Request
from inout_aug.sample import Image, Mask, Origin, Params, Sample, check_image
from inout_aug.seeding import check_seed, stream
from inout_generators.common.checkpoints import PathLike
from inout_generators.common.insertion import Window, answered, host_of, put_back
from inout_generators.common.schedule import LinearSchedule
from inout_generators.defect_gen.checks import check_reach
from inout_generators.defectdiffu import folder
from inout_generators.defectdiffu.checks import (
    Weight,
    check_asked,
    check_request,
    check_settings,
    check_size,
    check_weight,
)
from inout_generators.defectdiffu.drawing import Drawing, Drawn, Task
from inout_generators.defectdiffu.guidance import Asked, Mode
from inout_generators.defectdiffu.hosting import as_host, start_from, window_in, with_channels
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.names import NULL_PRODUCT, check_known
from inout_generators.defectdiffu.sampling import Sampler
from inout_generators.defectdiffu.spaces import Space
from inout_generators.defectdiffu.text import TextEncoder

# raised whenever the same weights and settings give other pixels
_VERSION = "2"
# what a stream is for, so that one seed gives unrelated numbers
_ASKED, _PLACE, _DRAW, _FILL = range(4)
# the paper's strengths
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 2.5)


class DefectDiffu:
    """One text-guided diffusion transformer for many products, with the strength of defects on a dial.

    "DefectDiffu: text-guided diffusion for industrial defect generation": parts of the net are told the product, the
    defect, and both; guidance scales them apart from each other, and where the net looks for the defect is the mask. A
    product that was only ever seen good can so be given the defects of others.

    A sample depends on its own request alone, whatever batch it is drawn in; on a GPU, or when memory ran out, up to
    the last bits of the net's arithmetic.

    Args:
        net: The transformer. It is moved, not copied.
        text: Gives prompts their vectors.
        space: Where the net works: an autoencoder's latents, or pixels.
        products: Names of the products, with the defects that were learned on each; none for one known only as good.
        size: (H, W) that the net was trained at.
        defects: Names of the defects: class k is the kth. By default in the order in which `products` has them.
        product: Those to draw where a request's prompt names none; by default whichever the defect was learned on.
        w_product: How strongly the product is told; a number, or a range to draw from.
        w_defect: How strong the defect is, 1 as learned; a number, or a range to draw from.
        mode: Of the guidance: "eq4", the paper's, "joint" or "full"; see `evaluations`.
        null_product: The word for any product, as trained.
        sampler: See `sample`.
        steps: Timesteps visited.
        schedule: Which the net was trained with; by default DiT's.
        min_area: Connected parts of a mask with a smaller share of the image than so many of 512×512 pixels are
            removed.
        crop: Trained on windows of larger images as they are, not on whole images.
        hosts: Whether it wants requests with a host.
        feather: Pixels, inside the mask, over which a host fades into its defect.
        batch_size: Samples drawn at a time; by default 4 on a CPU, else 16. Halved when memory runs out.
        device: By default a GPU if there is one.
        dtype: Of the net: float32, or bfloat16 or float16 on a GPU; as torch's dtype or its name.
        provenance: What was trained on what, as JSON-able values.

    Raises:
        UnknownName: `product` is none of the products.
        ValueError: The parts do not fit together, a name means two things, or a setting is out of range.

    Example:
        >>> from inout_generators.defectdiffu.model import preset
        >>> from inout_generators.defectdiffu.spaces import PixelSpace
        >>> from inout_generators.defectdiffu.text import NamedEmbedding
        >>> text = NamedEmbedding(products=["tile", "wood"], defects=["crack"], dim=32)
        >>> net = preset("tiny", channels=1, patch=4, text_dim=text.dim)
        >>> generator = DefectDiffu(net, text, PixelSpace(1), products={"tile": ["crack"], "wood": []}, size=(32, 48))
        >>> generator
        DefectDiffu(crack on tile, wood; images of 32x48, eq4, dpm++ in 20 steps)
    """

    name = "DefectDiffu"

    def __init__(
        self,
        net: DefectDiffuTransformer,
        text: TextEncoder,
        space: Space,
        *,
        products: Mapping[str, Sequence[str]],
        size: tuple[int, int],
        defects: Sequence[str] | None = None,
        product: str | Sequence[str] | None = None,
        w_product: Weight = 1.0,
        w_defect: Weight = 1.0,
        mode: Mode = "eq4",
        null_product: str = NULL_PRODUCT,
        sampler: Sampler = "dpm++",
        steps: int = 20,
        schedule: LinearSchedule | None = None,
        min_area: int = 16,
        crop: bool = False,
        hosts: bool = False,
        feather: float = 2.0,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str = torch.float32,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.net, self.text, self.space = net, text, space
        self.products = {name: tuple(known) for name, known in products.items()}
        learned = dict.fromkeys(defect for known in self.products.values() for defect in known)
        self.defects = tuple(learned if defects is None else defects)
        self.chosen = (product,) if isinstance(product, str) else tuple(product or ())
        self.size = (int(size[0]), int(size[1]))
        self.w_product, self.w_defect = check_weight("w_product", w_product), check_weight("w_defect", w_defect)
        self.mode, self.null_product, self.sampler, self.steps = mode, null_product, sampler, steps
        self.schedule = schedule or LinearSchedule()
        self.min_area, self.crop, self.hosts, self.feather = min_area, crop, hosts, feather
        # the attribute dtype would say that of the images, to a cache
        self.precision = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        self.provenance = dict(provenance or {})
        check_settings(self)
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        net.to(device=where, dtype=self.precision)
        for part in (net, text, space):
            if isinstance(part, nn.Module):
                part.to(device=where).eval().requires_grad_(False)
        self._drawing = Drawing(
            net,
            text,
            space,
            schedule=self.schedule,
            sampler=sampler,
            steps=steps,
            mode=mode,
            null_product=null_product,
            min_area=min_area,
            batch_size=batch_size or (4 if where.type == "cpu" else 16),
        )

    def __repr__(self) -> str:
        kind = "crops" if self.crop else "images"
        return (
            f"DefectDiffu({', '.join(self.defects)} on {', '.join(self.products)}; {kind} of "
            f"{self.size[0]}x{self.size[1]}, {self.mode}, {self.sampler} in {self.steps} steps)"
        )

    @property
    def defect_classes(self) -> int:
        """Number of defects."""
        return len(self.defects)

    @property
    def channels(self) -> int:
        """Of the images: 1 or 3."""
        return self.space.image_channels

    @property
    def cell(self) -> int:
        """Pixels that the sides of an image are multiples of."""
        return int(self.space.factor * self.net.config["patch"])

    @property
    def emptied(self) -> int:
        """Number of samples drawn anew because their mask was empty."""
        return self._drawing.emptied

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of code version, weights and settings."""
        parts = {"net": self.net, "text": self.text, "space": self.space}
        modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
        weights = {f"{name}.{key}": value for name, part in modules.items() for key, value in part.state_dict().items()}
        kinds = {name: type(part).__name__ for name, part in parts.items()}
        params = {**folder.describe(self), **kinds, "dtype": str(self.precision)}
        for idle in ("provenance", "hosts"):
            del params[idle]
        return fingerprint(
            type(self), version=_VERSION, weights=weights, params=params, libraries=("torch", "diffusers", "numpy")
        )

    @classmethod
    def from_pretrained(cls, path: PathLike, *, revision: str | None = None, **settings: Any) -> DefectDiffu:
        """Load a generator from a folder that `save_pretrained` wrote, or from the Hugging Face Hub.

        Args:
            path: The folder, or the name of a repository, `owner/name`.
            revision: Branch, tag or commit of the repository.
            settings: Of the constructor, such as `product`, `w_defect` or `steps`, where they are to differ.

        Raises:
            FileNotFoundError: There is no such folder, or it lacks a file.
            CheckpointError: A file is damaged, a pickle, of a later version, or does not belong to the others.
        """
        return cls(**{**folder.load(path, revision), **settings})

    def save_pretrained(self, path: PathLike, *, half: bool = False) -> None:
        """Write a folder: `defectdiffu.json`, and net, text encoder and autoencoder as safetensors.

        Args:
            path: The folder; made if need be.
            half: Write the net's weights as float16, half as large. What is read back is float32 again.

        Raises:
            TypeError: A part is none that can be saved.
            OSError: It cannot be written.
        """
        folder.save(self, path, half=half)

    def products_with(self, defect: str) -> tuple[str, ...]:
        """Return the products that a defect is drawn on where none is named."""
        return self.chosen or tuple(product for product, known in self.products.items() if defect in known)

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample per request, in order.

        `defect_class` numbers the defect; `prompt` names the product, or None draws one. Requests without a host give
        whole images, uint8; `strength` multiplies `w_defect`. Requests with one give it back with a defect in it, in
        its dtype; `strength`, in (0, 1], is the share of noise from which the region is drawn anew.

        Raises:
            NoDefectDrawn: The net draws no defect.
            ValueError: A request cannot be met; the message says which and why.
        """
        for request in requests:
            check_request(self, request)
        return answered(requests, whole=self._whole, inserted=self._inserted)

    def sample(
        self, product: str, defect: str, *, seed: int = 0, strength: float = 1.0, size: tuple[int, int] | None = None
    ) -> Sample:
        """Return a product with a defect, also one that it was never seen with.

        Args:
            product: Name.
            defect: Name.
            seed: Fixes the sample.
            strength: Multiplies `w_defect`.
            size: (H, W); by default that of the training.

        Raises:
            NoDefectDrawn: The net draws no such defect.
            UnknownName: A name is unknown; the message suggests the nearest.
            ValueError: A setting is out of range.
        """
        height, width = size or self.size
        shape = height, width, self.channels
        return self.generate([self._request(product, defect, shape, seed=check_seed(seed), strength=strength)])[0]

    def series(
        self,
        product: str,
        defect: str,
        *,
        strengths: Sequence[float] = STRENGTHS,
        w_product: float = 1.0,
        seed: int = 0,
        size: tuple[int, int] | None = None,
    ) -> list[Drawn]:
        """Return the same noise drawn with several strengths of a defect, as they come: masks may be empty.

        Args:
            product: Name.
            defect: Name.
            strengths: Each a w_defect; 0 is no defect.
            w_product: How strongly the product is told.
            seed: Fixes the noise.
            size: (H, W); by default that of the training.

        Raises:
            UnknownName: A name is unknown; the message suggests the nearest.
            ValueError: A setting is out of range.
        """
        check_asked(self, product, defect)
        check_size(self, size or self.size)
        for weight in (w_product, *strengths):
            check_weight("a weight", weight)
        key = (check_seed(seed), _DRAW, 0)
        asked = [Asked(product, defect, w_product, strength) for strength in strengths]
        return self._drawing.draw([Task(asked=each, key=key, size=size or self.size) for each in asked])

    def edit(
        self,
        host: Image,
        mask: ArrayLike | None = None,
        *,
        product: str,
        defect: str,
        strength: float = 1.0,
        seed: int = 0,
    ) -> Sample:
        """Return a normal image with a defect in it; every pixel outside the returned mask is the host's.

        Args:
            host: uint8 or uint16, (H, W, C), of about the trained size, or larger where trained on crops.
            mask: Where the defect may go, (H, W), non-zero inside; None leaves it to the net.
            product: Name of what the host shows.
            defect: Name.
            strength: Share of the noise from which the region is drawn anew, in (0, 1].
            seed: Fixes the sample.

        Raises:
            NoDefectDrawn: The net draws no such defect.
            TypeError: The host is no uint8 or uint16 array.
            UnknownName: A name is unknown; the message suggests the nearest.
            ValueError: Host, mask or a setting is not as it must be; the message says why.
        """
        check_image(host)
        region = None if mask is None else (np.asarray(mask) != 0).astype(np.uint8)
        more = {"seed": check_seed(seed), "strength": strength, "host": host, "region": region}
        return self.generate([self._request(product, defect, host.shape, **more)])[0]

    def _request(self, product: str, defect: str, shape: Sequence[int], **more: Any) -> Request:
        number = self.defects.index(check_known(defect, self.defects, "defect")) + 1
        height, width, channels = shape
        return Request(height=height, width=width, channels=channels, defect_class=number, prompt=product, **more)

    def _whole(self, requests: Sequence[Request]) -> list[Sample]:
        asked = [self._asked(request) for request in requests]
        tasks = [
            Task(asked=each, key=(request.seed, _DRAW), size=(request.height, request.width))
            for request, each in zip(requests, asked, strict=True)
        ]
        samples = []
        for request, each, (drawn, attempt) in zip(requests, asked, self._drawing.shown(tasks), strict=True):
            image = cast(Image, with_channels(drawn.image, request.channels))
            samples.append(self._sample(image, drawn.mask, request, {**each._asdict(), "attempt": attempt}))
        return samples

    def _inserted(self, requests: Sequence[Request]) -> list[Sample]:
        asked = [self._asked(request) for request in requests]
        places = self._places(requests, asked)
        tasks = [
            Task(
                asked=each, key=(request.seed, _FILL), size=place[0].size, start=start_from(self.space, request, *place)
            )
            for request, each, place in zip(requests, asked, places, strict=True)
        ]
        samples = []
        shown = self._drawing.shown(tasks)
        for request, each, (window, _), (drawn, attempt) in zip(requests, asked, places, shown, strict=True):
            host = host_of(request)
            image, mask = put_back(host, window, as_host(drawn, host), drawn.mask, self.feather)
            where = [window.top, window.left, window.height, window.width]
            samples.append(self._sample(image, mask, request, {**each._asdict(), "attempt": attempt, "window": where}))
        return samples

    def _places(self, requests: Sequence[Request], asked: Sequence[Asked]) -> list[tuple[Window, Mask]]:
        """Return, for each request, the window of the host that the net sees, and where in it the defect may go."""
        windows, unplaced = [], []
        for request, each in zip(requests, asked, strict=True):
            size, rng = self.size if self.crop else None, stream(request.seed, _PLACE)
            windows.append(window_in(host_of(request).shape, request.region, size, self.cell, rng))
            check_reach(self, windows[-1].size, "the part of the host that the net must see")
            if request.region is None:
                unplaced.append(Task(asked=each, key=(request.seed, _DRAW), size=windows[-1].size))
        # where the net would put it in an image of its own
        drawn = iter(self._drawing.shown(unplaced))
        return [
            (window, next(drawn)[0].mask if region is None else (region[window.slices] > 0).astype(np.uint8))
            for window, region in zip(windows, (request.region for request in requests), strict=True)
        ]

    def _asked(self, request: Request) -> Asked:
        """Return what a request asks the net for: what it leaves open is drawn from its seed."""
        rng = stream(request.seed, _ASKED)
        defect = self.defects[request.defect_class - 1]
        w_product, w_defect = (float(rng.uniform(*weight)) for weight in (self.w_product, self.w_defect))
        product = request.prompt or str(rng.choice(self.products_with(defect)))
        check_asked(self, product, defect)
        # a host's strength is its share of noise
        return Asked(product, defect, w_product, w_defect * (request.strength if request.host is None else 1))

    def _sample(self, image: Image, mask: Mask, request: Request, params: Params) -> Sample:
        origin = Origin(generator=self.name, fingerprint=self.fingerprint, seed=(request.seed,), params=params)
        return Sample(image, mask * np.uint8(request.defect_class), request.defect_class, origin)
