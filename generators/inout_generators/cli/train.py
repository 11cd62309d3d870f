"""`inout-aug train`: make a generator out of your own defects."""

from __future__ import annotations

from typer import Typer

from inout_generators.cli.train_defect_gen import defect_gen
from inout_generators.cli.train_defectdiffu import defectdiffu
from inout_generators.cli.train_lora import lora

app = Typer(help="Train a generator of defects.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train a generator of defects."""


app.command()(defect_gen)
app.command()(defectdiffu)
app.command()(lora)
