from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inout_generators.lora.data import (
    Instance,
    Latents,
    check_size,
    choose_size,
    cut_off,
    describe,
    encode_images,
    epoch_places,
    in_size,
    prompts_of,
)
from inout_generators.lora.prompts import Prompt
from inout_generators.lora.tiny import tiny_stable_diffusion

RNG = np.random.default_rng(0)


def noise(height, width, channels=3):
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize(
    ("sizes", "native", "expected"),
    [
        ([(600, 200)], 512, (768, 256)),
        ([(630, 230)] * 3 + [(632, 228)], 512, (704, 256)),
        ([(100, 100)], 512, (512, 512)),
        ([(1024, 1024)], 768, (768, 768)),
        ([(60, 20)], 64, (96, 32)),
    ],
)
def test_the_size_follows_the_proportions_of_the_images(sizes, native, expected):
    assert choose_size(sizes, native=native, cell=8) == expected


@given(st.floats(-1.5, 1.5), st.sampled_from([64, 512, 768]))
def test_a_chosen_size_loses_little_and_has_about_the_usual_number_of_pixels(tilt, native):
    image = round(1000 * np.exp(tilt / 2)), round(1000 * np.exp(-tilt / 2))
    size = choose_size([image], native=native, cell=8)
    assert all(side % 8 == 0 for side in size)
    assert 0.6 * native**2 < size[0] * size[1] <= native**2
    assert cut_off(image, size) < 0.1


def test_images_of_very_different_proportions_need_a_size():
    with pytest.raises(ValueError, match=r"images of 200x600 would lose 89% at 768x256"):
        choose_size([(600, 200), (600, 200), (200, 600)], native=512, cell=8)


def test_a_size_in_whole_latents():
    assert check_size((768, 256), 8) == (768, 256)
    with pytest.raises(ValueError, match=r"multiples of 8 .* got 250x625\. Take 248x624"):
        check_size((250, 625), 8)
    with pytest.raises(ValueError, match="Take 16x64"):
        check_size((8, 64), 8)


def test_images_keep_their_proportions_and_lose_their_edges_evenly():
    ramp = np.broadcast_to(np.arange(0, 240, 2, dtype=np.uint8)[:, None, None], (120, 40, 1))
    larger = in_size(ramp, (240, 48))
    assert larger.shape == (240, 48, 3)
    # one grey level a row, as before between its ends
    np.testing.assert_allclose(larger[8:-8, 24, 0], np.arange(240)[8:-8] - 0.5, atol=1)
    assert (larger[..., 0] == larger[..., 2]).all()
    image = noise(32, 40)
    np.testing.assert_array_equal(in_size(image, (32, 24)), image[:, 8:32])
    smaller = in_size(image, (16, 16))
    np.testing.assert_allclose(
        smaller, image[:, 4:36].reshape(16, 2, 16, 2, 3).mean((1, 3)), atol=0.51, err_msg="by area, the middle"
    )


@given(st.integers(1, 7), st.integers(1, 4), st.lists(st.integers(1, 9), min_size=1), st.integers(0, 5))
def test_every_epoch_shows_every_image_equally_often_however_it_is_cut(count, repeats, lengths, key):
    epoch = count * repeats
    lengths.append(-sum(lengths) % epoch)
    shown, start = [], 0
    for length in lengths:
        shown += epoch_places(count, repeats, start, length, key)
        start += length
    for k in range(0, len(shown), epoch):
        assert Counter(shown[k : k + epoch]) == dict.fromkeys(range(count), repeats)


def test_epochs_have_orders_of_their_own():
    first, second = epoch_places(9, 1, 0, 9, 4), epoch_places(9, 1, 9, 9, 4)
    assert first != second
    assert first != epoch_places(9, 1, 0, 9, 5)


def test_latents_are_those_of_the_autoencoder_in_any_batch():
    pipeline = tiny_stable_diffusion()
    images = [noise(32, 24, 1 + 2 * (k % 2)) for k in range(9)]
    encoded = encode_images(pipeline, [(image, "skt background") for image in images], (32, 24))
    assert len(encoded) == 9
    assert encoded.mean.shape == (9, 4, 4, 3)
    with torch.no_grad():
        pixels = torch.from_numpy(np.repeat(images[8], 3, 2)).permute(2, 0, 1)[None] / 127.5 - 1
        expected = pipeline.vae.encode(pixels).latent_dist
    torch.testing.assert_close(encoded.mean[8:], expected.mean * 0.18215)
    torch.testing.assert_close(encoded.std[8:], expected.std * 0.18215)
    words = pipeline.tokenizer.batch_decode(encoded.tokens, skip_special_tokens=True)
    assert {word.strip() for word in words} == {"skt background"}


def test_latents_are_drawn_from_the_distribution_that_the_autoencoder_gives():
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
    latents = Latents(mean.reshape(2, 1, 1, 1), std.reshape(2, 1, 1, 1), torch.zeros(2, 77, dtype=torch.int64))
    drawn = latents.draw([1] * 4000, np.random.default_rng(0)).flatten()
    assert drawn.mean() == pytest.approx(-2, abs=0.1)
    assert drawn.std() == pytest.approx(2, rel=0.05)


def test_prompts_are_the_captions_of_the_defects_as_often_as_they_were_used():
    image = noise(16, 16)
    shown = [Instance(image, "skt torn", "crack")] * 2 + [Instance(image, "skt", "spot"), Instance(image, "skt good")]
    assert prompts_of(shown) == [Prompt("skt torn", "crack", 2.0), Prompt("skt", "spot", 1.0)]
    assert describe(shown)["images"] == {"crack": 2, "spot": 1, "normal": 1}
    changed = [*shown[:3], Instance(image, "skt bad")]
    assert describe(changed)["digest"] != describe(shown)["digest"] == describe(list(shown))["digest"]


def test_images_that_stable_diffusion_could_not_draw():
    with pytest.raises(ValueError, match="8-bit images; got uint16"):
        Instance(np.zeros((16, 16, 1), np.uint16), "skt")
    with pytest.raises(ValueError, match="a caption is empty"):
        Instance(noise(16, 16), " ")
