import json

import pytest
from typer.testing import CliRunner

from inout_aug.cli import app

runner = CliRunner()

TRAINING = """
import torch
from torch.utils.data import DataLoader
from inout_aug.dataset import InOutDataset
from inout_aug.datasets import Surfaces

dataset = Surfaces(20, size=(32, 32), binary=True)
calls = []

def few(seed):
    return Surfaces(10, size=(32, 32), binary=True, seed=seed)

def by_ratio(train):
    assert isinstance(train, InOutDataset)
    calls.append(len(train))
    return 1 - abs(len(train) - 30) / 100 + 0.01 * torch.rand(()).item()

def by_loader(loader, seed):
    assert isinstance(loader, DataLoader)
    drawn = [label for batch in loader for label in batch["label"].tolist()]
    calls.append((seed, len(drawn), sum(drawn)))
    return torch.tensor(len(drawn) / 100)

def wrong(train):
    return {"ap": 1}

def hopeless(train):
    return float("nan")

def broken(train):
    return 1 / 0
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a user's module, which is the current one; its name is new for every test."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(TRAINING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def run(name, function="by_ratio", dataset="dataset", *arguments):
    options = ["--dataset", f"{name}:{dataset}", "--generator", "cutpaste", "--seeds", 2, *arguments]
    return runner.invoke(app, ["sweep", f"{name}:{function}", *map(str, options)])


def rows(folder):
    return json.loads((folder / "inout-sweep" / "sweep.json").read_text())["rows"]


def test_it_finds_the_best_ratio_and_draws_the_curve(here, tmp_path):
    result = run(here)
    assert result.exit_code == 0, result.output
    assert "Best ratio: 0.5, score 1.00" in result.stdout
    assert "training" in result.stderr
    assert {path.name for path in (tmp_path / "inout-sweep").iterdir()} == {"sweep.json", "sweep.png"}
    assert [(row["seed"], row["ratio"]) for row in rows(tmp_path)][:7] == [
        *((0, 0), (0, 0.2), (0, 0.5), (0, 1), (0, 2), (0, 3)),
        (1, 0),
    ]
    assert [row["synthetic"] for row in rows(tmp_path)][:6] == [0, 4, 10, 20, 40, 60]


def test_a_second_run_goes_on_and_the_same_seed_gives_the_same_score(here, tmp_path):
    assert run(here, "by_ratio", "dataset", "--ratios", "0,1").exit_code == 0
    first = rows(tmp_path)
    assert run(here, "by_ratio", "dataset", "--ratios", "1,0,2", "--seeds", 3).exit_code == 0
    assert rows(tmp_path)[:4] == first
    assert len(rows(tmp_path)) == 9
    module = __import__(here)
    assert len(module.calls) == 9
    (tmp_path / "inout-sweep" / "sweep.json").unlink()
    assert run(here, "by_ratio", "dataset", "--ratios", "0,1").exit_code == 0
    assert [row["score"] for row in rows(tmp_path)] == [row["score"] for row in first]


def test_a_loader_has_as_many_samples_at_any_ratio(here):
    result = run(here, "by_loader", "few", "--batch", 4, "--ratios", "0,3")
    assert result.exit_code == 0, result.output
    calls = __import__(here).calls
    assert [(seed, drawn) for seed, drawn, _ in calls] == [(0, 10), (0, 10), (1, 10), (1, 10)]
    assert calls[1][2] > calls[0][2]
    assert run(here, "by_loader", "few", "--batch", 4, "--draws", 7, "--out", "more", "--ratios", "2").exit_code == 0
    assert [drawn for _, drawn, _ in __import__(here).calls[4:]] == [7, 7]


def test_changed_code_is_refused(here, tmp_path):
    assert run(here, "by_ratio", "dataset", "--ratios", "0").exit_code == 0
    with (tmp_path / f"{here}.py").open("a") as module:
        module.write("\n# changed\n")
    result = run(here, "by_ratio", "dataset", "--ratios", "0,1")
    assert result.exit_code == 2
    assert "other settings: code was" in result.stderr
    assert len(rows(tmp_path)) == 2


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("wrong", (), "train returns its score, one number; got dict"),
        ("hopeless", (), "a finite number; got nan"),
        ("nowhere", (), "has no 'nowhere'"),
        ("dataset", (), "is to be a function train(dataset) -> score; it is a Surfaces"),
        ("by_ratio", ("--ratios", "0,-1"), "--ratios are numbers >= 0"),
        ("by_ratio", ("--ratios", "half"), "--ratios are numbers >= 0"),
        ("by_ratio", ("--draws", "5"), "--draws is for the loader of --batch"),
        ("by_ratio", ("--textures", "."), "--textures is for --generator memseg"),
        ("by_ratio", ("--dataset", "alone"), "say module:name, such as training:fit"),
        ("by_ratio", ("--dataset", "no_such_module_at_all:x"), "No module named 'no_such_module_at_all'"),
        (
            "by_ratio",
            ("--dataset", "os:name"),
            "os:name is to be a dataset, or a function that returns one; it is a str",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(here, tmp_path, function, arguments, message):
    result = run(here, function, "dataset", *arguments)
    assert result.exit_code == 2, result.output
    assert any(line.startswith("error: ") and message in line for line in result.stderr.splitlines())
    assert not (tmp_path / "inout-sweep" / "sweep.json").exists()


def test_an_error_in_the_users_code_keeps_its_traceback(here):
    assert isinstance(run(here, "broken").exception, ZeroDivisionError)
