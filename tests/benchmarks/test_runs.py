import json
from pathlib import Path

import pytest
from evidence.protocol import PAPER, STRONG, SYNTHETIC, Cell, grid, parse_shots
from evidence.runs import Run, Runs

CELL = Cell(shots=5, method="memseg", n_aug=100, seed=1)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    run = Run(CELL, [0.5, -1.25], ["abc"], 3.0, 2.0)
    Runs(tmp_path / "new", {"size": (3, 4)}).add(run, commit="1234567")
    assert list(Runs(tmp_path / "new", {"size": [3, 4]})) == list(Runs(tmp_path / "new", None)) == [run]
    assert json.loads((tmp_path / "new" / "few5-memseg-100-1.json").read_text())["commit"] == "1234567"


def test_what_is_there_is_not_wanted_again(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {})
    runs.add(Run(CELL, [1.0], ["abc"], 1.0, 1.0))
    cells = list(grid([5], ["none", "memseg"], [100], range(2), STRONG, cache=True))
    assert runs.missing(cells, lambda cell: ["abc"]) == [cell for cell in cells if cell != CELL]


def test_other_generators_are_refused(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {})
    runs.add(Run(CELL, [1.0], ["abc"], 1.0, 1.0))
    with pytest.raises(ValueError, match="other synthetic samples"):
        runs.missing([CELL], lambda cell: ["abd"])


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Runs(tmp_path, {"model": "resnet18", "size": [1, 2]})
    with pytest.raises(ValueError, match=r'model was "resnet18", now "resnet50"\. Give another --out'):
        Runs(tmp_path, {"model": "resnet50", "size": [1, 2]})


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no runs"):
        Runs(tmp_path, None)


def test_the_grid_leaves_out_what_learns_nothing_or_repeats() -> None:
    zero = list(grid([0], ["none", "oversample", "memseg"], [80, 100], range(1), STRONG, cache=True))
    assert {cell.method for cell in zero} == {"memseg"}
    assert [cell.n_aug for cell in zero] == [80, 100]
    strong = list(grid([5], ["none", "oversample"], [80, 100], range(1), STRONG, cache=True))
    assert [(cell.method, cell.n_aug) for cell in strong] == [("none", 0), ("oversample", 0)]
    # rounds as long as there are positives
    paper = list(grid([5], ["none", "oversample"], [80, 100], range(1), PAPER, cache=True))
    assert [(cell.method, cell.n_aug) for cell in paper] == [("none", 0), ("oversample", 80), ("oversample", 100)]
    names = [cell.name for cell in grid([0, 5, None], SYNTHETIC, [80, 100], range(3), STRONG, cache=True)]
    bare = {cell.method for cell in grid([0], SYNTHETIC, [80], range(1), STRONG, cache=False)}
    assert bare == {"memseg", "stroke", "pastes"}
    assert len(set(names)) == len(names) == 2 * 3 * (5 + 7 + 7)


def test_shots_on_the_command_line() -> None:
    assert [parse_shots(text) for text in ("0", "20", "full")] == [0, 20, None]
    with pytest.raises(ValueError, match="or full; got 'some'"):
        parse_shots("some")
