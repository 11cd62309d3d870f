"""Whatever can change a pixel changes the fingerprint, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from inout_aug.cache import fingerprint, weights_digest
from inout_aug.cache.fingerprint import digest_of

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Model: ...


class Other: ...


BASE: dict[str, Any] = {
    "version": "1",
    "weights": {"w": torch.zeros(2)},
    "params": {"steps": 50, "scale": 7.5},
    "libraries": ("torch", "numpy"),
}


def test_equal_settings_give_equal_fingerprints_of_64_hex_digits() -> None:
    digest = fingerprint(Model, **BASE)
    assert len(digest) == 64
    assert int(digest, 16)
    reordered = {**BASE, "params": {"scale": 7.5, "steps": 50}, "libraries": ["numpy", "torch", "torch"]}
    assert fingerprint(Model, **reordered) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2"},
        {"weights": {"w": torch.tensor([0.0, 1e-38])}},
        {"weights": {"v": torch.zeros(2)}},
        {"weights": {"w": torch.zeros(2, dtype=torch.float16)}},
        {"weights": {"w": torch.zeros(1, 2)}},
        {"weights": None},
        {"params": {"steps": 51, "scale": 7.5}},
        {"params": {"steps": 50, "scale": 7.500000000000001}},
        {"params": {"steps": "50", "scale": 7.5}},
        {"libraries": ("torch",)},
    ],
)
def test_each_setting_counts(change: dict[str, Any]) -> None:
    assert fingerprint(Model, **{**BASE, **change}) != fingerprint(Model, **BASE)


def test_the_class_counts() -> None:
    assert fingerprint(Model, **BASE) != fingerprint(Other, **BASE)


def test_the_version_of_a_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(Model, **BASE)
    monkeypatch.setattr(sys.modules["inout_aug.cache.fingerprint"], "version", lambda name: version(name) + ".1")
    assert fingerprint(Model, **BASE) != before


@given(plain, plain)
def test_plain_values_are_equal_exactly_when_their_digests_are(one: Any, other: Any) -> None:
    # JSON with sorted keys is the independent oracle
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_of(one) == digest_of(other)) == same


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"path": Path("weights")}, TypeError, r"value\['params'\]\['path'\] is a PosixPath"),
        ({"list": [1, {2: 3}]}, TypeError, "keys are strings"),
        ({"scale": float("nan")}, ValueError, "finite"),
        ({"rates": [float("inf")]}, ValueError, "finite"),
        ({"model": nn.Linear(1, 1)}, TypeError, "plain values"),
    ],
)
def test_what_has_no_identity_is_refused(params: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fingerprint(Model, version="1", params=params)


def test_an_unknown_library_is_named() -> None:
    with pytest.raises(ValueError, match="no-such-thing"):
        fingerprint(Model, version="1", libraries=["no-such-thing"])


def test_a_file_counts_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.arange(10.0)}, path)
    assert weights_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FileNotFoundError):
        weights_digest(tmp_path / "absent")


def test_a_folder_counts_by_names_and_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        (root / "unet").mkdir(parents=True)
        (root / "unet" / "a").write_bytes(b"1")
        (root / "b").write_bytes(b"2")
    assert weights_digest(one) == weights_digest(str(other))
    (other / "b").rename(other / "c")
    assert weights_digest(one) != weights_digest(other)
    assert weights_digest([one / "b", one / "unet/a"]) == weights_digest([one / "unet/a", one / "b"])
    assert weights_digest([one / "b"]) != weights_digest([one / "unet/a"])


@pytest.mark.parametrize("weights", [{}, [], nn.Identity()])
def test_nothing_to_read_is_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="holds no weights"):
        weights_digest(weights)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no weights"):
        weights_digest(tmp_path)


def test_a_module_counts_by_its_state_whatever_the_order() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = model.state_dict()
    assert weights_digest(model) == weights_digest(state)
    assert weights_digest(OrderedDict(reversed(state.items()))) == weights_digest(state)
    with torch.no_grad():
        model[1].running_mean[0] += 1
    assert weights_digest(model) != weights_digest({**state, "1.running_mean": torch.zeros(2)})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.int64, torch.complex64])
def test_every_type_of_tensor_can_be_read(dtype: torch.dtype) -> None:
    one = torch.zeros(3, 4).to(dtype)
    other = one.clone()
    other[1, 2] = 1
    assert weights_digest({"w": one}) != weights_digest({"w": other})
    assert weights_digest({"w": one.t()}) == weights_digest({"w": one.t().contiguous()})
    assert weights_digest({"w": torch.zeros((), dtype=dtype), "empty": torch.zeros(0, dtype=dtype)})
