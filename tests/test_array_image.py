import copy
import gc
import io
import pickle

import albumentations
import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from PIL import ImageDraw, ImageEnhance, ImageOps
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor

from inout_aug._array_image import ArrayImage
from support import normal_image


@pytest.fixture
def array():
    return normal_image(3)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def drawn_on(image):
    ImageDraw.Draw(image).line((0, 0, 9, 9), fill=(255, 0, 0))
    return image


def overwritten(image):
    image.frombytes(bytes(3 * image.width * image.height))
    return image


def painted(image):
    image.paste((1, 2, 3), (2, 2, 5, 5))
    image.putpixel((0, 0), (9, 8, 7))
    return image


USES = {
    "array": np.asarray,
    "array of floats": lambda image: np.array(image, np.float32),
    "bytes": lambda image: image.tobytes(),
    "pixel": lambda image: image.getpixel((4, 7)),
    "pixels": lambda image: image.load()[4, 7],
    "grey": lambda image: np.asarray(image.convert("L")),
    "same mode": lambda image: np.asarray(image.convert("RGB")),
    "crop": lambda image: np.asarray(image.crop((1, 2, 9, 8))),
    "resize": lambda image: np.asarray(image.resize((11, 13))),
    "thumbnail": lambda image: (image.thumbnail((12, 12)), np.asarray(image))[1],
    "rotate": lambda image: np.asarray(image.rotate(30)),
    "bands": lambda image: [np.asarray(band) for band in image.split()],
    "merge": lambda image: np.asarray(PILImage.blend(image, image.copy(), 0.5)),
    "file": png,
    "draw": lambda image: np.asarray(drawn_on(image)),
    "paste": lambda image: np.asarray(painted(image)),
    "frombytes": lambda image: np.asarray(overwritten(image)),
    "statistics": lambda image: (image.getextrema(), image.getbbox(), image.histogram()),
    "what it says": lambda image: (image.size, image.width, image.mode, image.getbands(), image.format, image.info),
    "ops": lambda image: np.asarray(ImageOps.mirror(ImageEnhance.Contrast(image).enhance(0.5))),
    "to_tensor": lambda image: to_tensor(image).numpy(),
    "to_image": lambda image: v2.functional.to_image(image).numpy(),
    "flip": lambda image: np.asarray(v2.functional.horizontal_flip(image)),
    "jitter": lambda image: np.asarray(v2.functional.adjust_hue(image, 0.2)),
    "affine": lambda image: np.asarray(v2.functional.affine(image, 20, [1, 2], 1.1, [5.0, 5.0])),
    "albumentations": lambda image: albumentations.HorizontalFlip(p=1)(image=np.array(image))["image"],
    "arrow": lambda image: len(image.__arrow_c_array__()) if hasattr(image, "__arrow_c_array__") else None,
}


@pytest.mark.parametrize("make", [ArrayImage, lambda array: ArrayImage.of(PILImage.fromarray(array))])
@pytest.mark.parametrize("before", ["fresh", "loaded", "seen as an array"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_is_that_of_a_plain_image(array, use, before, make):
    image, plain = make(array.copy()), PILImage.fromarray(array)
    if before == "loaded":
        image.load()
    elif before == "seen as an array":
        np.asarray(image)
    for _ in range(2):
        np.testing.assert_equal(use(image), use(plain))
    np.testing.assert_equal(np.asarray(image), np.asarray(plain))


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
def test_a_copy_and_a_pickle_are_plain_images(array, through):
    twin = through(ArrayImage(array))
    assert type(twin) is PILImage.Image
    assert np.array_equal(np.asarray(twin), array)


def test_equality_is_that_of_the_pixels(array):
    image, plain, other = ArrayImage(array), PILImage.fromarray(array), PILImage.fromarray(array ^ 1)
    assert image == plain
    assert plain == image
    assert image == ArrayImage(array.copy())
    assert image != other
    assert other != image
    assert image != ArrayImage(array ^ 1)
    assert image != "an image"


def test_an_array_of_it_is_a_view_that_outlives_the_image_and_cannot_be_written_to(array):
    image = ArrayImage(array.copy())
    seen = np.asarray(image)
    assert np.shares_memory(seen, image._array)
    assert not seen.flags.writeable  # nor is it of another image
    painted(image)
    del image
    gc.collect()
    np.zeros(array.shape, np.uint8) + 1  # would likely reuse the memory if it were free
    assert np.array_equal(seen, array)


def test_a_writable_array_of_it_is_a_copy(array):
    image = ArrayImage(array)
    mine = np.array(image)
    mine[:] = 0
    assert np.array_equal(np.asarray(image), array)
    tensor = v2.functional.to_image(image)
    tensor.zero_()
    assert torch.equal(v2.functional.to_image(image), torch.from_numpy(array).permute(2, 0, 1))


def test_what_is_painted_on_it_is_seen_in_a_new_array(array):
    image = ArrayImage(array.copy())
    np.asarray(image)
    painted(image)
    assert np.asarray(image)[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (3000, 2000), (40000, 1)])
def test_a_plain_image_is_converted_to_what_it_shows(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    assert np.array_equal(np.asarray(ArrayImage.of(PILImage.fromarray(pixels))), pixels)
    mapped = PILImage.fromarray(np.dstack([pixels, pixels[..., 0]])).convert("RGB")
    assert np.array_equal(np.asarray(ArrayImage.of(mapped)), pixels)


def test_a_file_is_read_when_it_is_converted(array, tmp_path):
    PILImage.fromarray(array).save(tmp_path / "a.png")
    with PILImage.open(tmp_path / "a.png") as file:
        assert np.array_equal(np.asarray(ArrayImage.of(file)), array)


def test_a_converted_image_keeps_whatever_it_was_given():
    plain = PILImage.fromarray(normal_image(5))
    plain.info["dpi"] = (300, 300)
    plain.camera = "left"
    plain.getexif()[0x0112] = 6
    converted = ArrayImage.of(plain)
    assert converted.info == plain.info
    assert converted.camera == "left"
    assert converted.getexif() == plain.getexif()
    assert np.array_equal(np.asarray(converted), np.asarray(plain))
    assert converted.getpixel((3, 4)) == plain.getpixel((3, 4))


def test_what_is_painted_on_a_converted_image_stays_off_the_one_it_was_made_of(array):
    plain = PILImage.fromarray(array)
    painted(ArrayImage.of(plain))
    assert np.array_equal(np.asarray(plain), array)


def test_a_turned_view_of_an_array_is_understood(array):
    assert np.array_equal(np.asarray(ArrayImage(array[:, ::-1])), array[:, ::-1])
    assert np.array_equal(np.asarray(ArrayImage(array.transpose(1, 0, 2)).copy()), array.transpose(1, 0, 2))
