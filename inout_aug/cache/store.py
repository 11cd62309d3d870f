"""A cache of generated samples: a folder of safetensors shards and one manifest.

The format, version 1
---------------------

::

    caches/tile/
        manifest.json                        whose samples these are, and how they are divided
        512x512x3-uint8-000000.safetensors   the first shard of the samples of that shape
        512x512x3-uint8-000001.safetensors
        decisions.jsonl                      review decisions, if there are any
        quarantine/                          what was found damaged, under names that say why

**Samples.** Sample k is a pure function of the generator's fingerprint, the base seed and k. Attempt a at it has the
seed `BLAKE2b-64(seed, k, a as little-endian uint64) >> 1`; the first attempt that passes all gates is the sample.

**Shards.** The samples of one shape, in order of k, are divided into shards of `shard_size` samples: shard j of a group
holds its samples [j · shard_size, (j + 1) · shard_size). So a shard depends on no other: fillers need no lock, and
write the same bytes in any order, batch size and number of processes. A shard may lack samples (a generator failed, a
fill was stopped); the next fill writes it anew with what was missing. A file appears under its name at once and whole:
it is written under a temporary name, flushed to the disk and renamed. It is never changed in place: who has the old one
mapped goes on reading that.

**A shard** is a safetensors file with N samples and these arrays, in this order, without gaps:

============== ==================== ==================================================================
``index``        I64 (N,)             k, ascending
``seed``         I64 (N,)             of the request that gave the sample
``label``        I64 (N,)             `Sample.label`
``record_end``   I64 (N,)             where the sample's record ends in ``record``
``score``        F32 (N, scores)      what the gates measured
``rejections``   I32 (N, gates)       how many attempts before this one each gate rejected
``defect_class`` I32 (N,)             asked for, from 1
``image``        U8 or U16 (N, H, W, C)
``mask``         U8 (N, H, W)         0 is background, k is defect class k; absent in caches without masks
``record``       U8 (bytes,)          for each sample a JSON object: defect class, prompt, strength, digests of host and
                                      region, and what the generator drew
============== ==================== ==================================================================

Its metadata: ``format``, ``package`` (version), ``cache`` (the manifest's key), ``generator``, ``fingerprint``,
``shard`` (its number), ``scores`` and ``gates`` (names, JSON), ``sha256`` (of ``package`` and of each array, JSON). A
reader computes the header that must be there and refuses any other: sizes and offsets of a file are never believed.

**The manifest** has ``format``, ``key`` (the digest of all that decides the samples), ``generator``, ``fingerprint``,
``seed``, ``groups`` (for each shape: layout, shard_size, count), and ``sha256`` of all this. File names follow from it;
none is read from a file.

**When digests are checked.** Opening checks manifest, headers and file sizes. The arrays' digests are checked by
`verify_cache`, by `fill_cache(verify=True)`, after a download, and before a shard is written anew; not at draws, which
cost less than hashing. Damaged files are moved to the quarantine, never deleted.
"""

from __future__ import annotations

import operator
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.access import find_shards, map_shard, read_columns
from inout_aug.cache.draft import decode_record
from inout_aug.cache.folder import Folder, open_folder
from inout_aug.cache.manifest import MANIFEST, Group, read_manifest
from inout_aug.cache.shard import Arrays
from inout_aug.sample import Image, Mask, Origin, Sample

# each open map costs a file descriptor, of which macOS grants 256
_OPEN_SHARDS = 64
_COLUMNS = ("index", "seed", "label", "score", "rejections", "defect_class")


class SampleCache:
    """Generated samples, read in microseconds: a read-only sequence of `Sample`.

    Opening reads the manifest and the headers of the shards. A cache that is being filled, or was not filled to the
    end, is readable: it has the samples that are there. Shards are mapped into memory when first drawn from, in each
    process by itself; a pickled cache carries none of that. Arrays drawn are copies: change them freely.

    Args:
        where: A folder, or an fsspec URL such as `s3://bucket/caches/tile`, whose shards are copied to the user's cache
            folder when first needed.

    Attributes:
        folder: Where the files are.
        manifest: Whose samples these are.
        missing: Samples wanted, but not there.

    Raises:
        FileNotFoundError: There is no cache.
        CacheDamaged: A file of the cache is not what was written; `verify_cache` says more.
        CacheTooNew: A later version of the package wrote it.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        self.folder: Folder = open_folder(where)
        manifest = read_manifest(self.folder)
        if manifest is None:
            raise FileNotFoundError(f"there is no cache at {self.folder.url}: it has no {MANIFEST}")
        self.manifest = manifest
        self._shards = find_shards(self.folder, manifest)
        self._ends = list(accumulate(shard.header.rows for shard in self._shards))
        self.missing = manifest.count - len(self)
        self._forget()

    def _forget(self) -> None:
        self._columns: Arrays = {}
        self._maps: dict[int, Arrays] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        # maps and locks belong to a process; columns are read again faster than they are pickled
        mine = ("_columns", "_maps", "_lock", "_process")
        return {name: value for name, value in self.__dict__.items() if name not in mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        return f"SampleCache({self.folder.url!r}, {len(self)} samples of {self.generator})"

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def generator(self) -> str:
        """Name of the generator."""
        return self.manifest.generator

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides the samples: generator, base seed, shape, conditions, gates."""
        return self.manifest.key

    @property
    def groups(self) -> list[tuple[Group, range]]:
        """The shapes, each with the positions of its samples."""
        groups: dict[Group, int] = {}
        for shard in self._shards:
            groups[shard.group] = groups.get(shard.group, 0) + shard.header.rows
        ends = list(accumulate(groups.values()))
        return [(group, range(end - rows, end)) for (group, rows), end in zip(groups.items(), ends, strict=True)]

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the columns of `scores`."""
        return self.manifest.groups[0].layout.scores

    @property
    def indices(self) -> NDArray[np.int64]:
        """Sample index k at each position: what identifies a sample in review decisions, whatever else is missing."""
        return self._column("index")

    @property
    def seeds(self) -> NDArray[np.int64]:
        """Seed of the request at each position."""
        return self._column("seed")

    @property
    def labels(self) -> NDArray[np.int64]:
        """`Sample.label` at each position."""
        return self._column("label")

    @property
    def defect_classes(self) -> NDArray[np.int32]:
        """Defect class asked for, at each position."""
        return self._column("defect_class")

    @property
    def scores(self) -> NDArray[np.float32]:
        """What the gates measured, (positions, score names)."""
        return self._column("score")

    @property
    def rejections(self) -> dict[str, int]:
        """How many attempts each gate rejected at fill, for the samples that are there."""
        totals = self._column("rejections").sum(axis=0, dtype=np.int64)
        return dict(zip(self.manifest.groups[0].layout.gates, totals.tolist(), strict=True))

    @property
    def acceptance(self) -> float:
        """Share of the attempts that passed all gates, in (0, 1]; NaN for a cache without samples."""
        return len(self) / (len(self) + sum(self.rejections.values())) if len(self) else float("nan")

    def positions_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the samples with these indices are.

        Raises:
            KeyError: One is not in the cache.
        """
        known = np.isin(indices, self.indices)
        if not known.all():
            raise KeyError(f"the cache has no sample {np.asarray(indices)[~known].tolist()[:5]}")
        order = np.argsort(self.indices)
        return order[np.searchsorted(self.indices, indices, sorter=order)]

    def __iter__(self) -> Iterator[Sample]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> Sample:
        shard, row = self._locate(position)
        arrays = self._arrays(shard)
        ends = arrays["record_end"]
        record = decode_record(arrays["record"][ends[row - 1] if row else 0 : ends[row]].tobytes())
        origin = Origin(
            generator=self.manifest.generator,
            fingerprint=self.manifest.fingerprint,
            seed=(int(arrays["seed"][row]),),
            params={"index": int(arrays["index"][row]), **record},
            host=record.get("host"),
        )
        mask = arrays["mask"][row].copy() if "mask" in arrays else None
        return Sample(arrays["image"][row].copy(), mask, int(arrays["label"][row]), origin)

    def pixels(self, position: int) -> tuple[Image, Mask | None]:
        """Return image and mask at a position as read-only views of the mapped shard, without a copy."""
        shard, row = self._locate(position)
        arrays = self._arrays(shard)
        return arrays["image"][row], arrays["mask"][row] if "mask" in arrays else None

    def _locate(self, position: int) -> tuple[int, int]:
        index = operator.index(position)
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"position {index} is out of range for a cache of {size} samples")
        index %= size
        shard = bisect_right(self._ends, index)
        return shard, index - self._ends[shard] + self._shards[shard].header.rows

    def _arrays(self, number: int) -> Arrays:
        if self._process != os.getpid():
            # a fork may have copied the lock while another thread held it
            self._forget()
        with self._lock:
            arrays = self._maps.pop(number, None)
            if arrays is None:
                arrays = map_shard(self.folder, self._shards[number])
                if len(self._maps) >= _OPEN_SHARDS:
                    del self._maps[next(iter(self._maps))]
            # the order of the dict is the order of use
            self._maps[number] = arrays
        return arrays

    def _column(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            parts = [read_columns(self.folder, shard) for shard in self._shards]
            empty = self.manifest.groups[0].layout.fields(0, 0)
            for column in _COLUMNS:
                none = np.empty(empty[column].shape, empty[column].dtype)
                self._columns[column] = np.concatenate([none, *(part[column] for part in parts)])
                self._columns[column].flags.writeable = False
        return self._columns[name]
