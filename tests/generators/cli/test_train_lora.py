import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inout_aug.cli import app
from inout_generators.common.losses import read_losses
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.tiny import tiny_stable_diffusion
from support import kill_at

runner = CliRunner()
QUICK = ["--precision", "fp32", "--prior-images", "0", "--epochs", "1", "--size", "32x16", "--device", "cpu"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_stable_diffusion(folder)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """KSDD2's layout: three defective parts and four good ones, with captions beside them."""
    root = tmp_path_factory.mktemp("parts")
    (root / "train").mkdir()
    rng = np.random.default_rng(0)
    for k in range(7):
        mask = np.zeros((60, 24), np.uint8)
        mask[20:30, 8 : 9 + k] = 255 * (k < 3)
        cv2.imwrite(str(root / "train" / f"{k}.png"), rng.integers(90, 110, (60, 24), np.uint8))
        cv2.imwrite(str(root / "train" / f"{k}_GT.png"), mask)
        (root / "train" / f"{k}.txt").write_text(f"skt number {'abcdefg'[k]}")
    return root


@pytest.fixture
def recipe(tmp_path):
    """One image a step, each of them once."""
    path = tmp_path / "quick.toml"
    path.write_text("epochs = 1\nrepeats = 1\nbatch = 1\npositives = 2\nnormals = 1\nprior_images = 0\npreviews = 0\n")
    return path


def run(base, out, *arguments):
    return runner.invoke(app, ["train", "lora", "--base", str(base), "--out", str(out), *map(str, arguments)])


def trained_on(out):
    record = json.loads((out / "training" / "provenance.json").read_text())
    return record["images"], record["recipe"]


def test_a_scenario_from_the_command_line(base, parts, recipe, tmp_path):
    data = ["--data", parts, "--format", "ksdd2", "--scenario", recipe, *QUICK]
    result = run(base, tmp_path / "a", *data, "--alpha", "0.5")
    assert result.exit_code == 0, result.output
    assert "3 images at 32x16 pixels" in result.output
    assert "ready for LoRADiffusion.from_pretrained, or --generator lora" in result.output
    images, _ = trained_on(tmp_path / "a")
    assert images["images"] == {"defect": 2, "normal": 1}
    assert images["captions"] == {"skt background": 3}
    generator = LoRADiffusion.from_pretrained(tmp_path / "a", device="cpu")
    assert generator.alpha == 0.5
    assert generator.prompts[0].defect_class == "defect"
    again = run(base, tmp_path / "a", *data)
    assert again.exit_code == 2
    assert "--resume" in again.output


def test_captions_and_numbers_of_your_own(base, parts, recipe, tmp_path):
    data = ["--data", parts, "--format", "ksdd2", "--scenario", recipe, *QUICK]
    result = run(base, tmp_path / "b", *data, "--captions-beside", "--shots", "all", "--normals", "0")
    assert result.exit_code == 0, result.output
    images, used = trained_on(tmp_path / "b")
    assert images["captions"] == {"skt number a": 1, "skt number b": 1, "skt number c": 1}
    assert (used["positives"], used["normals"]) == (None, 0)
    result = run(base, tmp_path / "c", *data, "--caption", "defect=skt broken", "--caption", "good=skt", "--shots", "1")
    assert result.exit_code == 0, result.output
    assert trained_on(tmp_path / "c")[0]["captions"] == {"skt broken": 1, "skt": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "some"], "there are few, full, zero"),
        (["--caption", "dent=a", "--caption", "rust=b"], "--caption is TEXT once, or CLASS=TEXT for scratch, spot"),
        (["--caption", "good=a"], "no caption for"),
        (["--shots", "0", "--normals", "0"], "--shots is a number from 1, or all"),
        (["--normals", "0", "--scenario", "zero"], "no image of the product"),
        (["--alpha", "1.5"], "alpha"),
        (["--size", "32"], "--size is HEIGHTxWIDTH"),
        (["--size", "250x625"], "Take 248x624"),
        (["--prompts", "absent.toml"], "there is no prompt set at absent.toml"),
        (["--prior", "absent", "--prior-images", "5"], "no prior images in absent"),
        (["--captions-beside", "--prior-images", "0"], "no caption beside"),
        (["--data", "absent"], "--format"),
    ],
)
def test_mistakes_are_told_in_one_line(base, tmp_path, arguments, message):
    result = run(base, tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    # before it, the libraries may say what they load
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_there(tmp_path):
    result = run(tmp_path / "none" / "here", tmp_path / "out")
    assert result.exit_code == 2
    assert "there is no base at" in result.output


def test_a_killed_training_resumes_to_the_same_losses_and_files(base, parts, recipe, tmp_path):
    recipe.write_text(recipe.read_text() + "[training]\nlog_every = 1\ncheckpoint_every = 3\n")
    options = ["--data", str(parts), "--format", "ksdd2", "--scenario", str(recipe), *QUICK, "--epochs", "4"]
    # as many threads as the tests have: sums differ by their order
    command = "import torch; torch.set_num_threads(1); from inout_aug.cli import app; app()"
    words = ["-c", command, "train", "lora", "--base", base, "--out", tmp_path / "killed", *options]
    kill_at("step 5 ", words)
    assert not (tmp_path / "killed" / "lora_diffusion.json").exists()
    resumed = run(base, tmp_path / "killed", *options, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "resumed at step " in resumed.output
    whole = run(base, tmp_path / "whole", *options)
    assert whole.exit_code == 0, whole.output
    for name in ("training/losses.jsonl", "pytorch_lora_weights.safetensors", "kohya.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(read_losses(tmp_path / "whole" / "training" / "losses.jsonl")) == 12
