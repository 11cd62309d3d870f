"""Datasets: KSDD2, the MVTec AD and VisA layouts, folders of your own, and procedural surfaces.

All are plain torch datasets of dicts: `image` as on disk (uint8 or uint16, (H, W, C), RGB), `mask` (uint8, (H, W),
0 = background, k = defect class k), `label` and `path`; with `targets` and `classes`.
"""

from inout_aug.datasets._items import Item, few_shot
from inout_aug.datasets.folder import MaskFolder
from inout_aug.datasets.ksdd2 import KSDD2
from inout_aug.datasets.mvtec import MVTecAD, VisA
from inout_aug.datasets.surfaces import Surfaces

__all__ = ["KSDD2", "Item", "MVTecAD", "MaskFolder", "Surfaces", "VisA", "few_shot"]
