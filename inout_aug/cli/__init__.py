"""The command `inout-aug`: one file per subcommand. What a subcommand needs is imported when it runs."""

import typer

from inout_aug.cli import sheet

app = typer.Typer(
    name="inout-aug",
    help="Synthetic defects inside any PyTorch training loop.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(sheet.sheet)


@app.callback()
def main() -> None:
    """Keep the subcommand's name on the command line, even while there is only one."""
