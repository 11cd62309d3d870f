"""The README's Python runs as printed, on a small stand-in for the reader's dataset."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from inout_aug.datasets import Surfaces
from standin import Noise

README = Path(__file__).parents[1] / "README.md"
CHECKPOINT = README.parent / "generators/inout_generators/checkpoints/surfaces"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    (tmp_path / "textures").mkdir()
    for i in range(3):
        picture = np.random.default_rng(i).integers(0, 256, (80, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "textures" / f"{i}.png"), picture)
    shutil.copytree(CHECKPOINT, tmp_path / "ckpt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "cache"))
    namespace = {
        "train_set": Surfaces(60, size=(64, 64), binary=True),
        "train_transform": v2.ToImage(),
        "DataLoader": DataLoader,
        "my_generator": Noise(),
    }
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), namespace)
    for batch in namespace["loader"]:
        assert batch["image"].shape[1:] == (3, 64, 64)
    assert namespace["train"].summary().synthetic == {"MemSegPaste": 20, "Noise": 20}


def test_it_opens_with_the_two_commands():
    first = blocks("bash")[0].splitlines()
    assert len(first) == 2
    assert "inout-aug demo" in first[0]
    assert "pytest" in first[1]


def test_links_to_files_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
