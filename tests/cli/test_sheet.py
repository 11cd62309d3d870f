import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inout_aug.cli import app

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, ["sheet", *map(str, arguments)])


@pytest.fixture
def parts(tmp_path):
    """A folder of 6 good parts and 2 defective ones, in the plainest layout."""
    for name in ("images", "masks"):
        (tmp_path / "parts" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(8):
        cv2.imwrite(str(tmp_path / f"parts/images/{k}.png"), rng.integers(60, 160, (48, 64), np.uint8))
    for k in (3, 4):
        cv2.imwrite(str(tmp_path / f"parts/masks/{k}.png"), 255 * np.eye(48, 64, dtype=np.uint8))
    return tmp_path / "parts"


@pytest.mark.parametrize("generator", ["memseg", "cutpaste", "nsa", "stroke"])
def test_draws_every_generator_on_a_folder(parts, tmp_path, generator):
    out = tmp_path / "new" / "sheet.png"
    result = run("--data", parts, "--format", "folder", "--generator", generator, "--n", 3, "--tile", 64, "--out", out)
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(out)).size > 0
    assert "3 samples" in result.output


def test_draws_procedural_surfaces_without_data_and_repeats_by_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = run("--generator", "stroke", "-n", 2, "--tile", 48, "--seed", seed, "--out", tmp_path / f"{name}.png")
        assert result.exit_code == 0, result.output
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_textures_are_for_memseg(parts, tmp_path):
    out = tmp_path / "sheet.png"
    common = ["--data", parts, "--format", "folder", "--textures", parts / "images", "-n", 2, "--out", out]
    assert run(*common).exit_code == 0
    refused = run(*common, "--generator", "stroke")
    assert refused.exit_code == 2
    assert "--textures is for --generator memseg" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere", "--format", "ksdd2"], "is not a folder"),
        (["--data", "nowhere"], "--format ksdd2, mvtec or folder go together"),
        (["--format", "mvtec"], "--format ksdd2, mvtec or folder go together"),
        (["--category", "screw"], "--category is for --format mvtec"),
        (["--generator", "nope"], "no generator 'nope' is installed; there are"),
        (["--textures", "nowhere"], "nowhere"),
        (["--out", "sheet.gif"], "one of .png, .jpg"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_names_the_choices():
    result = runner.invoke(app, ["sheet", "--help"], env={"NO_COLOR": "1"})
    assert result.exit_code == 0
    for word in ("--format", "ksdd2", "mvtec", "--generator", "memseg", "stroke", "--closeup"):
        assert word in result.output
