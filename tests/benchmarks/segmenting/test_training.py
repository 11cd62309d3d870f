import numpy as np
import pytest
import torch
from evidence.images import Images
from segmenting.arms import Arm, sections
from segmenting.networks import NETWORKS, SmallUNet, build
from segmenting.scores import measure
from segmenting.training import Crop, Recipe, collate, dice, predict, train

from inout_aug import StrokePaste
from inout_aug.datasets import Surfaces

SIZE = (32, 64)


@pytest.fixture(scope="module")
def images():
    surfaces = Surfaces(30, size=SIZE, materials=("metal",), defect_share=0.4)
    return Images.read(surfaces, SIZE)


def strokes(real):
    return StrokePaste()


def test_arms_hold_what_they_say(images):
    positives = 4
    for ratio in (0.0, 0.5, 2.0):
        train_set = Arm(shots=positives, ratio=ratio).wrap(images, [strokes], 0)
        added = round(ratio * positives)
        assert len(train_set) == 2 * (positives + added)
        assert train_set.targets.mean() == 0.5
        assert len(train_set) - train_set.n_real == added
    filled = Arm(shots=positives, uniform=9, normals=0.0).wrap(images, [strokes], 0)
    assert filled.targets.tolist() == [1] * 9
    everything = Arm(shots=None, ratio=1.0, normals=0.0).wrap(images, [strokes], 0)
    assert len(everything) == 2 * sum(images.targets)


def test_makers_see_the_shots_alone(images):
    seen = []

    def maker(real):
        seen.append(real.targets)
        return StrokePaste()

    Arm(shots=3, ratio=1.0).wrap(images, [maker], 0)
    Arm(shots=None, ratio=1.0, normals=0.0).wrap(images, [maker], 0)
    assert [sum(targets) for targets in seen] == [3, sum(images.targets)]


def test_sections_compare_with_their_first_arm_and_share_arms():
    found = sections(5)
    assert list(found) == ["ratio", "uniform", "normals", "double"]
    assert found["ratio"].arms["0"] == found["uniform"].arms["real only"] == found["normals"].arms["100%"]
    assert found["double"].arms["synthetic 2x"].shots is None


def test_crops_hold_the_defect_and_move_image_and_mask_together(images):
    crop = Crop(24)
    torch.manual_seed(0)
    for item in images.items:
        marked = {**item, "image": np.repeat(item["mask"][..., None], 3, axis=2)}
        cut = crop(marked)
        assert cut["mask"].shape == (24, 24)
        assert np.array_equal(cut["image"][..., 0], cut["mask"])
        assert cut["mask"].any() == item["mask"].any()
    assert crop({**images.items[0], "mask": np.zeros((20, 40), np.uint8), "image": np.zeros((20, 40, 3), np.uint8)})[
        "image"
    ].shape == (20, 24, 3)


def test_batches_are_normalised_colour_whatever_the_depth():
    grey = {"image": np.full((8, 8, 1), 65535, np.uint16), "mask": np.eye(8, dtype=np.uint8), "label": 1, "path": ""}
    pixels, masks = collate([grey, grey])
    assert pixels.shape == (2, 3, 8, 8)
    assert masks.shape == (2, 1, 8, 8)
    assert pixels[0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)
    assert masks.sum() == 16


def test_dice_counts_overlap():
    truth = torch.tensor([1.0, 1, 0, 0])
    assert dice(truth, truth) == pytest.approx(0)
    assert dice(torch.tensor([1.0, 0, 1, 0]), truth) == pytest.approx(1 - 3 / 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_a_logit_for_every_pixel(name):
    if name != "unet":
        pytest.importorskip("segmentation_models_pytorch")
    with torch.inference_mode():
        assert build(name, width=4).eval()(torch.zeros(2, 3, 32, 64)).shape == (2, 1, 32, 64)


def test_the_unet_sees_its_whole_receptive_field():
    torch.manual_seed(0)
    network = SmallUNet(4).eval()
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    network(image)[0, 0, 32, 32].backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().squeeze()
    assert rows.max() - rows.min() > 40


def test_unknown_networks_and_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one of unet, deeplabv3plus, mit_b0; got vgg"):
        build("vgg")
    with pytest.raises(ValueError, match="trained from scratch"):
        build("unet", weights=tmp_path / "x.safetensors")


def test_training_learns_and_repeats(images):
    recipe = Recipe(steps=40, batch=4, crop=32, learning_rate=3e-3)
    scores = []
    for _ in range(2):
        torch.manual_seed(0)
        dataset = Arm(shots=8).wrap(images, [strokes], 0, Crop(32))
        network = train(build("unet", width=4), dataset, recipe, 0)
        logits = predict(network, images, "cpu")
        masks = np.stack([item["mask"] for item in images.items])
        scores.append(measure(logits, masks, images.kind, images.kinds[0])["scores"])
    assert scores[0] == scores[1]
    assert scores[0]["auroc"] > 0.7
