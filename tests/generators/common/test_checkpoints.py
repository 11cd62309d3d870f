from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from inout_generators.common.checkpoints import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    CheckpointError,
    load_exactly,
    load_net,
    read_json,
    read_metadata,
    read_tensors,
    replacing,
    save_net,
    write_json,
    write_tensors,
)
from inout_generators.defect_gen.unet import DefectGenUNet


def small_net(seed: int = 0) -> DefectGenUNet:
    torch.manual_seed(seed)
    net = DefectGenUNet(channels=4, width=16, multipliers=(1, 2), blocks=1, attention_levels=(1,), groups=8, classes=2)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_net(small_net(), tmp_path / "net")
    return tmp_path / "net"


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.bfloat16), "c": torch.tensor(7)}
    metadata = {name: f'{name}: "é"\n' for name in "zyxw"}
    # 24 orders of the metadata, of which the library takes any
    for k in range(20):
        write_tensors(tmp_path / f"{k}.safetensors", tensors, metadata=metadata)
    files = [(tmp_path / f"{k}.safetensors").read_bytes() for k in range(20)]
    assert len(set(files)) == 1
    assert read_metadata(tmp_path / "0.safetensors") == {"format": "pt", **metadata}
    read = read_tensors(tmp_path / "0.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], value) for name, value in tensors.items())


def test_what_is_replaced_is_whole_or_untouched(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as unfinished:
        unfinished.write_text("old")
        assert not path.exists()

    def interrupted() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    with replacing(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    tensors = {
        "float": torch.randn(2, 3),
        "half": torch.randn(5).half(),
        "bfloat": torch.randn(5).bfloat16(),
        "step": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "strided": torch.randn(6, 4)[::2, 1:],
        "whole": shared,
        "part of it": shared[1:],
        "parameter": nn.Parameter(torch.randn(3)),
    }
    write_tensors(tmp_path / "t.safetensors", tensors)
    read = read_tensors(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(read[name], value.detach(), rtol=0, atol=0)


def test_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("")
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(1)})
    assert (tmp_path / "t.safetensors").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_refuses_a_file_cut_short_anywhere(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.randn(8), "b": torch.randn(3)})
    whole = (tmp_path / "t.safetensors").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "t.safetensors").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cut short"):
            read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_refuses_a_pickle(tmp_path: Path, protocol: int | None) -> None:
    path = tmp_path / "t.safetensors"
    if protocol is None:
        torch.save({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": [0.0] * 1000}, protocol))
    with pytest.raises(CheckpointError, match=r"is a pickle, .*`inout-aug convert`"):
        read_tensors(path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_as_long_as_a_pickle_marker_is_none(tmp_path: Path, length: int) -> None:
    # the file starts with the header's length, little-endian: 80 02 is 640, and also pickle's protocol 2
    plain = save({"a": torch.zeros(1)})
    text = plain[8 : 8 + int.from_bytes(plain[:8], "little")].decode()
    path = tmp_path / "t.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text.ljust(length).encode() + bytes(4))
    assert read_tensors(path)["a"] == 0


@pytest.mark.parametrize("content", [b"version of a git-lfs pointer\n", b"<html>", bytes(100), b"\xff" * 64])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        read_tensors(tmp_path / "t.safetensors")


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"name": "Risse – «ä»", "sizes": [1, 2.5], "nested": {"none": None}}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\x80\x04\x95", b"[1, 2]", b"\xff\xfe"])
def test_refuses_other_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"v\.json"):
        read_json(tmp_path / "v.json")


NAMES = st.sampled_from(["a", "b", "c", "d"])
SHAPES = st.dictionaries(NAMES, st.tuples(st.integers(1, 2), st.integers(1, 2)))


class Bag(nn.Module):
    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


@given(wanted=SHAPES, given=SHAPES)
def test_loads_exactly_or_leaves_alone(wanted: dict[str, tuple[int, int]], given: dict[str, tuple[int, int]]) -> None:
    net = Bag({name: torch.zeros(shape) for name, shape in wanted.items()})
    tensors = {name: torch.ones(shape) for name, shape in given.items()}
    if wanted == given:
        load_exactly(net, tensors)
        assert all(value.all() for value in net.state_dict().values())
        return
    with pytest.raises(CheckpointError) as caught:
        load_exactly(net, tensors, source="x.safetensors")
    message = str(caught.value)
    assert not any(value.any() for value in net.state_dict().values())
    assert ("missing" in message) == bool(wanted.keys() - given.keys())
    assert ("unexpected" in message) == bool(given.keys() - wanted.keys())
    assert ("shape" in message) == any(wanted[name] != given[name] for name in wanted.keys() & given.keys())


def test_long_lists_are_shortened() -> None:
    with pytest.raises(CheckpointError, match=r"missing 0\.weight, 0\.bias, 1\.weight, 1\.bias and 6 more$"):
        load_exactly(nn.Sequential(*(nn.Linear(1, 1) for _ in range(5))), {})


def test_net_comes_back(saved: Path) -> None:
    net, read = small_net(), load_net(DefectGenUNet, saved)
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([5])
    torch.testing.assert_close(read(x, t), net(x, t), rtol=0, atol=0)
    assert not read.training
    assert read.to_json_string() == net.to_json_string()


def test_net_is_laid_out_as_diffusers_does(saved: Path, tmp_path: Path) -> None:
    net = small_net()
    by_diffusers = DefectGenUNet.from_pretrained(saved)
    torch.testing.assert_close(dict(by_diffusers.state_dict()), dict(net.state_dict()), rtol=0, atol=0)
    net.save_pretrained(tmp_path / "theirs")
    ours = load_net(DefectGenUNet, tmp_path / "theirs")
    torch.testing.assert_close(dict(ours.state_dict()), dict(net.state_dict()), rtol=0, atol=0)


def test_settings_do_not_say_where_a_net_was_read_from(saved: Path, tmp_path: Path) -> None:
    save_net(DefectGenUNet.from_pretrained(saved), tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / CONFIG_NAME).read_text()


def test_half_precision_takes_half_the_room(saved: Path, tmp_path: Path) -> None:
    save_net(small_net(), tmp_path / "half", dtype=torch.float16)
    half, full = ((folder / WEIGHTS_NAME).stat().st_size for folder in (tmp_path / "half", saved))
    assert half < 0.6 * full
    read = load_net(DefectGenUNet, tmp_path / "half").state_dict()
    for name, value in small_net().state_dict().items():
        torch.testing.assert_close(read[name], value.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "UNet2DModel"}, "describes a UNet2DModel; expected a DefectGenUNet"),
        ({"_class_name": None}, "describes a None"),
        ({"resolution": 64}, "of this version: .*resolution"),
        ({"width": 24, "attention_levels": [0]}, "of this version: .*multiples of head_width=16"),
        ({"width": "wide"}, "of this version"),
        ({"width": 32}, "does not fit a DefectGenUNet: shape differs in"),
        ({"classes": 0}, r"unexpected class_embed\.weight"),
        ({"blocks": 2}, "missing"),
    ],
)
def test_refuses_settings_of_another_net(saved: Path, change: dict[str, object], message: str) -> None:
    config = json.loads((saved / CONFIG_NAME).read_text())
    write_json(saved / CONFIG_NAME, config | change)
    with pytest.raises(CheckpointError, match=message):
        load_net(DefectGenUNet, saved)


def test_refuses_missing_weights_that_diffusers_would_make_up(saved: Path) -> None:
    weights = read_tensors(saved / WEIGHTS_NAME)
    del weights["out.2.bias"]
    write_tensors(saved / WEIGHTS_NAME, weights)
    with pytest.raises(CheckpointError, match=r"safetensors does not fit a DefectGenUNet: missing out\.2\.bias"):
        load_net(DefectGenUNet, saved)


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_says_which_file_is_missing(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_net(DefectGenUNet, saved)
