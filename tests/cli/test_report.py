import numpy as np
import pytest
from PIL import Image

from inout_aug.cli._experiment import Outcome, Protocol, Score, make_arms
from inout_aug.cli._pictures import Pictures
from inout_aug.cli._report import Findings, check_folder, reading, write_report
from inout_aug.datasets import Surfaces
from inout_aug.injector import Summary
from inout_aug.paste.stroke import StrokePaste

SIZE = (32, 32)


def findings(*precisions, shots=4):
    """Findings of three arms with these average precisions, one per seed."""
    trained = [bool(values) for values in precisions]
    seeds = range(max(map(len, precisions)))
    scores = [tuple(Score(value, 0.6) for value in values or (0.1,) * len(seeds)) for values in precisions]
    return Findings(
        data="parts",
        command="inout-aug demo",
        train=Pictures(Surfaces(60, size=SIZE), SIZE),
        test=Pictures(Surfaces(40, size=SIZE), SIZE),
        protocol=Protocol(shots=shots, seeds=seeds, steps=10, size=SIZE),
        outcomes=[Outcome(*each) for each in zip(make_arms({"stroke": StrokePaste()}), trained, scores, strict=True)],
        summaries={"with stroke": Summary(58, 4, {"StrokePaste": 29})},
        notes=["*stroke*: learned from nothing."],
        sheets={"stroke": np.full((40, 60, 3), 200, np.uint8)},
        seconds=1.0,
    )


def test_the_page_names_what_was_run_and_shows_its_pictures(tmp_path):
    page = write_report(tmp_path, findings((0.1, 0.2), (0.2, 0.3), (0.71, 0.77))).read_text(encoding="utf-8")
    assert "# Does it help? parts, few-shot: 4 of 6 real defects in training" in page
    assert "| with stroke | 0.740 ± 0.042 | 0.600 ± 0.000 | 0.710, 0.770 |" in page
    assert "synthetic, StrokePaste" in page
    assert "- *stroke*: learned from nothing." in page
    shown = [line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert shown == ["average_precision.png", "sheet-stroke.png"]
    for name in shown:
        with Image.open(tmp_path / name) as picture:
            picture.load()


@pytest.mark.parametrize(
    ("precisions", "expected"),
    [
        (((0.1, 0.2), (0.1, 0.2), (0.7, 0.8)), "(+0.600); the intervals of 2 seeds do not overlap"),
        (((0.1, 0.2), (0.7, 0.8), (0.1, 0.2)), "of 'oversampled real' (-0.600); the intervals of 2 seeds do not"),
        (((0.8, 0.9), (0.3, 0.4), (0.5, 0.6)), "of 'no synthetic data' (-0.300); the intervals of 2 seeds do not"),
        (((0.1, 0.2), (0.1, 0.5), (0.2, 0.6)), "(+0.100): within noise"),
        (((0.1,), (0.1,), (0.9,)), "(+0.800). One seed does not tell"),
    ],
)
def test_the_reading_says_whether_it_is_noise(precisions, expected):
    assert expected in next(line for line in reading(findings(*precisions)) if line.startswith("With stroke"))


def test_zero_shot_is_said_plainly_and_compared_with_chance(tmp_path):
    zero = findings((), (), (0.7, 0.8), shots=0)
    said = reading(zero)
    assert said[0].startswith("This is zero-shot")
    assert "against 0.100 of chance" in said[1]
    page = write_report(tmp_path, zero).read_text(encoding="utf-8")
    assert "zero-shot: no real defect in training" in page
    assert page.count("| 0.100 | 0.500 | chance |") == 2


def test_full_shot_is_named():
    assert findings((0.1,), (0.1,), (0.9,), shots=6).scenario == "full-shot: all 6 real defects in training"


def test_its_own_files_are_replaced_and_others_stay(tmp_path):
    out = tmp_path / "a" / "b"
    (tmp_path / "a").mkdir()
    for _ in range(2):
        check_folder(out, ["stroke"])
        write_report(out, findings((0.1,), (0.1,), (0.9,)))
        (out / "mine.txt").write_text("mine")
    assert (out / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.md", "average_precision.png", "sheet-stroke.png"])
def test_a_strangers_file_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} that inout-aug demo did not write. Choose another --out"):
        check_folder(tmp_path, ["stroke"])
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError, match="out is a file"):
        check_folder(tmp_path / "out", ["stroke"])
