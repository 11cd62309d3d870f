"""`inout-aug review`: decide which samples of a cache are drawn, and of which class they are."""

from __future__ import annotations

import getpass
from typing import Annotated

from typer import Argument, Option, Typer, echo

from inout_aug.cli._errors import one_line_errors
from inout_aug.cli.cache import Where

app = Typer(help="Decisions about the samples of a cache.", no_args_is_help=True)

Indices = Annotated[list[int], Argument(help="Numbers of the samples, as on the sheet.", metavar="SAMPLE...", min=0)]
Who = Annotated[str | None, Option(help="Who decides; default: the user's name on this machine.")]
Why = Annotated[str, Option(help="For what reason.")]


@app.command(name="list")
def list_(where: Where) -> None:
    """Say what was decided, the oldest decision first."""
    with one_line_errors():
        from inout_aug.cache.review import Review

        review = Review(where)
    for decision in review.history:
        label = "" if decision.label is None else f" to class {decision.label}"
        words = [f"sample {decision.index}: {decision.verdict}{label}", decision.who, decision.when, decision.why]
        echo(", ".join(word for word in words if word))
    rejected = len(review.cache) - int(review.accepted.sum())
    stale = f"; {review.stale} decisions are about samples that are not there" if review.stale else ""
    echo(f"{rejected} of {len(review.cache)} samples are rejected{stale}")


@app.command()
def accept(where: Where, samples: Indices, who: Who = None, why: Why = "") -> None:
    """Draw samples again that were rejected."""
    with one_line_errors():
        from inout_aug.cache.review import Review

        Review(where).accept(samples, who=_name(who), why=why)


@app.command()
def reject(where: Where, samples: Indices, who: Who = None, why: Why = "") -> None:
    """Do not draw samples."""
    with one_line_errors():
        from inout_aug.cache.review import Review

        Review(where).reject(samples, who=_name(who), why=why)


@app.command()
def relabel(
    where: Where,
    samples: Indices,
    label: Annotated[int, Option(min=1, max=255, help="Defect class that they are of.")],
    who: Who = None,
    why: Why = "",
) -> None:
    """Say of which class samples are; their masks change with them."""
    with one_line_errors():
        from inout_aug.cache.review import Review

        Review(where).relabel(samples, label, who=_name(who), why=why)


def _name(who: str | None) -> str:
    if who is not None:
        return who
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without an entry, as in containers; KeyError before Python 3.13
        return ""
