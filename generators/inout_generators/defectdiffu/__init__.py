"""DefectDiffu: one text-guided diffusion transformer for many products: defects of any strength, with masks."""
