"""Stable Diffusion with LoRA-c3Lier: In&Out's own in-distribution generator, from zero defects upward."""
