"""A user's mistake is one line and exit code 2, not a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from inout_aug.cache.errors import CacheError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print what the library refuses in one line and leave with exit code 2; any other error keeps its traceback."""
    try:
        yield
    except (CacheError, ImportError, KeyError, OSError, TypeError, ValueError) as error:
        # str() of a KeyError is in quotes
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.secho(f"error: {' '.join(str(message).split())}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
