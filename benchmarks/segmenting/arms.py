"""What is compared: how many real defects, synthetic ones and normal images a network is trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from evidence.images import Images

from inout_aug import InOutAugment
from inout_aug.dataset import InOutDataset
from inout_aug.datasets import Item
from inout_aug.plugin import Member

# what makes synthetic defects, given the real samples of a training
Maker: TypeAlias = Callable[[Images], Member]

RATIOS = (0.0, 0.2, 0.5, 1.0, 2.0, 3.0)
NORMALS = (0.0, 0.2, 1.0, 2.0, 3.0)
UNIFORM = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to make a training set.

    Attributes:
        shots: Real defects; None for all there are.
        ratio: Synthetic defects per real one.
        uniform: Instead: how many real and synthetic defects there are to be.
        normals: Normal images per defect, real or synthetic.
    """

    shots: int | None
    ratio: float = 0.0
    uniform: int | None = None
    normals: float = 1.0

    @property
    def name(self) -> str:
        """In tables."""
        real = "all real defects" if self.shots is None else f"{self.shots} real defects"
        if self.uniform is not None:
            return f"{real}, filled up to {self.uniform}"
        return f"{real}, {self.ratio:g}x synthetic" if self.ratio else f"{real}, no synthetic"

    def wrap(
        self, training: Images, makers: Sequence[Maker], seed: int, transform: Callable[[Item], Item] | None = None
    ) -> InOutDataset:
        """Return the training set: defects chosen by seed, synthetic ones, and normals; transformed item by item."""
        real = training.shots(self.shots, seed)
        added = round(self.ratio * sum(real.targets)) if self.uniform is None else None
        members = [make(real) for make in makers]
        augment = InOutAugment(generators=members, n_aug=added, uniform=self.uniform, normals=self.normals, seed=seed)
        return augment(real, transform=transform, transform_on="item")


@dataclass(frozen=True, slots=True)
class Section:
    """Arms that make a table; the first one is what the others are compared with.

    Attributes:
        title: Of the table.
        source: Whose protocol it is.
        arms: By their names in the table.
    """

    title: str
    source: str
    arms: dict[str, Arm]


def sections(shots: int) -> dict[str, Section]:
    """Return what can be measured, by name: Defect Spectrum's protocols with few defects, DefectDiffu's with all."""
    return {
        "ratio": Section(
            f"Synthetic defects per real one, {shots} real defects",
            "Defect Spectrum, Figure 8 and the supplement's Figure 1: +20 % helps already, 300 % less than 200 %",
            {f"{ratio:g}": Arm(shots=shots, ratio=ratio) for ratio in RATIOS},
        ),
        "uniform": Section(
            f"{shots} real defects, filled up to {UNIFORM} with synthetic ones",
            "Defect Spectrum's supplement: DeepLabV3+ 51.58 to 54.87, MiT-B0 46.45 to 56.21 mIoU",
            {"real only": Arm(shots=shots), f"uniform {UNIFORM}": Arm(shots=shots, uniform=UNIFORM)},
        ),
        "normals": Section(
            f"Normal images per defect, {shots} real defects, nothing synthetic",
            "Defect Spectrum's supplement, Table 3: source 51.58; 20 % 53.87, 100 % 53.06, 200 % 53.38, 300 % 53.04",
            {f"{share:.0%}": Arm(shots=shots, normals=share) for share in NORMALS},
        ),
        "double": Section(
            "All real defects, and twice as many synthetic ones",
            "DefectDiffu, Table 2: 60.3 to 67.1 IoU (MVTec AD), 63.96 to 66.08 (KSDD2)",
            {"real only": Arm(shots=None), "synthetic 2x": Arm(shots=None, ratio=2.0)},
        ),
    }
