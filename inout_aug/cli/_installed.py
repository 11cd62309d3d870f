"""Subcommands that installed packages add, by entry points of the group `inout_aug.commands`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from typer import Exit, Typer, colors, secho

GROUP = "inout_aug.commands"


def add_installed(app: Typer) -> None:
    """Add a subcommand for each entry point, in order of their names: a typer app, or a function.

    They are loaded now, for the help to list them, so a module with a command imports what is heavy in its functions.
    One that cannot be loaded says so when it is called, and leaves the others alone. The names of the library's own
    subcommands are taken.
    """
    own = {info.name or getattr(info.callback, "__name__", None) for info in app.registered_commands}
    own |= {group.name for group in app.registered_groups}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if point.name in own:
            continue
        try:
            command = point.load()
        except Exception as error:
            command = _broken(point, error)
        if isinstance(command, Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(point.name)(command)
        own.add(point.name)


def _broken(point: EntryPoint, error: Exception) -> Callable[[], None]:
    """Return a command that says why it is none."""

    def command() -> None:
        package = point.dist.name if point.dist else "its package"
        secho(
            f"error: {point.name} of {package} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            fg=colors.RED,
            err=True,
        )
        raise Exit(2)

    command.__doc__ = f"(cannot be loaded: {type(error).__name__})"
    return command
