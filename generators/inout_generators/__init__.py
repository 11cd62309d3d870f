"""In-distribution generators: models that learned real defects. They know `Sample` and `Generator`, nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inout_generators.defect_gen.generator import DefectGen
    from inout_generators.defectdiffu.generator import DefectDiffu
    from inout_generators.defectdiffu.official import load_official as load_official_defectdiffu
    from inout_generators.lora.generator import LoRADiffusion
    from inout_generators.lora.inpaint import LoRAInpaint

__all__ = ["DefectDiffu", "DefectGen", "LoRADiffusion", "LoRAInpaint", "load_official_defectdiffu"]

# name -> its module, and its name there
_HOME = {
    "DefectDiffu": ("inout_generators.defectdiffu.generator", "DefectDiffu"),
    "DefectGen": ("inout_generators.defect_gen.generator", "DefectGen"),
    "LoRADiffusion": ("inout_generators.lora.generator", "LoRADiffusion"),
    "LoRAInpaint": ("inout_generators.lora.inpaint", "LoRAInpaint"),
    "load_official_defectdiffu": ("inout_generators.defectdiffu.official", "load_official"),
}


def __getattr__(name: str) -> object:
    # a model's libraries are imported when the model is asked for
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
