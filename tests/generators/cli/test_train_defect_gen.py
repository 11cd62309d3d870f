import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inout_aug.cli import app
from inout_aug.cli._data import Format, open_data
from inout_generators.defect_gen.generator import DefectGen

runner = CliRunner()
QUICK = ["--steps", "2", "--batch", "2", "--size", "32x32", "--device", "cpu"]


def run(out, *arguments):
    return runner.invoke(app, ["train", "defect-gen", "--out", str(out), *map(str, arguments)])


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """MVTec AD's layout: four cracks and four holes, of which half are for training, and three good tiles."""
    root = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for name, count in (("train/good", 3), ("test/good", 1), ("test/crack", 4), ("test/hole", 4)):
        for k in range(count):
            (root / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / f"{k}.png"), rng.integers(90, 110, (40, 56), np.uint8))
    for name in ("crack", "hole"):
        (root / "ground_truth" / name).mkdir(parents=True)
        for k in range(4):
            mask = np.zeros((40, 56), np.uint8)
            mask[10:14, 20 : 30 + k] = 255
            cv2.imwrite(str(root / "ground_truth" / name / f"{k}_mask.png"), mask)
    return root


def test_it_trains_a_generator_and_resumes(tiles, tmp_path):
    data = ["--data", tiles, "--format", "mvtec", "--shots", 1, *QUICK]
    result = run(tmp_path, *data)
    assert result.exit_code == 0, result.output
    assert "2 defective images of crack, hole, 3 good ones, at 32x32 pixels" in result.output
    generator = DefectGen.from_pretrained(tmp_path, device="cpu")
    assert generator.encoding.classes == ("crack", "hole")
    assert (generator.size, generator.crop) == ((32, 32), True)
    again = run(tmp_path, *data)
    assert again.exit_code == 2
    assert "--resume" in again.output
    assert run(tmp_path, *data, "--resume").exit_code == 0


def test_one_class_of_several(tiles, tmp_path):
    result = run(tmp_path, "--data", tiles, "--format", "mvtec", "--classes", "hole", "--shots", "all", *QUICK)
    assert result.exit_code == 0, result.output
    provenance = json.loads((tmp_path / "training" / "provenance.json").read_text())
    train = open_data(tiles, Format.MVTEC)
    areas = [int((train[k]["mask"] == 2).sum()) for k, label in enumerate(train.targets) if label == 2]
    assert provenance["data"]["areas"] == {"hole": areas}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shots", "0"], "--shots"),
        (["--shots", "few"], "--shots"),
        (["--size", "64"], "--size"),
        (["--size", "300x300"], "smaller than a crop of 300x300"),
        (["--classes", "rust"], "there is no rust; there are scratch, spot, crack, dent"),
        (["--recipe", "huge"], "paper, small, surfaces, tiny"),
        (["--switch-t", "2000"], "switch_t is in [0, 1000]"),
        (["--symmetry", "round"], "symmetry"),
        (["--format", "mvtec"], "--data"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    result = run(tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_defects_is_refused(tiles, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), np.full((40, 40), 9, np.uint8))
    result = run(tmp_path / "out", "--data", tmp_path, "--format", "folder")
    assert result.exit_code == 2
    assert "no defective image" in result.output
