"""A shard is read by the safetensors library as written, and refused when a single bit of it differs."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from inout_aug.cache.errors import CacheDamaged, CacheTooNew
from inout_aug.cache.shard import (
    MAX_HEADER_BYTES,
    Arrays,
    Layout,
    altered,
    decode_header,
    encode,
    map_arrays,
    open_regular,
    shard_name,
    view_arrays,
)

IDENTITY = {"cache": "abc", "generator": "Noise", "fingerprint": "def"}
LAYOUT = Layout(height=16, width=20, channels=3, scores=("realism",), gates=("blank", "dark"))


def arrays_of(layout: Layout, rows: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    fields = layout.fields(rows, 7 * rows)
    return {
        name: np.frombuffer(rng.bytes(field.stop - field.start), field.dtype).reshape(field.shape)
        for name, field in fields.items()
    }


def written(layout: Layout = LAYOUT, rows: int = 3, number: int = 5) -> bytes:
    return b"".join(encode(layout, arrays_of(layout, rows), IDENTITY, number))


def decode(data: bytes, layout: Layout = LAYOUT, number: int = 5, **identity: str) -> Any:
    return decode_header(data, len(data), layout, {**IDENTITY, **identity}, number)


def header_of(data: bytes) -> dict[str, Any]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length])


def with_header(data: bytes, header: object) -> bytes:
    """The same data section behind another header."""
    length = struct.unpack("<Q", data[:8])[0]
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


layouts = st.builds(
    Layout,
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    masks=st.booleans(),
    scores=st.lists(st.text(max_size=8), max_size=3, unique=True).map(tuple),
    gates=st.lists(st.text(max_size=8), max_size=3, unique=True).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(layouts, st.integers(1, 5), st.integers(0, 9))
def test_the_safetensors_library_reads_the_same_arrays(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, rows: int, number: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / shard_name(layout, number)
    arrays = arrays_of(layout, rows)
    path.write_bytes(b"".join(encode(layout, arrays, IDENTITY, number)))
    with safe_open(path, "np") as file:
        assert set(file.keys()) == set(arrays)
        for name, array in arrays.items():
            theirs = file.get_tensor(name)
            assert theirs.dtype == array.dtype
            assert theirs.tobytes() == array.tobytes()
        assert json.loads(file.metadata()["scores"]) == list(layout.scores)
    data = path.read_bytes()
    header = decode(data, layout, number)
    ours = map_arrays(path, layout, header)
    assert ours is not None
    assert not altered(ours, header)
    for name, array in arrays.items():
        assert ours[name].tobytes() == array.tobytes()
        assert ours[name].flags.aligned
        assert not ours[name].flags.writeable


def test_columns_are_read_without_the_pixels() -> None:
    data = written()
    header = decode(data)
    stop = header.start + LAYOUT.fields(3, 21)["image"].start
    views = view_arrays(data[:stop], LAYOUT, header)
    assert set(views) == {"index", "seed", "label", "record_end", "score", "rejections", "defect_class"}


def test_the_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    import subprocess

    arrays = arrays_of(LAYOUT, 3)
    (tmp_path / "image").write_bytes(arrays["image"].tobytes())
    printed = subprocess.run(["sha256sum", tmp_path / "image"], capture_output=True, text=True, check=True).stdout
    assert json.loads(header_of(written())["__metadata__"]["sha256"])["image"] == printed.split()[0]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    whole = written()
    start = decode(whole).start
    in_header = data.draw(st.booleans())
    byte = data.draw(st.integers(0, start - 1) if in_header else st.integers(start, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[byte] ^= 1 << data.draw(st.integers(0, 7))
    try:
        header = decode(bytes(flipped))
    except (CacheDamaged, CacheTooNew):
        assert in_header
        return
    if in_header:
        # what a header may say freely are the digests of the arrays, which then do not fit
        assert altered(view_arrays(bytes(flipped), LAYOUT, header), header)
    else:
        fields = LAYOUT.fields(header.rows, header.record_bytes).items()
        hit = [name for name, field in fields if field.start <= byte - start < field.stop]
        assert altered(view_arrays(bytes(flipped), LAYOUT, header), header) == hit


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(cut: int) -> None:
    with pytest.raises(CacheDamaged):
        decode(written()[:cut])


def test_a_file_with_something_appended_is_refused() -> None:
    with pytest.raises(CacheDamaged, match="bytes instead of"):
        decode(written() + b"\0")


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 1 << 40, (1 << 64) - 1])
def test_an_absurd_header_length_is_refused_before_anything_is_read(length: int) -> None:
    with pytest.raises(CacheDamaged, match="claims"):
        decode(struct.pack("<Q", length) + b"{" * 64)


def test_pickles_and_archives_are_named_and_refused(tmp_path: Path) -> None:
    torch.save({"image": torch.zeros(3)}, tmp_path / "shard")
    for data in (pickle.dumps({"image": 1}), (tmp_path / "shard").read_bytes()):
        with pytest.raises(CacheDamaged, match="pickle or an archive"):
            decode(data)


def change(header: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    *way, last = path
    inner: Any = header
    for key in way:
        inner = inner[key]
    inner[last] = to
    return header


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("image", "shape"), [3, 1 << 31, 1 << 31, 3]),
        (("index", "shape"), [1 << 62]),
        (("index", "shape"), [-3]),
        (("index", "shape"), [True]),
        (("index", "shape"), "3"),
        (("index",), None),
        (("record", "shape"), [1 << 60]),
        (("image", "data_offsets"), [0, 2880]),
        (("image", "data_offsets"), [-8, 1 << 62]),
        (("image", "dtype"), "F64"),
        (("mask", "shape"), [3, 20, 16]),
        (("__metadata__", "shard"), "6"),
        (("__metadata__", "shard"), "../5"),
        (("__metadata__", "package"), "another"),
        (("__metadata__", "package"), "\ud800"),
        (("__metadata__", "sha256"), "{}"),
        (("__metadata__", "sha256"), "no JSON"),
        (("__metadata__", "format"), "other/1"),
        (("__metadata__",), ["list"]),
        (("extra",), {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
    ],
)
def test_a_header_that_claims_something_else_is_refused(path: tuple[str, ...], value: object) -> None:
    data = written()
    with pytest.raises(CacheDamaged):
        decode(with_header(data, change(header_of(data), *path, to=value)))


def test_a_header_of_nested_brackets_is_refused() -> None:
    with pytest.raises(CacheDamaged):
        decode(with_header(written(), b"[" * 100_000))


def test_a_duplicate_key_is_refused() -> None:
    data = written()
    text = json.dumps(header_of(data), separators=(",", ":"))
    with pytest.raises(CacheDamaged):
        decode(with_header(data, text.replace('"mask":{', '"mask":{"dtype":"U8",').encode()))


def test_a_later_format_is_named() -> None:
    data = written()
    with pytest.raises(CacheTooNew, match="update inout-aug"):
        decode(with_header(data, change(header_of(data), "__metadata__", "format", to="inout-aug/2")))


def test_a_shard_of_another_cache_or_place_is_refused() -> None:
    with pytest.raises(CacheDamaged, match="another cache"):
        decode(written(), cache="xyz")
    with pytest.raises(CacheDamaged):
        decode(written(), number=6)
    with pytest.raises(CacheDamaged):
        decode(written(), layout=Layout(height=20, width=16, channels=3, scores=("realism",), gates=("blank", "dark")))


def test_links_folders_and_pipes_are_never_opened(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(written())
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("link", "symbolic link"), ("folder", "no regular file"), ("pipe", "no regular file")):
        with pytest.raises(CacheDamaged, match=kind):
            open_regular(tmp_path / name)
    open_regular(real).close()


def test_a_shard_that_shrank_since_its_header_was_read_is_not_mapped(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    path.write_bytes(written())
    header = decode(written())
    os.truncate(path, header.start + 10)
    assert map_arrays(path, LAYOUT, header) is None


@pytest.mark.parametrize(
    "wrong",
    [{"height": 15}, {"width": 1 << 20}, {"width": 16.0}, {"channels": 2}, {"channels": True}, {"dtype": "float32"}],
)
def test_a_layout_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        Layout(**{"height": 16, "width": 16, "channels": 3, **wrong})
    with pytest.raises(ValueError, match="differ"):
        Layout(height=16, width=16, channels=3, scores=("a", "a"))
