"""Against the published implementation's own outputs, and against its forward pass derived again from the key names."""

from __future__ import annotations

import json
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.defect_gen.official import load_official_unet, unet_config
from inout_generators.defect_gen.unet import DefectGenUNet

DATA = Path(__file__).parents[2] / "data" / "parity"
SHARED = Path(__file__).parents[4] / "shared" / "parity"

CONFIGS = json.loads((DATA / "defect_gen_config.json").read_text())
LOCAL = {"in_channels": 6, "out_channels": 6, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2, 3]}
LARGE = {**LOCAL, "num_head_channels": 8, "attention_downsample": [2, 16]}


def random_weights(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = DefectGenUNet(**unet_config(config)).state_dict()
    return {key: 0.1 * torch.randn(value.shape, generator=rng) for key, value in shapes.items()}


class Reference:
    """The published forward pass as plain functions of a state dict; what stands where is read from the keys."""

    def __init__(self, weights: dict[str, Tensor], head_width: int | None) -> None:
        self.w, self.head_width = weights, head_width

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        width = self.w["time_embed.0.weight"].shape[1]
        frequency = 10000 ** (-torch.arange(width // 2) / (width // 2))
        angle = t[:, None] * frequency
        emb = self.linear("time_embed.0", torch.cat([angle.cos(), angle.sin()], 1))
        emb = self.linear("time_embed.2", F.silu(emb))
        hs = []
        for i in range(self.count("input_blocks")):
            x = self.stage(f"input_blocks.{i}", x, emb)
            hs.append(x)
        has_middle = self.count("middle_block") > 0
        if has_middle:
            x = self.stage("middle_block", x, emb)
        for i in range(self.count("output_blocks")):
            h = hs.pop()
            x = self.stage(f"output_blocks.{i}", torch.cat([x, h], 1) if has_middle or i else h, emb)
        return self.conv("out.2", F.silu(self.norm("out.0", x)))

    def count(self, prefix: str) -> int:
        return len({key.split(".")[prefix.count(".") + 1] for key in self.w if key.startswith(prefix + ".")})

    def stage(self, prefix: str, x: Tensor, emb: Tensor) -> Tensor:
        for i in range(self.count(prefix)):
            at = f"{prefix}.{i}"
            if f"{at}.in_layers.0.weight" in self.w:
                x = self.residual(at, x, emb)
            elif f"{at}.qkv.weight" in self.w:
                x = self.attention(at, x)
            elif f"{at}.op.weight" in self.w:
                x = self.conv(f"{at}.op", x, stride=2)
            elif f"{at}.conv.weight" in self.w:
                x = self.conv(f"{at}.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3))
            else:
                x = self.conv(at, x)
        return x

    def residual(self, at: str, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv(f"{at}.in_layers.2", F.silu(self.norm(f"{at}.in_layers.0", x)))
        e = self.linear(f"{at}.emb_layers.1", F.silu(emb))[:, :, None, None]
        if e.shape[1] == 2 * h.shape[1]:
            h = self.norm(f"{at}.out_layers.0", h) * (1 + e[:, : h.shape[1]]) + e[:, h.shape[1] :]
        else:
            h = self.norm(f"{at}.out_layers.0", h + e)
        h = self.conv(f"{at}.out_layers.3", F.silu(h))
        return h + (self.conv(f"{at}.skip_connection", x) if f"{at}.skip_connection.weight" in self.w else x)

    def attention(self, at: str, x: Tensor) -> Tensor:
        assert self.head_width
        qkv = self.linear(f"{at}.qkv", self.norm(f"{at}.norm", x).flatten(2).transpose(1, 2))
        heads = []
        for head in qkv.split(3 * self.head_width, dim=-1):
            q, k, v = head.split(self.head_width, dim=-1)
            heads.append(torch.softmax(q @ k.transpose(1, 2) / math.sqrt(self.head_width), -1) @ v)
        return x + self.linear(f"{at}.proj_out", torch.cat(heads, -1)).transpose(1, 2).reshape(x.shape)

    def conv(self, at: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.w[f"{at}.weight"]
        return F.conv2d(x, weight, self.w[f"{at}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def linear(self, at: str, x: Tensor) -> Tensor:
        weight = self.w[f"{at}.weight"]
        return x @ weight.reshape(weight.shape[:2]).T + self.w[f"{at}.bias"]

    def norm(self, at: str, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (32, -1))
        mean, variance = groups.mean((2, 3, 4), keepdim=True), groups.var((2, 3, 4), keepdim=True, unbiased=False)
        normalised = ((groups - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
        return normalised * self.w[f"{at}.weight"][:, None, None] + self.w[f"{at}.bias"][:, None, None]


def published(name: str) -> Path:
    path = DATA / f"defect_gen_{name}.safetensors"
    path = path if path.exists() else SHARED / path.name
    if not path.exists():
        pytest.skip(f"{path.name} is too large to be committed, and not in {SHARED}")
    return path


@pytest.mark.parametrize("name", ["small", "large"])
@torch.no_grad()
def test_gives_the_published_outputs(name: str) -> None:
    io = load_file(published("io"))
    net = load_official_unet(published(name), CONFIGS[name])
    torch.testing.assert_close(net(io["x"], io["t"]), io[f"{name}_out"], rtol=0, atol=1e-5)
    reference = Reference(load_file(published(name)), CONFIGS[name]["num_head_channels"])
    torch.testing.assert_close(reference(io["x"], io["t"]), io[f"{name}_out"], rtol=0, atol=1e-5)


def test_large_net_has_the_published_keys() -> None:
    published_shapes = json.loads((DATA / "defect_gen_large_shapes.json").read_text())
    ours = DefectGenUNet(**unet_config(CONFIGS["large"])).state_dict()
    assert {key: list(value.shape) for key, value in ours.items()} == published_shapes


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (LOCAL, {}),
        (LOCAL, {"channel_mult": [1], "num_res_blocks": 3}),
        (LOCAL, {"channel_mult": [2, 1, 4, 1], "use_scale_shift_norm": True}),
        (LOCAL, {"channel_mult": [1, 2.5, 3], "in_channels": 4, "out_channels": 4, "model_channels": 64}),
        (LARGE, {}),
        (LARGE, {"attention_downsample": [1, 2, 4], "num_head_channels": 32}),
        (LARGE, {"attention_downsample": [], "num_res_blocks": 3, "channel_mult": [2, 1]}),
        (LARGE, {"channel_mult": [1, 1, 2, 2, 1], "attention_downsample": [16, 4], "use_scale_shift_norm": False}),
    ],
)
@torch.no_grad()
def test_follows_the_configuration(base: dict[str, Any], changes: dict[str, Any]) -> None:
    config = {**base, **changes}
    weights = random_weights(config)
    x, t = torch.randn(2, config["in_channels"], 32, 16), torch.tensor([0, 731])
    expected = Reference(weights, config.get("num_head_channels"))(x, t)
    torch.testing.assert_close(load_official_unet(weights, config)(x, t), expected, rtol=1e-4, atol=1e-5)


def test_reads_what_the_official_code_saves(tmp_path: Path) -> None:
    model, ema = OrderedDict(random_weights(LARGE, 1)), OrderedDict(random_weights(LARGE, 2))
    optimiser = torch.optim.AdamW(nn.Linear(2, 2).parameters(), 1e-4)
    torch.save({"model": model, "optimizer": optimiser.state_dict(), "ema": ema}, tmp_path / "diffusion_160000.pt")
    file = {"diffusion": {"params": {}}, "model": {"target": "openaiunet.UNetModel", "params": LARGE, "ckpt": None}}
    net = load_official_unet(tmp_path / "diffusion_160000.pt", file)
    assert not net.training
    torch.testing.assert_close(dict(net.state_dict()), dict(model), rtol=0, atol=0)
    net = load_official_unet(tmp_path / "diffusion_160000.pt", file, weights="ema")
    torch.testing.assert_close(dict(net.state_dict()), dict(ema), rtol=0, atol=0)


def test_reads_a_bare_state_dict_of_any_kind(tmp_path: Path) -> None:
    weights = random_weights(LOCAL)
    save_file(weights, tmp_path / "net.safetensors")
    torch.save(weights, tmp_path / "net.pt")
    for checkpoint in (weights, {"model": weights}, tmp_path / "net.safetensors", str(tmp_path / "net.pt")):
        net = load_official_unet(checkpoint, LOCAL)
        torch.testing.assert_close(dict(net.state_dict()), weights, rtol=0, atol=0)


def test_refuses_a_partial_match() -> None:
    weights = random_weights(LOCAL)
    without = {key: value for key, value in weights.items() if key != "out.2.bias"}
    for wrong, message in (
        (without, r"missing out\.2\.bias$"),
        ({**weights, "label_emb.weight": torch.zeros(2, 2)}, r"unexpected label_emb\.weight$"),
        ({**weights, "out.2.bias": torch.zeros(7)}, r"shape differs in out\.2\.bias \(7,\) instead of \(6,\)$"),
        ({"module." + key: value for key, value in weights.items()}, r"missing .* more; unexpected module\."),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_official_unet(wrong, LOCAL)


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        (LARGE, LOCAL),
        (LOCAL, LARGE),
        (LOCAL, {**LOCAL, "channel_mult": [1, 2]}),
        (LARGE, {**LARGE, "num_res_blocks": 2}),
    ],
)
def test_refuses_another_architecture(trained: dict[str, Any], asked: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="does not fit a DefectGenUNet"):
        load_official_unet(random_weights(trained), asked)


def test_refuses_a_file_cut_short(tmp_path: Path) -> None:
    torch.save({"model": random_weights(LOCAL)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 10):
        (tmp_path / "short.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut short"):
            load_official_unet(tmp_path / "short.pt", LOCAL)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("zipped", [True, False])
def test_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"model": random_weights(LOCAL), "bomb": Bomb()}
    if zipped:
        torch.save(content, "bomb.pt")
    else:
        Path("bomb.pt").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="code would run"):
        load_official_unet("bomb.pt", LOCAL)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("content", [{"optimizer": {}, "step": 3}, {"model": {"net": {}}}, {"model": 3}, [1, 2], {}])
def test_refuses_a_file_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError):
        load_official_unet(tmp_path / "other.pt", LOCAL)


def test_refuses_a_moving_average_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="no state dict under 'ema'; it has model"):
        load_official_unet({"model": random_weights(LOCAL)}, LOCAL, weights="ema")


def test_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    for name in ("none.pt", "none.safetensors"):
        with pytest.raises(FileNotFoundError, match="none"):
            load_official_unet(tmp_path / name, LOCAL)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**LOCAL, "learn_sigma": True}, "no argument learn_sigma"),
        ({**LARGE, "use_new_attention_order": True}, "use_new_attention_order"),
        ({**LOCAL, "num_classes": 3}, "num_classes"),
        ({**LOCAL, "out_channels": 12}, "equal; got 6 and 12"),
        ({"in_channels": 6, "num_res_blocks": 2}, "model_channels"),
        ({**LARGE, "num_head_channels": 5}, "multiples of head_width=5"),
        ({**LARGE, "num_head_channels": -1}, "multiples of head_width=-1"),
        ({key: value for key, value in LARGE.items() if key != "num_head_channels"}, "num_head_channels"),
        ({**LOCAL, "model_channels": 48}, "multiples of groups=32"),
    ],
)
def test_refuses_what_no_released_net_has(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_official_unet({}, config)


def test_idle_arguments_change_nothing() -> None:
    idle = {"image_size": 256, "use_checkpoint": True, "attention_resolutions": 2, "num_heads": 8, "dims": 2}
    assert unet_config({**LOCAL, **idle}) == unet_config(LOCAL)
