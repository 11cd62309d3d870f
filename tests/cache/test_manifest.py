"""The manifest divides samples into shards, and comes back as it was written or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.cache.errors import CacheDamaged
from inout_aug.cache.fingerprint import digest_of
from inout_aug.cache.folder import LocalFolder
from inout_aug.cache.manifest import Group, Manifest, decode_manifest, read_manifest, write_manifest
from inout_aug.cache.shard import Layout

LAYOUT = Layout(height=16, width=20, channels=1)
NAMES = st.lists(st.text(max_size=8), max_size=3, unique=True).map(tuple)
LAYOUTS = st.builds(
    Layout,
    height=st.integers(16, 1 << 16),
    width=st.integers(16, 1 << 16),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    masks=st.booleans(),
    scores=NAMES,
    gates=NAMES,
)
SIZES = st.integers(1, 1 << 40)
GROUPS = st.lists(
    st.builds(Group, layout=LAYOUTS, shard_size=SIZES, count=SIZES), max_size=3, unique_by=lambda group: group.layout
).map(tuple)
MANIFESTS = st.builds(
    Manifest,
    key=st.text(),
    generator=st.text(),
    fingerprint=st.text(),
    seed=st.integers(0, (1 << 64) - 1),
    groups=GROUPS,
)


def group(count: int, shard_size: int = 4, layout: Layout = LAYOUT) -> Group:
    return Group(layout=layout, shard_size=shard_size, count=count)


def manifest(*groups: Group) -> Manifest:
    return Manifest(key="k", generator="g", fingerprint="f", seed=1, groups=groups)


@given(st.integers(1, 300), st.integers(1, 40))
def test_shards_divide_the_samples(count: int, shard_size: int) -> None:
    divided = group(count, shard_size)
    pieces = [range(count)[divided.rows(number)] for number in divided.shards()]
    assert [index for piece in pieces for index in piece] == list(range(count))
    assert {len(piece) for piece in pieces[:-1]} <= {shard_size}
    assert 1 <= len(pieces[-1]) <= shard_size


@given(st.sets(st.integers(0, 12)))
def test_only_names_as_we_write_them_are_shards(numbers: set[int]) -> None:
    nine = group(33)
    names = {nine.name(number) for number in numbers}
    alike = {
        "16x20x1-uint8-.safetensors",
        "16x20x1-uint8-1.safetensors",
        "16x20x1-uint8-0000001.safetensors",
        "16x20x1-uint8--00001.safetensors",
        "16x20x1-uint8-00000١.safetensors",
        "16x20x1-uint8-000002.safetensors.tmp",
        "16x20x1-uint16-000003.safetensors",
        "116x20x1-uint8-000004.safetensors",
        "manifest.json",
    }
    assert nine.there(names | alike) == sorted(numbers & set(range(9)))


@pytest.mark.parametrize("wrong", [0, -1, 1.0, True, (1 << 40) + 1])
def test_numbers_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="shard_size must be an int above 0"):
        group(1, wrong)
    with pytest.raises(ValueError, match="count must be an int above 0"):
        group(wrong)


@given(MANIFESTS)
def test_what_is_written_is_read(written: Manifest) -> None:
    text = written.encode()
    assert decode_manifest(text) == written
    assert decode_manifest(text).encode() == text
    # an editor may put keys and white space into another order, not a word into another place
    assert decode_manifest(json.dumps(dict(reversed(json.loads(text).items()))).encode()) == written


@given(MANIFESTS, GROUPS, GROUPS)
def test_growing_loses_nothing_and_is_the_same_in_any_order(first: Manifest, one: Any, other: Any) -> None:
    grown = first.grown(one)
    assert grown.grown(one) == grown.grown(first.groups) == grown
    assert grown.identity == first.identity
    counts = {part.layout: part.count for part in grown.groups}
    for part in (*first.groups, *one):
        assert counts[part.layout] >= part.count
    assert [part.shard_size for part in grown.groups[: len(first.groups)]] == [g.shard_size for g in first.groups]
    both, swapped = grown.grown(other), first.grown(other).grown(one)
    assert both.count == swapped.count
    assert {part.layout for part in both.groups} == {part.layout for part in swapped.groups}


def test_a_larger_number_keeps_the_shard_size() -> None:
    wide = Layout(height=16, width=21, channels=1)
    grown = manifest(group(10)).grown((group(25, 9), group(3, 2, wide)))
    assert grown.groups == (group(25, 4), group(3, 2, wide))
    assert grown.count == 28
    assert grown.grown((group(1, 1),)) == grown


def test_a_folder_without_one_has_none_and_a_false_one_is_named(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "cache")
    assert read_manifest(folder) is None
    written = manifest(group(3))
    write_manifest(folder, written)
    assert read_manifest(folder) == written
    path = tmp_path / "cache" / "manifest.json"
    path.write_bytes(written.encode() + b" " * (16 << 20))
    with pytest.raises(CacheDamaged, match=r"manifest\.json has 1677\d{4} bytes"):
        read_manifest(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(CacheDamaged, match=r"manifest\.json"):
        read_manifest(folder)


@pytest.mark.parametrize("change", [{"seed": None}, {"groups": None}, {"groups": [1]}, {"extra": 1}, {"format": 0}])
def test_an_honest_digest_of_something_else_is_refused(change: dict[str, Any]) -> None:
    body = json.loads(manifest(group(3)).encode())
    del body["sha256"]
    body |= change
    body = {name: value for name, value in body.items() if value is not None}
    with pytest.raises(CacheDamaged, match="not what was written"):
        decode_manifest(json.dumps(body | {"sha256": digest_of(body)}).encode())
