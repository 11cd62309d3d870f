import cv2
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from inout_generators.cli.strengths import strengths
from inout_generators.defectdiffu.generator import DefectDiffu
from inout_generators.defectdiffu.model import preset
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

runner = CliRunner()
app = Typer()
app.command()(strengths)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    products = {"hex nut": ("worn edge",), "disc": ()}
    text = NamedEmbedding(products=list(products), defects=["worn edge"], dim=16)
    net = preset("tiny", channels=1, patch=4, text_dim=16, width=32, depths=(1, 1, 1), heads=4)
    path = tmp_path_factory.mktemp("checkpoint")
    DefectDiffu(net, text, PixelSpace(1), products=products, size=(16, 24), steps=3, device="cpu").save_pretrained(path)
    return path


def run(*arguments):
    return runner.invoke(app, [*map(str, arguments), "--device", "cpu", "--tile", "32"])


def test_it_draws_strengths_transfer_and_attention(checkpoint, tmp_path):
    result = run(checkpoint, "--out", tmp_path / "seen")
    assert result.exit_code == 0, result.output
    pictures = {path.stem: cv2.imread(str(path)) for path in (tmp_path / "seen").iterdir()}
    assert set(pictures) == {"strength", "attention", "zero_shot"}
    # strengths 0 and the paper's five, for the one pair that was seen
    assert pictures["strength"].shape[1] == 110 + 6 * 34 + 10


def test_a_product_without_defects_has_transfer_alone(checkpoint, tmp_path):
    result = run(checkpoint, "--out", tmp_path, "--products", "disc")
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["zero_shot.png"]


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [("checkpoint", ["--products", "hexnut"], "did you mean 'hex nut'?"), ("gone", [], "gone")],
)
def test_mistakes_are_one_line(checkpoint, tmp_path, path, arguments, message):
    result = run(checkpoint if path == "checkpoint" else tmp_path / path, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
