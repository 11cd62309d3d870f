"""Defect-Gen: two-stage diffusion that learns image and mask together from a handful of defects."""
