"""`inout-aug review` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from inout_aug.cache import fill_cache
from inout_aug.cache.review import Review
from inout_aug.cli import app
from standin import Noise


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    fill_cache(Noise(), tmp_path / "tile", 10, shape=(24, 24, 1), progress=False)
    return tmp_path / "tile"


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["review", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_decisions_by_command(tile: Path) -> None:
    run("reject", tile, 3, 7, "--who", "ana", "--why", "blurred")
    run("accept", tile, 7, "--who", "ben")
    run("relabel", tile, 5, "--label", 2, "--who", "")
    review = Review(tile)
    assert np.flatnonzero(~review.accepted).tolist() == [3]
    assert review.labels.tolist() == [1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    lines = run("list", tile).output.splitlines()
    when = review.history[0].when
    assert lines[:3] == [
        f"sample 3: reject, ana, {when}, blurred",
        f"sample 7: reject, ana, {when}, blurred",
        f"sample 7: accept, ben, {review.history[2].when}",
    ]
    assert lines[3].startswith("sample 5: relabel to class 2, 2")
    assert lines[4] == "1 of 10 samples are rejected"


def test_who_decides_is_the_user_unless_told(tile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carla")
    run("reject", tile, 0)
    assert Review(tile).history[0].who == "carla"


def test_mistakes_are_one_line(tile: Path, tmp_path: Path) -> None:
    assert run("reject", tile, 99, code=2).stderr.startswith("error: the cache has no sample [99]")
    assert run("list", tmp_path / "none", code=2).stderr.startswith("error: there is no cache")
    assert run("relabel", tile, 1, "--label", 0, code=2).stderr.startswith("Usage:")
    assert Review(tile).history == ()


def test_decisions_about_an_earlier_cache_are_counted_apart(tile: Path) -> None:
    run("reject", tile, 1)
    for path in tile.iterdir():
        if path.suffix != ".jsonl":
            path.unlink()
    fill_cache(Noise(), tile, 10, shape=(24, 24, 1), seed=5, progress=False)
    assert run("list", tile).output == (
        "0 of 10 samples are rejected; 1 decisions are about samples that are not there\n"
    )
