import numpy as np
import pytest

from inout_aug.sample import Sample, check_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (17, 33), (640, 232)])
def test_accepts_every_supported_form(dtype, channels, size):
    assert Sample(np.zeros((*size, channels), dtype), np.zeros(size, np.uint8)).size == size


@pytest.mark.parametrize(
    ("image", "error", "remedy"),
    [
        (np.zeros((15, 15, 3), np.uint8), ValueError, "Resize"),
        (np.zeros((32, 32, 4), np.uint8), ValueError, "alpha"),
        (np.zeros((2, 32, 32, 3), np.uint8), ValueError, "unbatch"),
        (np.zeros((32, 32), np.uint8), ValueError, "channel axis"),
        (np.zeros((32, 32, 3), np.float32), TypeError, "Scale"),
        ([[1, 2]], TypeError, "numpy"),
    ],
)
def test_refuses_with_the_remedy(image, error, remedy):
    with pytest.raises(error, match=remedy):
        check_image(image)


def test_mask_must_fit_the_image():
    image = np.zeros((32, 48, 3), np.uint8)
    with pytest.raises(ValueError, match=r"same size.*nearest"):
        Sample(image, np.zeros((48, 32), np.uint8))
    with pytest.raises(TypeError, match="uint8"):
        Sample(image, np.zeros((32, 48), bool))
