"""`inout-aug evaluate` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_0
from typer.testing import CliRunner, Result

from inout_aug.cache.importer import import_dataset
from inout_aug.cache.review import Review
from inout_aug.cli import app
from inout_aug.datasets import Surfaces


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def spots(count: int, seed: int, **options: Any) -> Surfaces:
    return Surfaces(count, size=(64, 160), defect_share=1.0, defects=("spot",), binary=True, seed=seed, **options)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(squeezenet1_0().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A timm model that takes milliseconds, with weights from a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet.r160_in1k", pretrained=False).state_dict(), path)
    return f"test_resnet.r160_in1k={path}"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 6 defective parts for training, 5 for the test, and a good one in each."""
    root = tmp_path_factory.mktemp("parts")
    for split, count, seed in (("train", 6, 1), ("test", 5, 2)):
        for name in ("images", "masks"):
            (root / split / name).mkdir(parents=True)
        for k, item in enumerate(spots(count, seed)):
            cv2.imwrite(str(root / split / "images" / f"{k}.png"), item["image"])
            cv2.imwrite(str(root / split / "masks" / f"{k}.png"), 255 * item["mask"])
        cv2.imwrite(str(root / split / "images" / "good.png"), np.full((64, 160), 120, np.uint8))
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    import_dataset(spots(8, 3), tmp_path / "cache", name="spots", progress=False)
    return tmp_path / "cache"


def test_a_cache_against_a_folder(cache: Path, real: Path, tiny: str, tmp_path: Path) -> None:
    review = Review(cache)
    review.reject([0, 1])
    review.relabel([2], 7)
    out = tmp_path / "new" / "out"
    result = run(cache, "--real", real, "--format", "folder", "--train-shots", 4, "--features", tiny, "--out", out)
    assert "KID " in result.output
    assert f"{out / 'evaluation.md'}\n" in result.output
    data = json.loads((out / "evaluation.json").read_text())
    assert data["classes"] == {"synthetic": {"1": 5, "7": 1}, "training": {"1": 4}, "held out": {"1": 5}}
    assert len(data["memorisation"]["distances"]) == 6
    assert "tiny.safetensors, fingerprint" in data["notes"]["features"]
    assert data["title"] == f"spots against {real.name}"
    assert "8 samples, of which 2 were rejected in review; 6 were read, of which 0" in data["notes"]["cache"]
    assert str(tmp_path) not in (out / "evaluation.md").read_text()


def test_size_crop_and_count(cache: Path, real: Path, tiny: str, tmp_path: Path) -> None:
    common = [cache, "--real", real, "--format", "folder", "--features", tiny, "--out", tmp_path / "out", "-n", 5]
    for crop, expected in (("whole", None), ("32", 32)):
        run(*common, "--size", "48x96", "--crop", crop)
        data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        assert data["crop"] == expected
        assert data["notes"]["size"] == "all resized to 48x96"
        assert data["fidelity"]["images"] == [5, 5]


def test_squeezenet_from_a_file(cache: Path, real: Path, weights: Path, tmp_path: Path) -> None:
    common = [cache, "--real", real, "--format", "folder", "--train-shots", 1, "-n", 4]
    run(*common, "--features", weights, "--out", tmp_path)
    assert "squeezenet.safetensors, fingerprint" in (tmp_path / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--features says which network looks at the images"),
        (["--features", "nothing.safetensors"], "nothing.safetensors"),
        (["--features", "no_such_model"], "no_such_model"),
        (["--features", "resnet18={weights}"], "--features says which network"),
        (["--features", "{weights}", "--crop", "8"], "--crop is auto, whole, or a number of pixels, at least 16"),
        (["--features", "{weights}", "--crop", "all"], "--crop is auto, whole"),
        (["--features", "{weights}", "--size", "64"], "--size is HxW"),
        (["--features", "{weights}", "--size", "0x64"], "--size is HxW"),
        (["--features", "{weights}", "--category", "screw"], "--category is for --format mvtec"),
        (["--features", "{weights}", "--train-shots", "9"], "shots must be in [0, 6]"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    cache: Path, real: Path, weights: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    given = [word.format(weights=weights) for word in words]
    result = run(cache, "--real", real, "--format", "folder", "--out", tmp_path / "out", *given, code=2)
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "evaluation.md").exists()


def test_a_folder_of_others_is_left_alone(cache: Path, real: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "evaluation.md").write_text("mine")
    result = run(cache, "--real", real, "--format", "folder", "--features", weights, "--out", out, code=2)
    assert "did not write" in result.stderr
    assert (out / "evaluation.md").read_text() == "mine"
