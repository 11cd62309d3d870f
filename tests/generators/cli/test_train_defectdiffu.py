import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inout_aug import InOutAugment
from inout_aug.cache import CachedSampler
from inout_aug.cli import app
from inout_aug.datasets import Surfaces
from inout_generators.defectdiffu.generator import DefectDiffu

runner = CliRunner()
RECIPE = """
batch = 2
text_dim = 16
[net]
preset = "tiny"
patch = 4
width = 32
depths = [1, 1, 1]
heads = 4
[training]
steps = 2
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE)
    return path


def run(out, recipe, *arguments):
    options = ["--recipe", recipe, "--size", "16x24", "--device", "cpu", "--out", out, *arguments]
    return runner.invoke(app, ["train", "defectdiffu", *map(str, options)])


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def draw(path, level=100):
    save(path, np.random.default_rng(level).integers(level - 10, level + 10, (20, 28), np.uint8))


def draw_mask(path):
    mask = np.zeros((20, 28), np.uint8)
    mask[8:12, 10:18] = 255
    save(path, mask)


@pytest.fixture
def plant(tmp_path):
    """MVTec AD's layout for three products with spaces in their names; one of them has no defects."""
    root = tmp_path / "plant"
    for level, (product, defects) in enumerate(
        {"hex nut": ("worn edge", "dent"), "disc": ("nick",), "rod": ()}.items()
    ):
        for k in range(3):
            draw(root / product / "train" / "good" / f"{k}.png", 60 + 40 * level)
        draw(root / product / "test" / "good" / "0.png", 60 + 40 * level)
        for defect in defects:
            for k in range(4):
                draw(root / product / "test" / defect / f"{k}.png", 70 + 40 * level)
                draw_mask(root / product / "ground_truth" / defect / f"{k}_mask.png")
    return root


def test_it_trains_on_all_products_of_a_folder_and_resumes(plant, recipe, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("product,defect,uni_defect\ndisc,nick,dent\n")
    data = ["--data", plant, "--format", "mvtec", "--names", names]
    result = run(tmp_path / "out", recipe, *data)
    assert result.exit_code == 0, result.output
    assert "dent disc, dent hex nut, worn edge hex nut; good ones only of rod; at 16x24 pixels" in result.output
    generator = DefectDiffu.from_pretrained(tmp_path / "out", device="cpu")
    assert generator.products == {"disc": ("dent",), "hex nut": ("dent", "worn edge"), "rod": ()}
    again = run(tmp_path / "out", recipe, *data)
    assert again.exit_code == 2
    assert "--resume" in again.output
    assert run(tmp_path / "out", recipe, *data, "--resume").exit_code == 0


def test_some_products_and_one_of_them_for_transfer(plant, recipe, tmp_path):
    options = ["--data", plant, "--format", "mvtec", "--products", "disc,hex nut", "--good-only", "hex nut"]
    result = run(tmp_path / "out", recipe, *options, "--shots", "1", "--good", "2")
    assert result.exit_code == 0, result.output
    assert "nick disc; good ones only of hex nut" in result.output
    data = json.loads((tmp_path / "out" / "training" / "provenance.json").read_text())["data"]
    assert (data["disc"]["images"], data["disc"]["good_images"]) == (1, 2)
    assert (data["hex nut"]["images"], data["hex nut"]["good_images"]) == (0, 2)


def test_one_product_by_itself(plant, recipe, tmp_path):
    result = run(tmp_path / "out", recipe, "--data", plant / "disc", "--format", "mvtec")
    assert result.exit_code == 0, result.output
    assert "nick disc; at 16x24 pixels" in result.output


def test_a_manifest_of_several_products(plant, recipe, tmp_path):
    manifest = plant / "parts.csv"
    manifest.write_text(
        "image,mask,product,defect\n"
        "rod/train/good/0.png,,rod,good\n"
        "disc/train/good/0.png,,disc,good\n"
        "disc/test/nick/0.png,disc/ground_truth/nick/0_mask.png,disc,nick\n"
        "rod/test/good/0.png,disc/ground_truth/nick/0_mask.png,rod,nick\n"
    )
    result = run(tmp_path / "out", recipe, "--manifest", manifest, "--good-only", "rod")
    assert result.exit_code == 0, result.output
    assert "nick disc; good ones only of rod" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--products", "metal,wool"], "wool"),
        (["--products", "metal,cast", "--good-only", "cats"], "no product 'cats'; did you mean 'cast'?"),
        (["--names", "gone.csv"], "gone.csv"),
        (["--manifest", "gone.csv", "--products", "a"], "--manifest names all images"),
        (["--manifest", "gone.csv"], "gone.csv"),
        (["--shots", "few"], "--shots"),
        (["--symmetry", "round"], "symmetry"),
        (["--recipe", "huge"], "no recipe 'huge'; there are paper, small, tiny"),
        (["--data", ".", "--format", "mvtec"], "has no <product>/train/good"),
    ],
)
def test_mistakes_are_one_line(recipe, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path / "out", recipe, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_procedural_surfaces_go_without_data(recipe, tmp_path):
    options = ["--products", "metal,cast", "--good-only", "cast", "--shots", "1", "--good", "3", "--shrink", "4"]
    result = run(tmp_path / "out", recipe, *options, "--crop")
    assert result.exit_code == 0, result.output
    assert "scratch metal, spot metal; good ones only of cast" in result.output


def test_from_folders_to_a_training_loop(recipe, tmp_path):
    materials = ("metal", "cast")
    for material in materials:
        parts = Surfaces(8, size=(32, 48), materials=(material,), defects=("scratch",), defect_share=0.5)
        kinds = {0: ("train/good", "test/good"), 1: ("test/scratch",)}
        for k, part in enumerate(parts):
            for kind in kinds[part["label"]]:
                save(tmp_path / "plant" / material / kind / f"{k}.png", part["image"])
            if part["label"]:
                save(tmp_path / "plant" / material / "ground_truth" / "scratch" / f"{k}_mask.png", part["mask"] * 255)
    trained, where = tmp_path / "trained", tmp_path / "cache"
    data = ["--data", tmp_path / "plant", "--format", "mvtec", "--good-only", "cast"]
    # two steps so long that the net is as good as random: one of two short ones draws no defect yet
    result = run(trained, recipe, *data, "--learning-rate", "1")
    assert result.exit_code == 0, result.output
    shown = ["strengths", trained, "--out", tmp_path / "seen", "--tile", "32", "--device", "cpu"]
    filled = ["cache", "fill", where, "--generator", "defectdiffu", "--from", trained, "-n", "8", "--size", "16x24"]
    for prompt in materials:
        filled += ["--prompt", prompt]
    for strength in ("0.5", "1.5"):
        filled += ["--strength", strength]
    for arguments in (shown, [*filled, "--setting", "steps=2", "--setting", "device=cpu"]):
        result = runner.invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
    assert {path.stem for path in (tmp_path / "seen").iterdir()} == {"strength", "attention", "zero_shot"}

    sampler = CachedSampler(where)
    asked = {(sample.origin.params["prompt"], sample.origin.params["strength"]) for sample in sampler.cache}
    assert asked == {(product, strength) for product in materials for strength in (0.5, 1.5)}
    train = InOutAugment(generators=[sampler], n_aug=6)(Surfaces(10, size=(16, 24), binary=True))
    added = [train[k] for k in range(10, len(train))]
    assert len(added) == 6
    assert all(part["mask"].any() for part in added)
