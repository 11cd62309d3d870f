"""Double-free: which of a training picture's two names the model is told, and which it must do without."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inout_generators.defectdiffu.names import GOOD, NULL_PRODUCT, Prompts, prompts


class Told(NamedTuple):
    """What the model is told of a training picture.

    Attributes:
        product: Its product, or the null product.
        defect: Its defect, or "good".
        hidden: There is a defect of which the model is not told.
    """

    product: str
    defect: str
    hidden: bool

    @property
    def prompts(self) -> Prompts:
        """The prompts; that of the fusion blocks has the names that are left."""
        return prompts(self.defect, self.product)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleFree:
    """Drops the product's name and the defect's, so that both directions of the guidance are learned.

    Liu et al., "DefectDiffu" (2024), algorithm 1, where every name is dropped once, independently of the other. The
    picture stays as it is: a defect of which nothing is told is a defective picture that is called good.

    Args:
        product: Probability p1 that a product becomes the null product.
        defect: Probability p2 that a defect becomes "good".
        literal_algorithm1: Drop the product of a defective picture twice, as the algorithm is written: it is gone with
            probability 1 - (1 - p1)².
        keep: Products whose names are never dropped.
        null_product: The word for any product.

    Raises:
        ValueError: A probability is none.

    Example:
        >>> drop = DoubleFree(product=1.0, defect=0.0)
        >>> drop(["tile"], ["crack"], np.random.default_rng(0))[0].prompts.fusion
        'a photo of crack industry'
    """

    product: float = 0.2
    defect: float = 0.2
    literal_algorithm1: bool = False
    keep: Collection[str] = ()
    null_product: str = NULL_PRODUCT

    def __post_init__(self) -> None:
        if not 0 <= self.product <= 1 or not 0 <= self.defect <= 1:
            raise ValueError(
                f"the probabilities to drop a product and a defect are in [0, 1]; got {self.product} and {self.defect}"
            )

    def __call__(self, products: Sequence[str], defects: Sequence[str], rng: np.random.Generator) -> list[Told]:
        """Return what is told of some pictures.

        Args:
            products: Their products.
            defects: Their defects; "good" for none.
            rng: The only source of randomness.
        """
        draws = rng.random((len(products), 3))
        return [
            self._told(product, defect, draw)
            for product, defect, draw in zip(products, defects, draws.tolist(), strict=True)
        ]

    def _told(self, product: str, defect: str, draws: Sequence[float]) -> Told:
        first, second, third = draws
        defective = defect != GOOD
        hidden = defective and second < self.defect
        dropped = first < self.product or (self.literal_algorithm1 and defective and third < self.product)
        return Told(
            self.null_product if dropped and product not in self.keep else product, GOOD if hidden else defect, hidden
        )
