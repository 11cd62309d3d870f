import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from evidence.paper import read_tables
from evidence.protocol import METHODS, STRONG, grid
from evidence.report import write_report
from evidence.runs import Run, Runs

QUALITY = {"none": 0.5, "oversample": 1.0, "standard": 1.2, "memseg": 2.0, "ddpm": 1.5, "inout": 3.0}
QUALITY |= {"stroke": 1.8, "pastes": 2.1, "copy": 2.2, "mix": 2.9}
LABELS = np.repeat([0, 1], [60, 16])
KINDS = ["good"] * 60 + ["crack"] * 8 + ["fray"] * 8


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = Runs(
        folder / "runs",
        {
            "data": "made up",
            "score": "test",
            "size": [300, 100],
            "protocol": "strong",
            "recipe": asdict(STRONG),
            "model": "resnet18",
            "weights": None,
            "cache": "few5",
            "training": {"normal": 200, "defective": 30},
            "not_scored": 2,
            "scored": [
                [f"{i}.png", kind, int(label)] for i, (kind, label) in enumerate(zip(KINDS, LABELS, strict=True))
            ],
        },
    )
    rng = np.random.default_rng(0)
    for cell in grid([0, 5], METHODS, [100], range(3), STRONG, cache=True):
        logits = rng.normal(size=76) + QUALITY[cell.method] * LABELS - 1
        runs.add(Run(cell, logits.tolist(), [], 9.0, 8.0))
    write_report(Runs(folder / "runs", None), folder / "out" / "made_up")
    return folder / "out"


def test_page_has_every_arm_and_the_papers_figures(report: Path) -> None:
    page = (report / "made_up.md").read_text()
    for heading in ("## Zero-shot", "## 5 real defects", "## Precision and recall", "Table 1", "Table 4"):
        assert heading in page
    assert "Table 5" not in page  # not run
    assert "| inout 100 | 3 |" in page
    assert "0.626 ± 0.059" in page
    assert "| crack | fray |" in page
    assert "nan" not in page
    widths = {row.count("|") for row in page.split("\n## ")[1].splitlines() if row.startswith("| ")}
    assert len(widths) == 2  # the arms, and the kinds


def test_gains_are_over_the_control(report: Path) -> None:
    rows = json.loads((report / "made_up.json").read_text())["rows"]
    found = {(row["shots"], row["method"]): row for row in rows}
    assert found[5, "inout"]["gains"]["oversample"]["ap"]["low"] > 0
    assert found[5, "none"]["gains"]["oversample"]["ap"]["mean"] < 0
    assert found[0, "memseg"]["gains"] == {}
    assert found[5, "memseg"]["metrics"]["ap"]["p"] is None


def test_a_figure_for_each_scenario(report: Path) -> None:
    assert sorted(path.name for path in report.glob("*.png")) == ["made_up_few5.png", "made_up_zero.png"]


def test_the_papers_tables_are_whole() -> None:
    tables = read_tables()
    assert {number: len(rows) for number, rows in tables.items()} == {1: 6, 2: 3, 3: 6, 4: 3, 5: 4, 6: 6}
    best = max(rows.ap[0] for number in (1, 2) for rows in tables[number])
    assert best == 0.626
    assert tables[5][0].method == "none"
