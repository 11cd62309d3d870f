"""The command `inout-aug`: one file per subcommand. What a subcommand needs is imported when it runs."""

import typer

from inout_aug.cli import cache, demo, evaluate, review, sheet, sweep
from inout_aug.cli._installed import add_installed

app = typer.Typer(
    name="inout-aug",
    help="Synthetic defects inside any PyTorch training loop.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(demo.demo)
app.command()(sheet.sheet)
app.command()(evaluate.evaluate)
app.command()(sweep.sweep)
app.add_typer(cache.app, name="cache")
app.add_typer(review.app, name="review")
add_installed(app)
