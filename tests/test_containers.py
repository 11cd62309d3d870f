import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PILImage
from torchvision import tv_tensors

from inout_aug import containers
from inout_aug._array_image import ArrayImage
from support import normal_image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def flat(image):
    return image[..., 0] if image.shape[2] == 1 else image


# every container the library takes: how a user gets it from an 8- or 16-bit (H, W, C) array
CONTAINERS = {
    "numpy": lambda a: a,
    "numpy flat": flat,
    "numpy float": lambda a: (a / np.float32(np.iinfo(a.dtype).max)).astype(np.float32),
    "pil": lambda a: PILImage.fromarray(flat(a)),
    "tensor": tensor,
    "tensor flat": lambda a: torch.from_numpy(flat(a)) if a.shape[2] == 1 else tensor(a),
    "tensor float": lambda a: tensor(a).float() / 255,
    "tensor half": lambda a: (tensor(a).float() / 255).half(),
    "tv image": lambda a: tv_tensors.Image(tensor(a)),
    "channels last": lambda a: tensor(a)[None].contiguous(memory_format=torch.channels_last)[0],
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CONTAINERS)
def test_image_round_trip_keeps_container_and_pixels(name, channels):
    array = normal_image(0, channels=channels)
    value = CONTAINERS[name](array)
    decoded = containers.decode_image(value)
    assert np.array_equal(decoded, array)
    encoded = containers.encode_image(decoded, value, None, None)
    assert type(encoded) is (ArrayImage if name == "pil" and channels == 3 else type(value))
    assert np.array_equal(np.asarray(encoded), np.asarray(value))
    assert getattr(encoded, "dtype", None) == getattr(value, "dtype", None)
    if isinstance(value, PILImage.Image):
        assert encoded.mode == value.mode


@pytest.mark.parametrize("name", ["numpy", "numpy flat", "pil", "tensor", "tv image"])
def test_16_bit_stays_16_bit(name):
    array = normal_image(1, channels=1, dtype=np.uint16)
    value = CONTAINERS[name](array)
    decoded = containers.decode_image(value)
    assert decoded.dtype == np.uint16
    encoded = containers.encode_image(decoded, value, None, None)
    assert np.array_equal(np.asarray(encoded), np.asarray(value))


def test_pil_mode_i_is_16_bit():
    value = PILImage.fromarray(np.full((20, 20), 40_000, np.int32))
    decoded = containers.decode_image(value)
    assert (decoded.dtype, decoded[0, 0, 0]) == (np.uint16, 40_000)
    assert containers.encode_image(decoded, value, None, None).mode == "I"
    with pytest.raises(ValueError, match="16-bit"):
        containers.decode_image(PILImage.fromarray(np.full((20, 20), 70_000, np.int32)))


@pytest.mark.parametrize(
    ("value", "error", "remedy"),
    [
        (np.full((20, 20, 3), 1.5, np.float32), ValueError, "transform="),
        (np.full((20, 20, 3), -0.5, np.float32), ValueError, "denormalize="),
        (np.full((20, 20, 3), 200.0, np.float32), ValueError, r"0\.\.255"),
        (np.full((20, 20, 3), np.nan, np.float32), ValueError, "NaN"),
        (torch.full((3, 20, 20), torch.inf), ValueError, "infinite"),
        (np.zeros((3, 20, 20), np.uint8), ValueError, "transpose"),
        (torch.zeros(4, 20, 20), ValueError, "alpha"),
        (torch.zeros(2, 3, 20, 20), ValueError, "shape"),
        (np.zeros((20, 20, 4), np.uint8), ValueError, "alpha"),
        (np.zeros((20, 20, 3), np.int64), TypeError, "uint8"),
        (np.zeros((15, 15), np.uint8), ValueError, "16 pixels"),
        (PILImage.new("RGBA", (20, 20)), TypeError, "convert"),
        (PILImage.new("P", (20, 20)), TypeError, "convert"),
        ("image.png", TypeError, "PIL image, numpy array or torch tensor"),
    ],
)
def test_bad_images_are_refused_with_the_remedy(value, error, remedy):
    with pytest.raises(error, match=remedy):
        containers.decode_image(value)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_denormalize_undoes_normalize_and_redoes_it(as_tensor):
    array = normal_image(2)
    floats = (array / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    value = tensor(floats) if as_tensor else floats
    decoded = containers.decode_image(value, (MEAN, STD))
    assert np.array_equal(decoded, array)
    encoded = containers.encode_image(decoded, value, (MEAN, STD), None)
    assert np.allclose(np.asarray(encoded), np.asarray(value), atol=1e-5)
    with pytest.raises(ValueError, match="denormalize"):
        containers.decode_image(value * 5, (MEAN, STD))
    with pytest.raises(ValueError, match="float images"):
        containers.decode_image(array, (MEAN, STD))


@given(hnp.arrays(np.float32, (16, 17, 3), elements=st.floats(0, 1, width=32)))
def test_a_float_host_keeps_every_bit_outside_the_defect(floats):
    painted = containers.decode_image(floats)
    painted[3:6, 3:6] = 255 - painted[3:6, 3:6]
    mask = np.zeros((16, 17), np.uint8)
    mask[3:6, 3:6] = 1
    planes = tensor(floats).contiguous(memory_format=torch.contiguous_format)
    for value in (floats, planes, planes[None].contiguous(memory_format=torch.channels_last)[0]):
        encoded = containers.encode_image(painted, value, None, mask)
        assert not isinstance(value, torch.Tensor) or encoded.stride() == value.stride()
        encoded = encoded if value is floats else encoded.permute(1, 2, 0).numpy()
        assert np.array_equal(encoded[mask == 0], floats[mask == 0])
        assert np.abs(encoded[mask == 1] - painted[mask == 1] / 255).max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_stay_what_they_are(dtype):
    value = (tensor(normal_image(3)).double() / 255).to(dtype)
    decoded = containers.decode_image(value)
    assert np.abs(decoded.astype(int) - normal_image(3)).max() <= (1 if dtype != torch.float64 else 0)
    assert containers.encode_image(decoded, value, None, None).dtype == dtype


@pytest.mark.parametrize("beyond", [1e-4, -1e-4])
def test_rounding_beyond_the_range_is_forgiven(beyond):
    value = torch.full((3, 20, 20), 1 + beyond if beyond > 0 else beyond)
    assert containers.decode_image(value)[0, 0, 0] == (255 if beyond > 0 else 0)


def test_bicubic_overshoot_is_told_from_normalisation():
    with pytest.raises(ValueError, match=r"got \[0, 1\.04\].*clamp"):
        containers.decode_image(torch.tensor([0.0, 1.04]).repeat(3, 20, 10))


MASKS = {
    "numpy": lambda m, v: m * v,
    "numpy channel": lambda m, v: (m * v)[..., None],
    "numpy int64": lambda m, v: (m * v).astype(np.int64),
    "pil": lambda m, v: PILImage.fromarray(m * v),
    "tensor": lambda m, v: torch.from_numpy(m * v),
    "tensor channel": lambda m, v: torch.from_numpy(m * v)[None],
    "tensor int64": lambda m, v: torch.from_numpy(m * v).long(),
    "tv mask": lambda m, v: tv_tensors.Mask(torch.from_numpy(m * v)),
    "float": lambda m, v: torch.from_numpy(m * v).float(),
}


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("name", MASKS)
def test_mask_round_trip_keeps_container_and_values(name, value):
    mask = np.zeros((20, 24), np.uint8)
    mask[2:5, 3:9] = 1
    given_mask = MASKS[name](mask, np.uint8(value))
    assert containers.mask_convention([given_mask]) == value
    assert np.array_equal(containers.decode_mask(given_mask, value), mask)
    encoded = containers.encode_mask(mask, given_mask, value)
    assert type(encoded) is type(given_mask)
    assert np.array_equal(np.asarray(encoded), np.asarray(given_mask))


def test_boolean_masks():
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[2, 2] = True
    assert containers.mask_convention([torch.zeros(20, 20, dtype=torch.bool)]) == 1
    encoded = containers.encode_mask(containers.decode_mask(mask, 255), mask, 255)
    assert encoded.dtype == torch.bool
    assert torch.equal(encoded, mask)


def test_palette_masks_keep_classes_and_palette():
    mask = PILImage.new("P", (20, 20), 2)
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    classes = containers.decode_mask(mask, 1)
    assert classes.max() == 2
    encoded = containers.encode_mask(classes, mask, 1)
    assert (encoded.mode, encoded.getpalette()[:9]) == ("P", mask.getpalette()[:9])


def test_an_empty_8_bit_mask_tells_no_convention_but_wide_ones_do():
    def convention(*masks):
        return containers.mask_convention(masks)

    empty = np.zeros((4, 4), np.uint8)
    assert convention(empty) is None
    assert convention(np.zeros((4, 4), np.int64)) == 1
    assert convention(np.zeros((4, 4), np.float32)) == 1
    assert convention(empty, np.full((4, 4), 3, np.uint8)) == 1


@pytest.mark.parametrize("values", [(0, 128, 255), (0, 128), (0, 1, 255), (0, 2, 3, 255)])
def test_masks_of_no_plain_convention_are_refused(values):
    masks = [np.full((4, 4), value, np.uint8) for value in values]
    with pytest.raises(ValueError, match=r"neither 0 and 255 nor small class ids.*ignore_value"):
        containers.mask_convention(masks)


@pytest.mark.parametrize(
    ("mask", "value", "remedy"),
    [
        (np.full((20, 20), 128, np.uint8), 255, "nearest"),
        (np.full((20, 20), 0.3, np.float32), 1, "nearest"),
        (np.full((20, 20), 300, np.int64), 1, r"0\.\.255"),
        (np.zeros((20, 20, 3), np.uint8), 1, "one value per pixel"),
    ],
)
def test_bad_masks_are_refused_with_the_remedy(mask, value, remedy):
    with pytest.raises(ValueError, match=remedy):
        containers.decode_mask(mask, value)


@pytest.mark.parametrize(
    "label", [1, True, np.int64(1), np.array([1]), torch.tensor(1), torch.tensor([1.0]), 1.0, np.float32(1)]
)
def test_label_round_trip_keeps_the_type(label):
    assert containers.decode_label(label) == 1
    encoded = containers.encode_label(1, label)
    assert type(encoded) is type(label)
    assert encoded == label


@pytest.mark.parametrize("label", ["good", None, 0.5, float("nan"), np.zeros(2), torch.zeros(1, 2)])
def test_labels_that_are_no_number_are_refused(label):
    with pytest.raises(TypeError, match="whole number"):
        containers.decode_label(label)
