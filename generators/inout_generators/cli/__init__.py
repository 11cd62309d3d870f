"""Subcommands of `inout-aug` that need the diffusion stack; it is imported when they run."""

# before any of them: it loads them, and would find half a module if one of them loaded it
import inout_aug.cli  # noqa: F401
