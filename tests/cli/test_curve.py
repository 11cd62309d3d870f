import cv2
import numpy as np
import pytest
from scipy import stats

from inout_aug.cli._curve import Curve, draw_curve, table_rows


def curve(**columns):
    """One column of scores for each ratio, named r0, r05, r2."""
    ratios = {"r0": 0.0, "r05": 0.5, "r2": 2.0}
    return Curve({ratios[name]: dict(enumerate(scores)) for name, scores in columns.items()})


CLEAR = curve(r2=[0.5, 0.55, 0.6], r0=[0.1, 0.2, 0.3], r05=[0.51, 0.54, 0.63])


def test_the_best_has_the_highest_mean_and_of_equal_ones_the_smallest():
    assert CLEAR.ratios == [0.0, 0.5, 2.0]
    assert CLEAR.best == 0.5
    assert curve(r2=[0.5, 0.6], r05=[0.6, 0.5], r0=[0.5, 0.5]).best == 0.5


def test_gains_are_paired_by_seed():
    gain = CLEAR.gain(0.5)
    low, high = stats.ttest_rel([0.51, 0.54, 0.63], [0.1, 0.2, 0.3]).confidence_interval()
    assert (gain.low, gain.high) == pytest.approx((low, high), rel=1e-5)
    # the seeds differ more among themselves than the ratios do, which pairing takes out
    paired = curve(r0=[0.1, 0.5, 0.9], r2=[0.2, 0.6, 1.0])
    assert paired.gain(2.0).above_zero
    assert not paired.at(2.0).low > paired.at(0.0).high


def test_what_the_seeds_do_not_tell_apart_is_named():
    assert CLEAR.as_good == [0.5, 2.0]
    said = " ".join(CLEAR.reading())
    assert "Best ratio: 0.5, score 0.560 [" in said
    assert "do not tell it apart from 2." in said
    assert "+0." not in said
    assert "over no synthetic data, more; the best of 3 is a favourable pick" in said


def test_an_unsure_gain_is_called_that_and_one_seed_says_nothing():
    assert "not surely more" in " ".join(curve(r0=[0.1, 0.9], r2=[0.9, 0.2]).reading())
    said = " ".join(curve(r0=[0.1], r2=[0.9]).reading())
    assert "Best ratio: 2, score 0.900 (" in said
    assert "One seed does not tell" in said
    assert "more" in said.split("run three, or ")[1]


def test_no_synthetic_data_may_be_best():
    assert curve(r0=[0.9, 0.91], r2=[0.1, 0.2]).reading() == [
        f"Best ratio: 0, score {CLEAR.__class__({0.0: {0: 0.9, 1: 0.91}}).at(0.0)} (95 % interval of 2 seeds)."
    ]


def test_rows_compare_with_nothing_synthetic_where_it_was_measured():
    header, *rows = table_rows(CLEAR)
    assert len(header) == 4
    assert [row[0] for row in rows] == ["0", "0.5", "2"]
    assert rows[0][2] == ""
    assert rows[2][2] == str(CLEAR.gain(2.0))
    assert rows[2][3] == "0.500, 0.550, 0.600"
    assert all(not row[2] for row in table_rows(curve(r05=[1.0, 2.0], r2=[1.0, 2.0]))[1:])


@pytest.mark.parametrize("drawn", [CLEAR, curve(r0=[0.1], r2=[0.9])])
def test_it_is_drawn(tmp_path, drawn):
    draw_curve(drawn, tmp_path / "new" / "curve.png", title="tile", score="AP")
    picture = cv2.imread(str(tmp_path / "new" / "curve.png"))
    assert picture.shape[0] > 300
    orange = np.abs(picture.astype(int) - (0x20, 0x70, 0xD0)).sum(axis=2) < 60
    assert orange.sum() > 20
