"""Pasters: defects painted on normal images, out-of-distribution, while training runs."""

from inout_aug.paste.batch import BatchPaste
from inout_aug.paste.copypaste import CopyPaste
from inout_aug.paste.cutpaste import CutPaste
from inout_aug.paste.foreground import HostMasks, Otsu, Threshold
from inout_aug.paste.memseg import MemSegPaste
from inout_aug.paste.nsa import NSA
from inout_aug.paste.perlin import Perlin
from inout_aug.paste.simplex import Simplex
from inout_aug.paste.stroke import StrokePaste
from inout_aug.paste.textures import Textures

__all__ = [
    "NSA",
    "BatchPaste",
    "CopyPaste",
    "CutPaste",
    "HostMasks",
    "MemSegPaste",
    "Otsu",
    "Perlin",
    "Simplex",
    "StrokePaste",
    "Textures",
    "Threshold",
]
