import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from segmenting.scores import measure, pixel_scores
from torch import from_numpy
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_f1_score


@given(
    hnp.arrays(np.float16, (2, 6, 5), elements=st.sampled_from([-60000, -2, -0.5, -0.0, 0.0, 1e-7, 0.5, 3, 60000])),
    hnp.arrays(np.uint8, (2, 6, 5), elements=st.integers(0, 1)),
)
def test_scores_are_those_of_torchmetrics(logits, masks):
    if masks.all() or not masks.any():
        with pytest.raises(ValueError, match="inside and outside"):
            pixel_scores(logits, masks)
        return
    found = pixel_scores(logits, masks)
    # ranks have the order of the logits, and survive a sigmoid
    ranks = np.unique(logits + np.float16(0), return_inverse=True)[1].reshape(-1) / 100
    truth = from_numpy(masks.reshape(-1).astype(np.int64))
    assert found["ap"] == pytest.approx(binary_average_precision(from_numpy(ranks), truth).item(), abs=1e-5)
    assert found["auroc"] == pytest.approx(binary_auroc(from_numpy(ranks), truth).item(), abs=1e-5)
    called = from_numpy((logits.reshape(-1) > 0).astype(np.int64))
    assert found["f1"] == pytest.approx(binary_f1_score(called, truth).item(), abs=1e-5)
    ious = [
        ((logits >= value) & (masks > 0)).sum() / ((logits >= value) | (masks > 0)).sum() for value in np.unique(logits)
    ]
    assert found["best_iou"] == pytest.approx(max(ious))
    assert found["iou"] == pytest.approx(((logits > 0) & (masks > 0)).sum() / ((logits > 0) | (masks > 0)).sum())


def test_kinds_count_alike_and_false_alarms_on_normals_cost():
    masks = np.zeros((4, 8, 8), np.uint8)
    masks[0, :4], masks[1, :1], masks[2, :2] = 1, 1, 2
    logits = np.where(masks > 0, 1, -1).astype(np.float16)
    logits[1] = -1  # missed
    logits[3, 0] = 1  # false alarm on a normal image
    found = measure(logits, masks, ["crack", "hole", "hole", "good"], "good")
    assert found["kinds"]["crack"]["iou"] == 1
    assert found["kinds"]["hole"]["iou"] == 16 / 24
    assert found["scores"]["miou"] == pytest.approx((1 + 16 / 24) / 2)
    assert found["scores"]["iou"] == 48 / (32 + 24 + 8)


def test_without_defects_there_is_nothing_to_score():
    with pytest.raises(ValueError, match="none of the images has a defect"):
        measure(np.zeros((1, 4, 4), np.float16), np.zeros((1, 4, 4), np.uint8), ["good"], "good")
