"""`inout-aug convert` as a user of the official code runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from typer.testing import CliRunner, Result

from inout_generators.cli.convert import convert
from inout_generators.defect_gen.generator import DefectGen
from inout_generators.defect_gen.official import unet_config
from inout_generators.defect_gen.unet import DefectGenUNet

# three of the image, the background, two classes
LOCAL = {"in_channels": 6, "out_channels": 6, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2]}
LARGE = {**LOCAL, "num_head_channels": 16, "attention_downsample": [2]}


def save_official(path: Path, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write what the official training writes; return the weights and their moving averages."""
    model, ema = (DefectGenUNet(**unet_config(config)).state_dict() for _ in range(2))
    torch.save({"model": model, "optimizer": {"state": {}}, "ema": ema}, path)
    return model, ema


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for name, config in (("large", LARGE), ("small", LOCAL)):
        save_official(Path(f"{name}.pt"), config)
        file = {"diffusion": {"params": {}}, "model": {"params": {"image_size": 32, **config}, "ckpt": None}}
        Path(f"{name}_recep.yml").write_text(yaml.safe_dump(file))
    return tmp_path


CONFIGS = ("--config", "large_recep.yml", "--config", "small_recep.yml")
REST = ("--classes", "crack, hole", "--size", "32x48", "--to", "made")


def run(*words: str, code: int = 0) -> Result:
    app = typer.Typer()
    app.command()(convert)
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("flag", ["model", "ema"])
def test_gives_a_generator(official: Path, flag: str) -> None:
    run("large.pt", "small.pt", *CONFIGS, *REST, *(["--ema"] if flag == "ema" else []))
    generator = DefectGen.from_pretrained("made", device="cpu")
    assert generator.encoding.classes == ("crack", "hole")
    assert (generator.size, generator.hosts) == ((32, 48), False)
    for net, name in ((generator.large, "large"), (generator.local, "small")):
        expected = torch.load(f"{name}.pt", weights_only=True)[flag]
        torch.testing.assert_close(dict(net.state_dict()), dict(expected), rtol=0, atol=0)


def test_takes_one_file_with_both_configurations(official: Path) -> None:
    Path("both.json").write_text(json.dumps({"large": LARGE, "small": LOCAL}))
    run("large.pt", "small.pt", "--config", "both.json", *REST)
    assert DefectGen.from_pretrained("made", device="cpu").encoding.channels == 6


def test_says_where_the_weights_come_from(official: Path) -> None:
    run("large.pt", "small.pt", *CONFIGS, *REST)
    assert json.loads(Path("made/defect_gen.json").read_text())["provenance"] == {
        "converted from": {"large": "large.pt", "local": "small.pt", "weights": "model"}
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("small.pt", "large.pt", *CONFIGS, *REST), "small.pt does not fit a DefectGenUNet: missing"),
        (("none.pt", "small.pt", *CONFIGS, *REST), "none.pt"),
        (("large_recep.yml", "small.pt", *CONFIGS, *REST), "cannot be read as tensors and plain values alone"),
        (("large.pt", "small.pt", "--config", "large_recep.yml", *REST), "give --config for the large net"),
        (("large.pt", "small.pt", *CONFIGS, "--config", "large_recep.yml", *REST), "give --config for the large net"),
        (("large.pt", "small.pt", "--config", "large.pt", *REST), "large.pt is neither YAML nor JSON"),
        (("large.pt", "small.pt", *CONFIGS, "--classes", "crack", *REST[2:]), "6 channels"),
        (("large.pt", "small.pt", *CONFIGS, "--classes", "crack,,hole", *REST[2:]), "divided by commas"),
        (("large.pt", "small.pt", *CONFIGS, *REST[:2], "--size", "32", *REST[4:]), "HEIGHTxWIDTH"),
        (("large.pt", "small.pt", *CONFIGS, *REST[:4], "--to", "."), "is not empty"),
    ],
)
def test_refuses_in_one_line(official: Path, words: tuple[str, ...], message: str) -> None:
    result = run(*words, code=2)
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert message in result.output
    assert not Path("made").exists()
