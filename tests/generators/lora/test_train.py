import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from inout_aug.plugin import Request
from inout_generators.common.checkpoints import CheckpointError, replacing
from inout_generators.common.losses import read_losses
from inout_generators.common.training import LOSSES, TrainingDiverged
from inout_generators.lora.adapters import attach
from inout_generators.lora.base import load_base
from inout_generators.lora.data import Instance
from inout_generators.lora.files import read_lora
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.objective import DreamBooth
from inout_generators.lora.recipe import load_recipe
from inout_generators.lora.tiny import tiny_stable_diffusion
from inout_generators.lora.train import KOHYA, TRAINING, train_lora

# two images twice, two at a time: two steps
QUICK = {"epochs": 1, "repeats": 2, "batch": 2, "prior_images": 0, "previews": 0}
SIZE = (32, 16)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_stable_diffusion(folder)
    return folder


def shown(count=2, seed=0):
    rng = np.random.default_rng(seed)
    captions = [("skt background cracked", "crack"), ("skt background", None)]
    return [Instance(rng.integers(0, 256, (32, 16, 1), np.uint8), *captions[k % 2]) for k in range(count)]


def run(base, out, changes=None, training=None, *, instances=None, **options):
    options = {"size": SIZE, "device": "cpu", "log": lambda line: None, **options}
    loop = {"precision": "fp32", "optimizer": "adamw", "learning_rate": 1e-2, **(training or {})}
    recipe = load_recipe("few", {**QUICK, **(changes or {})}, loop)
    return train_lora(shown() if instances is None else instances, recipe, base, out, **options)


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A whole training, with prior images and previews, and what it said."""
    out = tmp_path_factory.mktemp("trained")
    said = []
    changes = {"prior_images": 1, "batch": 4, "previews": 1}
    generator = run(base, out, changes, log=said.append)
    return out, generator, said


def test_the_folder_is_a_whole_generator(base, trained):
    out, generator, _ = trained
    assert generator.alpha == 0.95
    assert (generator.clip_skip, generator.size) == (1, SIZE)
    assert [(p.text, p.defect_class) for p in generator.prompts] == [("skt background cracked", "crack")]
    again = LoRADiffusion.from_pretrained(out, device="cpu")
    assert again.fingerprint == generator.fingerprint
    request = Request(seed=3, height=40, width=20, channels=1)
    again.steps = generator.steps = 2
    np.testing.assert_array_equal(again.generate([request])[0].image, generator.generate([request])[0].image)
    assert json.loads((out / "lora_diffusion.json").read_text())["base"] == str(base)


def test_both_files_keep_every_alpha(base, trained):
    out, _, _ = trained
    predictions = []
    for file in (out / "pytorch_lora_weights.safetensors", out / KOHYA):
        pipeline = load_base(base)
        lora = read_lora(file, pipeline.unet, pipeline.text_encoder)
        assert lora.clip_skip == 1
        scales = {update.alpha / update.rank for update in lora.unet.values()}
        assert scales == {0.5, 0.25}
        assert {update.alpha / update.rank for update in lora.text_encoder.values()} == {0.5}
        assert len(lora.text_encoder) == 18
        attach(lora, pipeline.unet, pipeline.text_encoder, alpha=0.7)
        torch.manual_seed(0)
        with torch.no_grad():
            words = pipeline.text_encoder(torch.arange(77)[None])[0]
            predictions.append(pipeline.unet(torch.randn(1, 4, 8, 8), 500, encoder_hidden_states=words).sample)
    torch.testing.assert_close(predictions[0], predictions[1], rtol=0, atol=0)
    with torch.no_grad():
        plain = load_base(base)
        torch.manual_seed(0)
        words = plain.text_encoder(torch.arange(77)[None])[0]
        untouched = plain.unet(torch.randn(1, 4, 8, 8), 500, encoder_hidden_states=words).sample
    assert (predictions[0] - untouched).abs().max() > 1e-3


def test_it_says_what_it_learns_from_and_leaves_a_record(trained):
    out, _, said = trained
    assert said[0] == (
        "2 images at 32x16 pixels, at most 0% of one cut off; captions skt background, skt background cracked"
    )
    assert said[1] == "prior images of 'background': 1 of 1 drawn"
    assert any(line.endswith("0:00:00 left") for line in said)
    record = json.loads((out / TRAINING / "provenance.json").read_text())
    assert record["images"]["images"] == {"crack": 1, "normal": 1}
    assert record["prior"]["captions"] == {"background": 1}
    assert record["recipe"]["network_alpha"] == 16
    assert len(list((out / TRAINING / "prior").glob("*/*.png"))) == 1
    assert (out / TRAINING / "preview_0000002.png").stat().st_size > 1000


class Stopped(Exception):
    pass


def test_it_resumes_to_the_same_losses_and_weights_bit_for_bit(base, tmp_path, monkeypatch):
    changes, training = {"epochs": 3}, {"checkpoint_every": 2, "log_every": 1}
    run(base, tmp_path / "whole", changes, training)
    calls, real = iter(range(5)), DreamBooth.__call__

    def stopping(*arguments):
        if next(calls, None) is None:
            raise Stopped
        return real(*arguments)

    monkeypatch.setattr(DreamBooth, "__call__", stopping)
    with pytest.raises(Stopped):
        run(base, tmp_path / "broken", changes, training)
    monkeypatch.undo()
    assert not (tmp_path / "broken" / "lora_diffusion.json").exists()
    with pytest.raises(FileExistsError, match="--resume"):
        run(base, tmp_path / "broken", changes, training)
    said = []
    run(base, tmp_path / "broken", changes, training, resume=True, log=said.append)
    assert any(line.startswith("resumed at step 4 of 6") for line in said)
    for name in ("training/losses.jsonl", "pytorch_lora_weights.safetensors", KOHYA):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(CheckpointError, match="with other images, seed, which cannot go on"):
        run(base, tmp_path / "whole", changes, training, resume=True, instances=shown(seed=1), seed=1)
    with pytest.raises(CheckpointError, match="with other rank, snr_gamma, which cannot go on"):
        run(base, tmp_path / "whole", {**changes, "rank": 8, "snr_gamma": 0}, training, resume=True)


def test_nan_stops_it(base, tmp_path, monkeypatch):
    real = DreamBooth.__call__
    monkeypatch.setattr(DreamBooth, "__call__", lambda *arguments: real(*arguments) * math.nan)
    with pytest.raises(TrainingDiverged, match=r"at step 0\. No checkpoint yet.*lower learning_rate"):
        run(base, tmp_path)
    assert not (tmp_path / "lora_diffusion.json").exists()


def test_your_own_prior_images(base, tmp_path):
    with replacing(tmp_path / "own" / "a.png") as unfinished:
        unfinished.write_bytes(cv2.imencode(".png", np.zeros((40, 40), np.uint8))[1].tobytes())
    run(base, tmp_path / "out", {"prior_images": 9}, prior=tmp_path / "own")
    record = json.loads((tmp_path / "out" / TRAINING / "provenance.json").read_text())
    assert record["prior"]["captions"] == {"background": 1}
    assert not (tmp_path / "out" / TRAINING / "prior").exists()
    # two images twice, beside a prior image each
    assert len(read_losses(tmp_path / "out" / TRAINING / LOSSES)) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instances": []}, ValueError, "no image of the product"),
        ({"size": (30, 16)}, ValueError, r"multiples of 8 .* Take 32x16"),
        ({"prior": Path("absent"), "changes": {"prior_images": 5}}, FileNotFoundError, "no prior images in absent"),
        ({"prior": Path("absent")}, ValueError, "prior images are given, absent, but the recipe has prior_images = 0"),
        ({"prompts": {"x" * 80: "crack"}}, ValueError, "at most 77 tokens"),
        (
            {"instances": [Instance(np.zeros((32, 16, 3), np.uint8), "y" * 80)]},
            ValueError,
            "at most 77 tokens",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(base, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        run(base, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_bases_that_cannot_be_trained(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no base at"):
        run(tmp_path / "a" / "b", tmp_path / "out")
    tiny_stable_diffusion(tmp_path / "inpaint", in_channels=9)
    with pytest.raises(CheckpointError, match=r"it is for inpainting\. Train on the base that it was made from"):
        run(tmp_path / "inpaint", tmp_path / "out")
    assert not (tmp_path / "out").exists()
