"""Subcommands of `inout-aug` that need the diffusion stack; it is imported when they run."""
