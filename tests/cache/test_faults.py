"""What goes wrong on real machines, done for real: kills, full disks, flipped bits, strangers in the folder."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inout_aug.cache import (
    CacheDamaged,
    CacheMismatch,
    CacheNotWritten,
    SampleCache,
    fill_cache,
    set_aside,
    verify_cache,
)
from standin import Brightness, Noise, contents

FORK = multiprocessing.get_context("fork")
OPTIONS: dict[str, Any] = {"shape": (48, 64, 3), "shard_size": 8, "gates": [Brightness(64)], "progress": False}
NAME = "48x64x3-uint8-00000{}.safetensors"


def fill(path: Path, n: int = 96, generator: Any = None, **options: Any) -> SampleCache:
    return fill_cache(generator or Noise(), path, n, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("undisturbed")
    fill(path)
    return contents(path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    fill(tmp_path / "cache")
    return tmp_path / "cache"


def in_child(task: Callable[[], Any]) -> Any:
    """Run a task in a forked process, which may ruin itself; return its result, or raise its error."""
    ours, theirs = FORK.Pipe()

    def child() -> None:
        try:
            theirs.send((True, task()))
        except BaseException as error:
            error.add_note(traceback.format_exc())
            theirs.send((False, error))

    process = FORK.Process(target=child)
    process.start()
    good, result = ours.recv()
    process.join()
    if not good:
        raise result
    return result


def slow_fill(path: Path) -> None:
    fill(path, generator=Noise(seconds=0.001), batch_size=3, checkpoint_seconds=0.01)


def test_fifty_kills_lose_nothing_and_double_nothing(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    chance = random.Random(0)
    start = time.perf_counter()
    in_child(lambda: slow_fill(tmp_path / "timed"))
    whole = time.perf_counter() - start
    kills, path, rounds, before = 0, tmp_path / "0", 1, 0
    while kills < 50:
        process = FORK.Process(target=slow_fill, args=(path,))
        process.start()
        process.join(chance.uniform(0, 0.4 * whole))
        process.kill()
        process.join()
        kills += process.exitcode == -9
        if not (path / "manifest.json").exists():
            continue
        stored = len(SampleCache(path))
        assert stored >= before
        assert {finding.kind for finding in verify_cache(path)} <= {"missing", "unfinished"}
        if stored == 96:
            assert contents(path) == undisturbed
            path, rounds, before = tmp_path / str(rounds), rounds + 1, 0
        else:
            before = stored
    fill(path)
    assert contents(path) == undisturbed
    assert rounds > 1


def test_what_killed_fillers_left_is_cleared_when_it_is_old(cache: Path, undisturbed: dict[str, bytes]) -> None:
    left = [cache / f".{NAME.format(2)}.{age}.tmp" for age in ("old", "young")]
    for path in left:
        path.write_bytes(b"half a shard")
    os.utime(left[0], (time.time() - 7200,) * 2)
    assert {finding.kind for finding in verify_cache(cache)} == {"unfinished"}
    fill(cache)
    assert [path.exists() for path in left] == [False, True]
    assert contents(cache) == undisturbed


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_limit_on_file_sizes_is_a_clear_error_and_the_fill_goes_on_later(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    def limited() -> None:
        limit_files(50_000)
        fill(tmp_path)

    with pytest.raises(CacheNotWritten, match=r"no room left for it.*run the same fill again"):
        in_child(limited)
    assert set(contents(tmp_path)) == {"manifest.json"}
    assert verify_cache(tmp_path)[0].kind == "missing"
    fill(tmp_path)
    assert contents(tmp_path) == undisturbed


def mount(path: Path, flags: int, options: bytes) -> None:
    """Mount a memory file system that only this process sees; skips the test where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespaces, user, group = 0x10020000, os.getuid(), os.getgid()
    if not flags:
        if libc.unshare(new_namespaces):
            raise PermissionError("namespaces are not allowed here")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    if libc.mount(b"none", bytes(path), b"tmpfs", flags, options):
        raise PermissionError("mounting is not allowed here")


def in_mount(task: Callable[[], Any]) -> Any:
    try:
        return in_child(task)
    except PermissionError as error:
        pytest.skip(str(error))


def test_a_full_disk_is_a_clear_error_and_the_fill_goes_on_when_there_is_room(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    def small_disk() -> tuple[str, int, dict[str, bytes]]:
        mount(tmp_path, 0, b"size=500k")
        try:
            fill(tmp_path)
        except CacheNotWritten as error:
            stored = len(SampleCache(tmp_path))
            remount = 0x20
            mount(tmp_path, remount, b"size=50m")
            fill(tmp_path)
            return str(error), stored, contents(tmp_path)
        raise AssertionError("more than a megabyte went into half of one")

    message, stored, filled = in_mount(small_disk)
    assert "there is no room left for it" in message
    assert 0 < stored < 96
    assert filled == undisturbed


def test_a_read_only_folder_is_read(tmp_path: Path) -> None:
    def read_only() -> tuple[int, str]:
        mount(tmp_path, 0, b"size=50m")
        fill(tmp_path, 16)
        read_only_remount = 0x21
        mount(tmp_path, read_only_remount, b"")
        cache = SampleCache(tmp_path)
        assert verify_cache(tmp_path) == []
        # a full cache needs no writing either
        fill(tmp_path, 16)
        with pytest.raises(CacheNotWritten, match="Read-only file system"):
            fill(tmp_path, 17)
        return int(cache[15].image.sum(dtype=np.int64)), repr(cache)

    total, _ = in_mount(read_only)
    fill(tmp_path / "other", 16)
    assert total == SampleCache(tmp_path / "other")[15].image.sum(dtype=np.int64)


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


def truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def replace_by(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


def link(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    path.rename(target)
    path.symlink_to(target)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def torch_save(path: Path) -> None:
    torch.save({"image": torch.zeros(3)}, path)


class Bomb:
    def __reduce__(self) -> Any:
        return os._exit, (3,)


def absurd(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 1 << 60) + data[8:])


def of_another_cache(path: Path) -> None:
    fill(path.parent.parent / "other", seed=1)
    shutil.copy(path.parent.parent / "other" / path.name, path)


def of_another_place(path: Path) -> None:
    shutil.copy(path.parent / NAME.format(3), path)


DAMAGE: dict[str, tuple[Callable[[Path], Any], bool, str]] = {
    # how, whether opening finds it, what is said
    "a flipped bit in a mask": (lambda path: flip(path, -4000), False, "checksum of mask differs"),
    "a flipped bit in a seed": (lambda path: flip(path, 1900), False, "checksum"),
    "a flipped bit in the header": (lambda path: flip(path, 20), True, "header"),
    "truncated": (lambda path: truncate(path, 40_000), True, "has 40000 bytes"),
    "empty": (lambda path: truncate(path, 0), True, "claims"),
    "a foreign text": (replace_by(b"Dear diary, " * 1000), True, "claims"),
    "an absurd header": (absurd, True, "claims"),
    "a pickle": (replace_by(pickle.dumps(Bomb())), True, "pickle"),
    "an archive": (torch_save, True, "pickle or an archive"),
    "a link": (link, True, "symbolic link"),
    "a folder": (folder, True, "no regular file"),
    "of another cache": (of_another_cache, True, "another cache"),
    "of another place": (of_another_place, True, "does not describe"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_named_set_aside_and_made_again(
    cache: Path, undisturbed: dict[str, bytes], damage: str
) -> None:
    spoil, at_opening, words = DAMAGE[damage]
    path = cache / NAME.format(2)
    spoil(path)
    spoilt = path.read_bytes() if path.is_file() else None
    if at_opening:
        with pytest.raises(CacheDamaged, match=NAME.format(2)):
            SampleCache(cache)
    (finding,) = verify_cache(cache)
    assert (finding.name, finding.kind) == (NAME.format(2), "damaged")
    assert words in finding.reason
    with pytest.warns(RuntimeWarning, match=f"{NAME.format(2)} .* set aside as quarantine"):
        fill(cache, verify=True)
    assert contents(cache) == undisturbed
    (aside,) = (cache / "quarantine").iterdir()
    assert aside.name.startswith(NAME.format(2))
    assert spoilt is None or aside.read_bytes() == spoilt
    assert verify_cache(cache) == []


def test_damage_is_set_aside_without_a_generator_too(cache: Path, undisturbed: dict[str, bytes]) -> None:
    flip(cache / NAME.format(0), -4000)
    flip(cache / NAME.format(1), -4000)
    for _ in range(2):
        names = set_aside(cache, verify_cache(cache))
        fill(cache)
        flip(cache / NAME.format(0), -4000)
    assert len(list((cache / "quarantine").iterdir())) == 3
    assert all((cache / name).exists() for name in names)
    assert len(SampleCache(cache)) == 96


def test_a_damaged_shard_that_is_to_grow_is_not_built_upon(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    fill(tmp_path, 92)
    flip(tmp_path / "48x64x3-uint8-000011.safetensors", -4000)
    with pytest.warns(RuntimeWarning, match="set aside"):
        fill(tmp_path)
    assert contents(tmp_path) == undisturbed


@pytest.mark.parametrize("text", [b"", b"{}", None])
def test_a_damaged_manifest_is_set_aside_and_made_again(
    cache: Path, undisturbed: dict[str, bytes], text: bytes | None
) -> None:
    path = cache / "manifest.json"
    path.write_bytes(text if text is not None else path.read_bytes().replace(b'"count": 96', b'"count": 95'))
    with pytest.raises(CacheDamaged, match=r"manifest\.json"):
        SampleCache(cache)
    assert [(finding.name, finding.kind) for finding in verify_cache(cache)] == [("manifest.json", "damaged")]
    with pytest.warns(RuntimeWarning, match=r"manifest\.json"):
        fill(cache)
    assert contents(cache) == undisturbed


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("height", "../../etc"),
        ("height", 1 << 40),
        ("dtype", "../../etc/passwd"),
        ("count", -1),
        ("count", 1 << 60),
        ("shard_size", 0),
        ("scores", ["a", "a"]),
        ("surprise", 1),
    ],
)
def test_a_manifest_with_honest_digest_and_mad_contents_is_refused(cache: Path, place: str, value: Any) -> None:
    from inout_aug.cache.fingerprint import digest_of

    body = json.loads((cache / "manifest.json").read_text())
    del body["sha256"]
    group = body["groups"][0]
    (group["layout"] if place in group["layout"] else group)[place] = value
    (cache / "manifest.json").write_text(json.dumps({**body, "sha256": digest_of(body)}))
    with pytest.raises(CacheDamaged, match="not what was written"):
        SampleCache(cache)


def test_foreign_files_are_named_and_left_alone(cache: Path) -> None:
    foreign = {"notes.txt": b"mine", "other.safetensors": b"", "48x64x3-uint8-000012.safetensors": b"beyond the end"}
    for name, data in foreign.items():
        (cache / name).write_bytes(data)
    (cache / "folder").mkdir()
    (cache / "decisions.jsonl").touch()
    findings = verify_cache(cache)
    assert {finding.name for finding in findings} == {*foreign, "folder"}
    assert {finding.kind for finding in findings} == {"foreign"}
    assert len(SampleCache(cache)) == 96
    fill(cache)
    assert set_aside(cache, findings) == []
    assert {name: (cache / name).read_bytes() for name in foreign} == foreign


def test_three_fillers_at_once_write_the_same(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    # every batch is stored at once, so that they get into each other's way as often as can be
    options = {"batch_size": 1, "checkpoint_seconds": 0.0}
    fillers = [FORK.Process(target=fill, args=(tmp_path,), kwargs=options) for _ in range(3)]
    for filler in fillers:
        filler.start()
    for filler in fillers:
        filler.join()
    assert [filler.exitcode for filler in fillers] == [0, 0, 0]
    assert contents(tmp_path) == undisturbed


def test_two_fillers_with_different_plans_never_share_a_folder(cache: Path, undisturbed: dict[str, bytes]) -> None:
    with pytest.raises(CacheMismatch):
        fill(cache, seed=1)
    assert contents(cache) == undisturbed


def test_a_shard_deleted_while_a_fill_runs_is_made_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    deleted = []

    class Deleting(Noise):
        def generate(self, requests: Any) -> Any:
            if not deleted and (tmp_path / NAME.format(0)).exists():
                (tmp_path / NAME.format(0)).unlink()
                deleted.append(True)
            return super().generate(requests)

    fill(tmp_path, generator=Deleting())
    assert deleted
    assert contents(tmp_path) == undisturbed
