import cv2
import numpy as np
import pytest
from scipy.stats import ttest_rel
from segmenting.arms import sections
from segmenting.report import draw_curves, key_of, page
from segmenting.scores import METRICS

from inout_aug.cli._record import Record

SETTINGS = {
    "name": "tile",
    "size": [64, 96],
    "generators": {"memseg": "x"},
    "recipe": {"steps": 9, "batch": 2, "crop": 32},
    "counts": {"training": 40, "training_defects": 8, "scored": 30, "scored_defects": 9, "left_out": 1},
}


@pytest.fixture
def record(tmp_path):
    """Four seeds at every ratio, where 1 is best, and one seed more at ratio 0."""
    record = Record(tmp_path / "runs.json", SETTINGS)
    for arm in sections(5)["ratio"].arms.values():
        for seed in range(4 + (not arm.ratio)):
            score = 0.3 - 0.1 * abs(arm.ratio - 1) / 2 + 0.02 * seed + 0.003 * seed * arm.ratio
            record.add(
                key_of("unet", arm, seed),
                scores=dict.fromkeys(METRICS, score),
                kinds={kind: {"iou": score + shift} for kind, shift in (("crack", 0.0), ("hole", 0.1))},
                counts={"real": 5, "synthetic": round(5 * arm.ratio), "normal": 5 + round(5 * arm.ratio)},
            )
    return record


def test_gains_are_paired_with_the_first_row(record):
    lines = page(record, sections(5), "chart.png")
    row = next(line for line in lines if line.startswith("| 1 |")).split(" | ")
    one, zero = (
        [row["scores"]["miou"] for row in record.select(ratio=ratio) if row["seed"] < 4] for ratio in (1.0, 0.0)
    )
    gain = ttest_rel(one, zero)
    low, high = gain.confidence_interval()
    mean = np.mean(np.subtract(one, zero))
    assert row[1 + len(METRICS)] == f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    assert row[-2:] == ["5 + 5 + 10", "4 |"]
    assert any("![curves](chart.png)" in line for line in lines)


def test_only_what_was_measured_is_told(record):
    text = "\n".join(page(record, sections(5), None))
    assert text.count("\n## ") == 2
    assert "filled up to 150 with" not in text
    assert "deeplabv3plus" not in text
    assert "| unet | 5 real defects, 2x synthetic | " in text
    assert "| network | training | crack | hole |" in text


def test_curves_take_the_seeds_that_all_ratios_have(record, tmp_path):
    assert draw_curves(record, sections(5)["ratio"], tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 5
    assert not draw_curves(Record(tmp_path / "none.json", SETTINGS), sections(5)["ratio"], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
