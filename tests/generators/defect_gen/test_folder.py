"""Folders of Defect-Gen: what is written is what is read, and what is broken off is no generator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inout_aug.plugin import Request
from inout_generators.common.checkpoints import CheckpointError
from inout_generators.common.schedule import CosineSchedule
from inout_generators.defect_gen import folder
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.generator import DefectGen
from inout_generators.defect_gen.unet import DefectGenUNet


def unet(seed: int = 0, channels: int = 4, classes: int = 2) -> DefectGenUNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net: DefectGenUNet = DefectGenUNet(
            channels=channels, width=32, multipliers=(1,), blocks=1, attention_levels=(), classes=classes
        )
    return net


def generator(**settings: Any) -> DefectGen:
    encoding = settings.pop("encoding", Encoding(1, ("crack", "dent")))
    nets = [unet(seed, encoding.channels, len(encoding.classes)) for seed in (0, 1)]
    return DefectGen(*nets, encoding, **{"size": (32, 48), "device": "cpu", **settings})


def weight(net: torch.nn.Module) -> Any:
    return torch.cat([value.flatten() for value in net.state_dict().values()])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "encoding": Encoding(3, ("Riß",), (-1.0, 0.5)),
            "size": (16, 24),
            "schedule": CosineSchedule(50, 0.02),
            "switch_t": 47,
        },
        {
            "crop": True,
            "switch_t": 0,
            "sampler": "ddpm",
            "steps": 7,
            "regions": "perlin",
            "min_area": 9,
            "feather": 0.5,
        },
        {"provenance": {"seed": 3, "data": {"areas": {"crack": [5, 7]}}}},
    ],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = generator(**settings)
    folder.save(made, tmp_path / "new" / "folder")
    large, local, stored = folder.load(str(tmp_path / "new" / "folder"))
    assert torch.equal(weight(large), weight(made.large))
    assert torch.equal(weight(local), weight(made.local))
    assert not torch.equal(weight(large), weight(local))
    assert stored == {
        **{name: getattr(made, name) for name in ("crop", "switch_t", "sampler", "steps", "regions", "min_area")},
        **{name: getattr(made, name) for name in ("feather", "provenance", "size", "schedule", "encoding")},
    }
    again = DefectGen(large, local, device="cpu", **stored)
    assert folder.describe(again) == folder.describe(made)
    assert again.fingerprint == made.fingerprint


def test_a_generator_written_over_another_is_whole_or_none(tmp_path: Path) -> None:
    folder.save(generator(), tmp_path)
    second = generator(steps=9)
    second.local.to("meta")  # has no weights to write
    with pytest.raises(NotImplementedError, match="meta"):
        folder.save(second, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no defect_gen\.json"):
        folder.load(tmp_path)
    folder.save(generator(steps=9), tmp_path)
    assert folder.load(tmp_path)[2]["steps"] == 9


def test_what_cannot_be_saved_leaves_what_was_there(tmp_path: Path) -> None:
    folder.save(generator(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    broken = generator(steps=9)
    broken.local = torch.nn.Identity()
    with pytest.raises(TypeError, match="the local net is a Identity; only diffusers' models"):
        folder.save(broken, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "key", ["classes", "image_channels", "mask_range", "size", "schedule", "steps", "feather", "provenance"]
)
def test_a_description_that_lacks_anything_is_refused_by_name(tmp_path: Path, key: str) -> None:
    folder.save(generator(), tmp_path)
    stored = json.loads((tmp_path / folder.FILE).read_text())
    del stored[key]
    (tmp_path / folder.FILE).write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=rf"defect_gen\.json is not what save_pretrained writes: .*{key}"):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["crack", "crack"]),
        ("classes", 2),
        ("image_channels", 2),
        ("mask_range", [1, 0]),
        ("mask_range", [0]),
        ("mask_range", "wide"),
        ("size", 32),
        ("schedule", {"steps": 0}),
        ("schedule", {"steps": 1000, "s": 0.008, "beta": 1}),
    ],
)
def test_a_description_out_of_range_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    folder.save(generator(), tmp_path)
    stored = json.loads((tmp_path / folder.FILE).read_text())
    (tmp_path / folder.FILE).write_text(json.dumps({**stored, key: value}))
    with pytest.raises(CheckpointError, match="is not what save_pretrained writes"):
        folder.load(tmp_path)
    (tmp_path / folder.FILE).write_text(json.dumps([stored]))
    with pytest.raises(CheckpointError, match="holds a list"):
        folder.load(tmp_path)


def test_the_generator_that_comes_with_the_package_draws_what_it_names() -> None:
    large, local, stored = folder.load("surfaces")
    made = DefectGen(large, local, device="cpu", batch_size=1, **{**stored, "steps": 6})
    assert made.provenance["recipe"]["symmetry"] == "flips"
    assert made.encoding.classes == tuple(made.provenance["data"]["areas"])
    height, width = made.size
    wanted = Request(seed=0, height=height, width=width, channels=made.encoding.image_channels, defect_class=1)
    sample = made.generate([wanted])[0]
    assert sample.mask is not None
    assert set(np.unique(sample.mask)) == {0, 1}
