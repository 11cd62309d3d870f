"""In-distribution generators: models that learned real defects. They know `Sample` and `Generator`, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inout_generators.defect_gen.generator import DefectGen
    from inout_generators.lora.generator import LoRADiffusion

__all__ = ["DefectGen", "LoRADiffusion"]


def __getattr__(name: str) -> object:
    # a model's libraries are imported when the model is asked for
    if name == "DefectGen":
        from inout_generators.defect_gen.generator import DefectGen

        return DefectGen
    if name == "LoRADiffusion":
        from inout_generators.lora.generator import LoRADiffusion

        return LoRADiffusion
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
