"""Double-free guidance: how strongly product and defect are told, apart from each other.

DefectDiffu, section 3.3, equation 4. All of a step's evaluations are one batch, of which the product's blocks run but
once for all that is told of one product; and what timesteps and texts do to the layers is computed once for all steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from inout_generators.common.schedule import Schedule
from inout_generators.defectdiffu.diffusion import noise_told
from inout_generators.defectdiffu.model import Conditions, DefectDiffuTransformer
from inout_generators.defectdiffu.names import GOOD, NULL_PRODUCT, prompts
from inout_generators.defectdiffu.text import TextEncoder

Mode: TypeAlias = Literal["eq4", "joint", "full"]


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What a mode evaluates, and which differences it scales.

    Attributes:
        told: Of each evaluation, whether it is told the defect, and whether the product. The last one is told the
            defect: variance and mask are its own.
        product: The two evaluations whose difference w_product scales; None for none.
        defect: The two whose difference w_defect scales.
    """

    told: tuple[tuple[bool, bool], ...]
    product: tuple[int, int] | None
    defect: tuple[int, int]


_SCHEMES: dict[Mode, _Scheme] = {
    "eq4": _Scheme(((False, False), (False, True), (True, False)), (0, 1), (0, 2)),
    "joint": _Scheme(((False, True), (True, True)), None, (0, 1)),
    "full": _Scheme(((False, False), (False, True), (True, True)), (0, 1), (1, 2)),
}


class Told(NamedTuple):
    """What one evaluation is told: names of a defect and of a product."""

    defect: str
    product: str


def evaluations(mode: Mode, defect: str, product: str, null_product: str = NULL_PRODUCT) -> list[Told]:
    """Return what the net is told in each evaluation of a step: 3 for "eq4", 2 for "joint", 3 for "full".

    Args:
        mode: "eq4" is the paper's, which never tells defect and product together, so that a product may get a defect
            that it was never seen with; "joint" and "full" want pairs that were.
        defect: The one wanted.
        product: The one wanted.
        null_product: The word for any product.

    Raises:
        ValueError: There is no such mode.

    Example:
        >>> evaluations("eq4", "crack", "tile")[-1]
        Told(defect='crack', product='industry')
    """
    if mode not in _SCHEMES:
        raise ValueError(f"mode is one of {', '.join(get_args(Mode))}; got {mode!r}")
    return [Told(defect if d else GOOD, product if p else null_product) for d, p in _SCHEMES[mode].told]


def combined(mode: Mode, noise: Tensor, w_product: Tensor, w_defect: Tensor) -> Tensor:
    """Return the guided noise: equation 4, or its variants.

    Args:
        mode: See `evaluations`.
        noise: Of each evaluation, (3 or 2, B, C, H, W); all channels are guided.
        w_product: Of each sample, (B,).
        w_defect: Of each sample, (B,).

    Returns:
        (B, C, H, W).

    Example:
        >>> noise = torch.tensor([0.0, 1.0, 10.0]).reshape(3, 1, 1, 1, 1)
        >>> combined("eq4", noise, torch.tensor([1.0]), torch.tensor([2.0])).item()
        21.0
    """
    scheme, guided = _SCHEMES[mode], noise[0]
    for pair, weight in ((scheme.product, w_product), (scheme.defect, w_defect)):
        if pair is not None:
            start, end = pair
            guided = guided + weight.reshape(-1, 1, 1, 1) * (noise[end] - noise[start])
    return guided


class Asked(NamedTuple):
    """What one sample is to show.

    Attributes:
        product: Name.
        defect: Name.
        w_product: How strongly the product is told; 1 is as learned.
        w_defect: How strong the defect is; 1 is as learned, 0 is none.
    """

    product: str
    defect: str
    w_product: float = 1.0
    w_defect: float = 1.0


class Guided:
    """A net under guidance, for one batch of samples and all its timesteps.

    Args:
        net: The net.
        text: Gives prompts their vectors.
        asked: What each sample is to show.
        times: Timesteps that will be visited.
        schedule: Which the net was trained with.
        mode: See `evaluations`.
        null_product: The word for any product.

    Raises:
        ValueError: There is no such mode.
    """

    def __init__(
        self,
        net: DefectDiffuTransformer,
        text: TextEncoder,
        asked: Sequence[Asked],
        times: Sequence[int],
        schedule: Schedule,
        *,
        mode: Mode = "eq4",
        null_product: str = NULL_PRODUCT,
    ) -> None:
        self._net, self._mode, self.device = net, mode, net.y_embedders.weight.device
        self._times, self._schedule = list(times), schedule
        told = [evaluations(mode, each.defect, each.product, null_product) for each in asked]
        known = list(dict.fromkeys(itertools.chain(*told)))
        # each by itself, since other batch sizes give other last bits
        parts = [self._told(text, each, times) for each in known]
        # the rows are the third axis from the end of every part
        self._conditions = Conditions(*(torch.cat(each, each[0].dim() - 3) for each in zip(*parts, strict=True)))
        starts = [[known.index(several[k]) * len(times) for several in told] for k in range(len(told[0]))]
        self._starts = torch.tensor(starts, device=self.device)
        self._w_product = torch.tensor([each.w_product for each in asked], device=self.device)
        self._w_defect = torch.tensor([each.w_defect for each in asked], device=self.device)
        # evaluations that are told the same of the product are one until the defect's blocks
        products = [product for _, product in _SCHEMES[mode].told]
        kinds = list(dict.fromkeys(products))
        self._tellers = [products.index(kind) for kind in kinds]
        samples = torch.arange(len(asked), device=self.device)
        self._branches = torch.cat([kinds.index(product) * len(asked) + samples for product in products])

    def __call__(self, x: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise, variance and mask latent, each (B, C, H, W), float32.

        Args:
            x: Noised latents, (B, C, H, W).
            step: Number, in `times`, of the timestep that they are noised to.
        """
        rows = self._starts + step
        conditions = self._conditions.take(rows[self._tellers].flatten(), rows.flatten(), rows.flatten())
        z = x.to(conditions.final.dtype).repeat(len(self._tellers), 1, 1, 1)
        said = self._net.denoise(z, conditions, self._branches)
        told, variance = said.out.float().reshape(-1, len(x), *said.out.shape[1:]).chunk(2, 2)
        guided = combined(self._mode, told, self._w_product, self._w_defect)
        # the weights add up to 1, so it makes no difference which of the two is guided
        at = torch.full((len(x),), self._times[step])
        noise = noise_told(self._schedule, x, guided, at, self._net.config["predicts"])
        return noise, variance[-1], said.mask_latent[-len(x) :].float()

    def _told(self, text: TextEncoder, told: Told, times: Sequence[int]) -> Conditions:
        """Return what a defect and a product do to each layer at all timesteps."""
        like = self._net.y_embedders.weight
        vectors = [text.encode([prompt]).to(like) for prompt in prompts(told.defect, told.product)]
        defect, product, fusion = (vector.expand(len(times), -1) for vector in vectors)
        return self._net.conditions(torch.tensor(times, device=self.device), defect, product, fusion)
