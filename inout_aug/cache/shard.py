"""One shard: a safetensors file that is checked to the last byte of its header before anything is mapped.

A reader knows from the manifest exactly what a shard must look like, so it does not interpret a header: it takes the
two free sizes and the digests from it, writes the header that belongs to them, and compares. Absurd sizes,
overlapping offsets, holes, other tensors and other formats (pickles, archives) all fail that one comparison.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.errors import CacheDamaged, CacheTooNew
from inout_aug.cache.fingerprint import digest_of
from inout_aug.sample import MIN_SIDE

FORMAT = 1
MAX_HEADER_BYTES = 1 << 20
HEAD_BYTES = 16 << 10

DType: TypeAlias = Literal["uint8", "uint16"]
Arrays: TypeAlias = dict[str, NDArray[Any]]
Buffer: TypeAlias = bytes | memoryview

_CODES = {"I64": np.int64, "F32": np.float32, "I32": np.int32, "U16": np.uint16, "U8": np.uint8}
_MAX_SIDE = 1 << 16


@dataclass(frozen=True, slots=True)
class Field:
    """One array of a shard: its safetensors type code, shape, and byte range in the data section."""

    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian, as safetensors has it."""
        return np.dtype(_CODES[self.code]).newbyteorder("<")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What all shards of a group have in common; with two sizes it fixes every offset.

    Attributes:
        height: In pixels, at least 16.
        width: In pixels, at least 16.
        channels: 1 or 3.
        dtype: Of the images.
        masks: Whether samples have masks.
        scores: Names of the scores kept for each sample.
        gates: Names of the quality gates whose rejections are counted.

    Raises:
        ValueError: A field is out of its range, or a name occurs twice.

    Example:
        >>> Layout(height=32, width=48, channels=3).name
        '32x48x3-uint8'
    """

    height: int
    width: int
    channels: int
    dtype: DType = "uint8"
    masks: bool = True
    scores: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            if type(side) is not int or not MIN_SIDE <= side <= _MAX_SIDE:
                raise ValueError(f"a side is an int in [{MIN_SIDE}, {_MAX_SIDE}] pixels; got {side!r}")
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise ValueError(f"an image has 1 or 3 channels; got {self.channels!r}")
        if self.dtype not in get_args(DType):
            raise ValueError(f"dtype is 'uint8' or 'uint16'; got {self.dtype!r}")
        for names in (self.scores, self.gates):
            if len(set(names)) != len(names):
                raise ValueError(f"names of scores and of gates must each differ; got {names}")

    @property
    def name(self) -> str:
        """Starts the file name of every shard of the group."""
        return f"{self.height}x{self.width}x{self.channels}-{self.dtype}"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one image and its mask."""
        pixel = self.channels * np.dtype(self.dtype).itemsize + self.masks
        return self.height * self.width * pixel

    def fields(self, rows: int, record_bytes: int) -> dict[str, Field]:
        """Return every array of a shard of `rows` samples, in file order.

        Wide types come first, so that each array is aligned; columns come before pixels, so that they are read in one
        piece.
        """
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "index": ("I64", (rows,)),
            "seed": ("I64", (rows,)),
            "label": ("I64", (rows,)),
            "record_end": ("I64", (rows,)),
            "score": ("F32", (rows, len(self.scores))),
            "rejections": ("I32", (rows, len(self.gates))),
            "defect_class": ("I32", (rows,)),
            "image": ("U8" if self.dtype == "uint8" else "U16", (rows, self.height, self.width, self.channels)),
        }
        if self.masks:
            shapes["mask"] = ("U8", (rows, self.height, self.width))
        shapes["record"] = ("U8", (record_bytes,))
        fields = {}
        start = 0
        for name, (code, shape) in shapes.items():
            stop = start + math.prod(shape) * np.dtype(_CODES[code]).itemsize
            fields[name] = Field(code, shape, start, stop)
            start = stop
        return fields


@dataclass(frozen=True, slots=True)
class Header:
    """What a reader needs of a shard's header.

    Attributes:
        rows: Number of samples.
        record_bytes: Length of the records.
        start: Where the data section starts in the file.
        stamp: Digest of the header; as it covers the arrays' digests, equal stamps mean equal shards.
        digests: SHA-256 of each array, in hex.
    """

    rows: int
    record_bytes: int
    start: int
    stamp: bytes
    digests: Mapping[str, str]


def shard_name(layout: Layout, number: int) -> str:
    """Return the file name of shard `number` of a group."""
    return f"{layout.name}-{number:06d}.safetensors"


def encode(layout: Layout, arrays: Arrays, identity: Mapping[str, str], number: int) -> list[Buffer]:
    """Return the bytes of a shard, in pieces, without copying the arrays.

    Args:
        layout: What the shard must look like.
        arrays: One C-contiguous array for each of the layout's fields.
        identity: Whose samples these are: strings for the header.
        number: Of the shard in its group.
    """
    rows, record_bytes = len(arrays["index"]), len(arrays["record"])
    pieces = {name: _bytes_of(arrays[name]) for name in layout.fields(rows, record_bytes)}
    digests = {name: hashlib.sha256(piece).hexdigest() for name, piece in pieces.items()}
    written_by = {"package": package_version(), **identity}
    return [_encode_header(layout, rows, record_bytes, digests, written_by, number), *pieces.values()]


def package_version() -> str:
    """Return the installed version of inout-aug, "unknown" where it runs from a source tree."""
    try:
        return version("inout-aug")
    except PackageNotFoundError:
        return "unknown"


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _encode_header(
    layout: Layout,
    rows: int,
    record_bytes: int,
    digests: Mapping[str, str],
    identity: Mapping[str, str],
    number: int,
) -> bytes:
    fields = layout.fields(rows, record_bytes)
    header: dict[str, Any] = {
        "__metadata__": {
            "format": f"inout-aug/{FORMAT}",
            **identity,
            "shard": str(number),
            "scores": json.dumps(layout.scores),
            "gates": json.dumps(layout.gates),
            "sha256": json.dumps(
                # the version is all that is neither known to a reader nor of an array
                {"package": digest_of(identity["package"])} | {name: digests[name] for name in fields},
                separators=(",", ":"),
            ),
        }
    }
    for name, field in fields.items():
        header[name] = {"dtype": field.code, "shape": field.shape, "data_offsets": (field.start, field.stop)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def header_length(head: bytes, size: int) -> int:
    """Return where the data of a file of `size` bytes starts, from its first eight bytes.

    Raises:
        CacheDamaged: No header of one of our shards starts like this.
    """
    if head[:2] == b"PK" or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        raise CacheDamaged("it is a pickle or an archive, which is never loaded")
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or length > MAX_HEADER_BYTES or 8 + length > size:
        raise CacheDamaged(f"its header claims {length} bytes, the file has {size}")
    return 8 + length


def decode_header(head: bytes, size: int, layout: Layout, identity: Mapping[str, str], number: int) -> Header:
    """Check the header of a shard, and the size of its file, against what belongs there.

    Args:
        head: The file's first bytes, to the end of the header at least.
        size: Of the file.
        layout: What the shard must look like.
        identity: Whose samples it must hold.
        number: Of the shard in its group.

    Raises:
        CacheDamaged: Anything else than a complete shard of this group.
        CacheTooNew: A later version of the format.
    """
    start = header_length(head, size)
    raw = head[:start]
    try:
        claims = json.loads(raw[8:])
        metadata = claims["__metadata__"]
        written_as = str(metadata["format"])
        rows, record_bytes = claims["index"]["shape"][0], claims["record"]["shape"][0]
        digests = {str(name): str(digest) for name, digest in json.loads(metadata["sha256"]).items()}
        del digests["package"]  # written again below
        claimed = {key: str(metadata[key]) for key in ("package", *identity)}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise CacheDamaged("its header is not one that inout-aug writes") from None
    family, _, number_written = written_as.partition("/")
    if family == "inout-aug" and number_written.isdecimal() and int(number_written) > FORMAT:
        raise CacheTooNew(f"it has format {number_written}, this package reads up to {FORMAT}: update inout-aug")
    if any(claimed[key] != identity[key] for key in identity):
        raise CacheDamaged("it belongs to another cache")
    fits = type(rows) is int and type(record_bytes) is int and 0 < rows <= size and 0 <= record_bytes <= size
    if not fits or set(digests) != set(layout.fields(rows, record_bytes)):
        raise CacheDamaged("its header is not one that inout-aug writes")
    if _encode_header(layout, rows, record_bytes, digests, claimed, number) != raw:
        raise CacheDamaged("its header does not describe the shard that belongs here")
    expected = start + layout.fields(rows, record_bytes)["record"].stop
    if size != expected:
        raise CacheDamaged(f"it has {size} bytes instead of {expected}")
    return Header(rows, record_bytes, start, hashlib.sha256(raw).digest(), digests)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, unless it is a link or no regular file.

    Raises:
        FileNotFoundError: There is none.
        CacheDamaged: It is a symbolic link, a folder, a pipe or a device.
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        kind = "a symbolic link" if path.is_symlink() else "no regular file"
        raise CacheDamaged(f"it is {kind}, which is never followed or read")
    # O_NOFOLLOW closes the gap between the check and the opening; Windows has no such flag, but needs O_BINARY
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb")


def map_arrays(path: Path, layout: Layout, header: Header) -> Arrays | None:
    """Map a shard; returns read-only views that keep the map alive, or None if the file is not the one of the header.

    Raises:
        FileNotFoundError: There is no such file.
        CacheDamaged: It is a symbolic link, a folder, a pipe or a device.
    """
    stop = header.start + layout.fields(header.rows, header.record_bytes)["record"].stop
    with open_regular(path) as file:
        if hashlib.sha256(file.read(header.start)).digest() != header.stamp:
            return None
        # a map beyond the end of its file would kill the process at the first read
        if os.fstat(file.fileno()).st_size != stop:
            return None
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return view_arrays(mapped, layout, header)


def view_arrays(data: bytes | mmap.mmap, layout: Layout, header: Header) -> Arrays:
    """Return read-only views of those arrays that lie wholly within `data`, which starts where the file starts."""
    views = {}
    for name, field in layout.fields(header.rows, header.record_bytes).items():
        if header.start + field.stop <= len(data):
            flat = np.frombuffer(data, field.dtype, math.prod(field.shape), header.start + field.start)
            views[name] = flat.reshape(field.shape)
    return views


def altered(arrays: Arrays, header: Header) -> list[str]:
    """Return the names of the arrays whose SHA-256 is not the one in the header."""
    return [
        name for name, array in arrays.items() if hashlib.sha256(_bytes_of(array)).hexdigest() != header.digests[name]
    ]
