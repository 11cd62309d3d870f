"""Against the published implementation's own outputs, and against diffusers' DiT."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.official import load_dit, load_official

PARITY = Path(os.environ.get("INOUT_PARITY", Path(__file__).parents[4] / "shared" / "parity"))
CONFIG = {"patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 5, "num_heads": 4, "text_dim": 8}
DEPTHS = (2, 2, 1)
INPUTS = ("z", "t", "text_defect", "text_product", "text_fusion")


def net(**changes: Any) -> DefectDiffuTransformer:
    config = {"channels": 4, "text_dim": 8, "patch": 2, "width": 32, "depths": DEPTHS, "heads": 4, "gelu": "exact"}
    return DefectDiffuTransformer(**{**config, **changes}).eval()


def randomised(model: torch.nn.Module, seed: int = 0) -> None:
    rng = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=rng)


def weights(seed: int = 0) -> dict[str, Tensor]:
    model = net()
    randomised(model, seed)
    return dict(model.state_dict())


@pytest.mark.skipif(not (PARITY / "defectdiffu.safetensors").exists(), reason="no INOUT_PARITY: published outputs")
def test_gives_the_published_outputs() -> None:
    config = json.loads((PARITY / "defectdiffu_config.json").read_text())
    model = load_official(PARITY / "defectdiffu.safetensors", config)
    io = load_file(PARITY / "defectdiffu_io.safetensors")
    with torch.no_grad():
        said = model(*(io[name] for name in INPUTS))
    assert not model.training
    for name, value in said._asdict().items():
        torch.testing.assert_close(value, io[name], rtol=0, atol=1e-4)


def test_reads_what_the_official_code_saves(tmp_path: Path) -> None:
    state, config = weights(), {**CONFIG, "depths": DEPTHS, "input_size": 8, "learn_sigma": True}
    torch.save({"model_state_dict": state, "epoch": 3}, tmp_path / "epoch3.pt")
    save_file(state, tmp_path / "bare.safetensors")
    for checkpoint in (state, {"model_state_dict": state}, tmp_path / "epoch3.pt", str(tmp_path / "bare.safetensors")):
        torch.testing.assert_close(dict(load_official(checkpoint, config).state_dict()), state, rtol=0, atol=0)


def test_the_split_is_the_published_one_and_the_rest_follows_from_the_weights() -> None:
    published = {**CONFIG, "depth": 13}
    model = net(depths=(10, 2, 1))
    assert tuple(load_official(dict(model.state_dict()), published).config["depths"]) == (10, 2, 1)


def test_refuses_trained_positions_and_takes_computed_ones() -> None:
    from inout_generators.defectdiffu.model import positions

    computed = positions(4, 4, 32, 1.0, torch.device("cpu"))[None]
    config = {**CONFIG, "depths": DEPTHS}
    load_official({**weights(), "pos_embed": computed}, config)
    with pytest.raises(CheckpointError, match="positions that were trained"):
        load_official({**weights(), "pos_embed": computed + 0.1}, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learn_sigma": False}, "learns the variance"),
        ({"hidden": 3}, "no argument hidden"),
        ({"num_heads": 5}, "multiple of the heads"),
        ({"depths": (2, 3)}, "depths are three"),
    ],
)
def test_refuses_configurations_of_no_official_net(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_official(weights(), {**CONFIG, "depths": DEPTHS, **changes})


def test_refuses_a_partial_match_and_says_what_is_missing_from_the_configuration() -> None:
    state = weights()
    del state["adapt_mask.linear.bias"]
    with pytest.raises(CheckpointError, match=r"missing adapt_mask\.linear\.bias$"):
        load_official(state, {**CONFIG, "depths": DEPTHS})
    with pytest.raises(ValueError, match="text_dim"):
        load_official(weights(), {name: value for name, value in CONFIG.items() if name != "text_dim"})


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bomb.pt").write_bytes(pickle.dumps({"model_state_dict": weights(), "bomb": Bomb()}))
    for read in (lambda: load_official("bomb.pt", CONFIG), lambda: load_dit(net(), "bomb.pt")):
        with pytest.raises(CheckpointError, match="code would run"):
            read()
    assert not Path("exploded").exists()


def theirs(sample_size: int = 8) -> DiTTransformer2DModel:
    model = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=5,
        sample_size=sample_size,
        num_embeds_ada_norm=10,
    )
    randomised(model)
    # published files repeat these in every block
    embedding, *others = (block.norm1.emb for block in model.transformer_blocks)
    for other in others:
        other.load_state_dict(embedding.state_dict())
    return model.eval()


def test_starts_as_the_dit_whose_weights_it_has(tmp_path: Path) -> None:
    dit = theirs()
    dit.save_pretrained(tmp_path)
    model = net(gelu="tanh", text_dim=32)
    loaded = load_dit(model, tmp_path, size=(8, 8))
    # cross-attention adds nothing, and the text is the class embedding
    for cross in model.cross_defect:
        torch.nn.init.zeros_(cross.cross_attention.to_v.weight)
    torch.nn.init.eye_(model.y_embedders.weight)
    labels = dit.transformer_blocks[0].norm1.emb.class_embedder
    z, y = torch.randn(2, 4, 8, 8), torch.tensor([1, 7])
    with torch.no_grad():
        text = labels(y)
        # at other timesteps diffusers' frequencies differ from DiT's
        expected = dit(z, torch.zeros(2, dtype=torch.long), y).sample
        out = model(z, torch.zeros(2, dtype=torch.long), text, text, text).out
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert model.config["position_scale"] == 1
    assert {part for part, state, _ in loaded.rows if state == "new"} == {"y_embedders", "cross_defect", "adapt_mask"}
    assert sum(count for *_, count in loaded.rows) == sum(value.numel() for value in model.parameters())


def test_reads_the_official_dit_and_its_weights_alone(tmp_path: Path) -> None:
    state = {name: value for name, value in weights(1).items() if not name.startswith(("y_emb", "cross", "adapt"))}
    extra = {"pos_embed": torch.zeros(1, 16, 32), "y_embedder.embedding_table.weight": torch.zeros(11, 32)}
    torch.save({**state, **extra}, tmp_path / "DiT.pt")
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loaded = load_dit(model, tmp_path / "DiT.pt", size=(16, 8))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state.get(name, before[name]), rtol=0, atol=0)
    # 4 patches a side there, 8 here
    assert model.config["position_scale"] == 0.5
    assert "interpolated to 8" in str(loaded)
    assert "trained with tanh" in str(loaded)


def test_stretched_positions_are_those_of_the_smaller_net() -> None:
    from inout_generators.defectdiffu.model import positions

    small, stretched = (positions(k, k, 32, scale, torch.device("cpu")) for k, scale in ((4, 1.0), (8, 0.5)))
    torch.testing.assert_close(stretched.reshape(8, 8, 32)[::2, ::2], small.reshape(4, 4, 32))


@pytest.mark.parametrize("key", ["blocks.4.mlp.fc1.bias", "x_embedder.proj.weight"])
def test_refuses_a_dit_without_a_layer(key: str) -> None:
    state = {name: value for name, value in weights().items() if not name.startswith(("y_emb", "cross", "adapt"))}
    del state[key]
    with pytest.raises(CheckpointError, match=key):
        load_dit(net(), state)


def test_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="DiTTransformer2DModel"):
        load_dit(net(), tmp_path)
    net().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="DefectDiffuTransformer; expected a DiTTransformer2DModel"):
        load_dit(net(), tmp_path)
