"""How good synthetic defects are: measured against real ones, before any training.

`evaluate` measures all at once and `write_report` shows it; `kid`, `fid`, `memorisation`, `diversity` and
`compare_shapes` measure one thing each, of feature vectors or masks.
"""

from inout_aug.evaluate.diversity import Diversity, diversity
from inout_aug.evaluate.evaluation import Evaluation, defective, evaluate
from inout_aug.evaluate.fidelity import Fidelity, fid, fidelity, kid, kid_interval
from inout_aug.evaluate.memorisation import Memorisation, memorisation
from inout_aug.evaluate.perceptual import LPIPS, Perceptual
from inout_aug.evaluate.report import write_report
from inout_aug.evaluate.shapes import Comparison, Shape, compare_shapes, shape_of
from inout_aug.evaluate.views import Looks, crop_side, looks, turned_pictures, view

__all__ = [
    "LPIPS",
    "Comparison",
    "Diversity",
    "Evaluation",
    "Fidelity",
    "Looks",
    "Memorisation",
    "Perceptual",
    "Shape",
    "compare_shapes",
    "crop_side",
    "defective",
    "diversity",
    "evaluate",
    "fid",
    "fidelity",
    "kid",
    "kid_interval",
    "looks",
    "memorisation",
    "shape_of",
    "turned_pictures",
    "view",
    "write_report",
]
