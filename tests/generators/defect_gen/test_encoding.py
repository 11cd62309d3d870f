"""Image and mask to the nets' array and back, without loss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inout_generators.defect_gen.encoding import Encoding

CLASSES = ("crack", "dent", "hole")


@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    mask_range=st.sampled_from([(0.0, 1.0), (-1.0, 1.0)]),
)
def test_decoding_undoes_encoding(seed: int, channels: int, dtype: type, mask_range: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, np.iinfo(dtype).max, (2, 16, 24, channels), dtype, endpoint=True)
    masks = rng.integers(0, 3, (2, 16, 24), np.uint8, endpoint=True)
    encoding = Encoding(channels, CLASSES, mask_range)
    x = encoding.encode(images, masks)
    assert x.shape == (2, encoding.channels, 16, 24)
    assert x.dtype == torch.float32
    assert float(x.min()) >= -1
    assert float(x.max()) <= 1
    again, masks_again = encoding.decode(x, dtype)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(masks_again, masks)
    assert again.dtype == dtype


def test_black_white_and_every_class_are_where_they_should_be() -> None:
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[0, 0, 0] = 0, 255, 51
    masks = np.zeros((1, 16, 16), np.uint8)
    masks[0, 0, 0] = 2
    x = Encoding(3, CLASSES).encode(images, masks)
    assert x[0, :, 0, 0].tolist() == pytest.approx([-1, 1, -0.6, 0, 0, 1, 0])
    assert x[0, :, 5, 5].tolist() == [-1, -1, -1, 1, 0, 0, 0]


def test_clamping_knows_the_two_ranges() -> None:
    x = torch.tensor([-3.0, 3.0, -3.0, 3.0, 0.5]).reshape(1, 5, 1, 1)
    assert Encoding(3, ("scratch",)).clamp(x).flatten().tolist() == [-1, 1, -1, 1, 0.5]
    assert Encoding(1, CLASSES).clamp(x).flatten().tolist() == [-1, 1, 0, 1, 0.5]
    assert Encoding(1, CLASSES, (-1, 1)).clamp(x).flatten().tolist() == [-1, 1, -1, 1, 0.5]


def test_lists_of_a_configuration_file_make_the_same_encoding() -> None:
    assert Encoding(1, ["crack"], [0, 1]) == Encoding(1, ("crack",))  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    encoding = Encoding(1, ("crack",))
    image, mask = np.zeros((1, 16, 16, 1), np.uint8), np.zeros((1, 16, 16), np.uint8)
    with pytest.raises(TypeError, match="float32"):
        encoding.encode(image.astype(np.float32), mask)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got"):
        encoding.encode(np.zeros((1, 16, 16, 3), np.uint8), mask)
    with pytest.raises(ValueError, match="got"):
        encoding.encode(image, np.zeros((1, 16, 17), np.uint8))
    with pytest.raises(ValueError, match="class 2, but there are 1"):
        encoding.encode(image, mask + np.uint8(2))
    with pytest.raises(ValueError, match="encoded batch is"):
        encoding.decode(torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match="NaN"):
        encoding.decode(torch.full((1, 3, 16, 16), torch.nan))


@pytest.mark.parametrize(
    ("channels", "classes", "mask_range"),
    [(2, ("a",), (0, 1)), (1, (), (0, 1)), (1, ("a", "a"), (0, 1)), (1, ("a",), (1, 0))],
)
def test_impossible_encodings_are_refused(
    channels: int, classes: tuple[str, ...], mask_range: tuple[float, float]
) -> None:
    with pytest.raises(ValueError, match="got"):
        Encoding(channels, classes, mask_range)
