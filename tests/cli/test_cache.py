"""`inout-aug cache` as a user runs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from inout_aug.cache import SampleCache, fill_cache
from inout_aug.cache.filters import MaskShare
from inout_aug.cache.review import Review
from inout_aug.cli import app
from standin import Brightness, Noise


def filled(path: Path, n: int = 12, **options: Any) -> SampleCache:
    settings = {"shape": (48, 64, 3), "shard_size": 4, "progress": False, **options}
    return fill_cache(Noise(), path, n, conditions=[{"prompt": "a crack"}, {"defect_class": 2}], **settings)


def run(*words: object, code: int = 0, given: str | None = None) -> Result:
    result = CliRunner().invoke(app, ["cache", *map(str, words)], input=given, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_info_tells_what_is_there(tmp_path: Path) -> None:
    cache = filled(tmp_path / "tile", gates=[Brightness(64), MaskShare()])
    Review(cache).reject([0, 1])
    Review(cache).relabel(2, 7)
    text = run("info", tmp_path / "tile").output
    assert text.startswith(f"{tmp_path / 'tile'}\n")
    for row in (
        f"generator  Noise, fingerprint {Noise().fingerprint[:12]}, seed 0",
        "samples    12 of 12",
        "shape      48x64x3-uint8, 12 samples",
        "class      1, 5 samples",
        "class      2, 6 samples",
        "class      7, 1 samples",
        f"score      first pixel, {cache.scores[:, 0].min():.4g} to {cache.scores[:, 0].max():.4g}",
        f"gate       dark, {cache.rejections['dark']} rejected",
        f"yield      {cache.acceptance:.1%}",
        "review     3 decisions, 2 rejected, 1 relabelled",
    ):
        assert f"  {row}\n" in text


def test_info_without_a_path_lists_the_users_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path))
    assert run("info").output == f"no caches in {tmp_path}\n"
    filled(tmp_path / "a", 2)
    filled(tmp_path / "b", 3)
    text = run("info").output
    assert f"{tmp_path / 'a'}\n" in text
    assert f"\n\n{tmp_path / 'b'}\n" in text


def test_verify_and_repair(tmp_path: Path) -> None:
    filled(tmp_path)
    assert "every byte is as written" in run("verify", tmp_path).output
    shard = tmp_path / "48x64x3-uint8-000001.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1000] ^= 1
    shard.write_bytes(data)
    assert f"{shard.name}: damaged, checksum" in run("verify", tmp_path, code=1).output
    repaired = run("repair", tmp_path).output
    assert "set aside as quarantine/" in repaired
    assert "run the fill or the import again" in repaired
    assert shard.name in "".join(os.listdir(tmp_path / "quarantine"))
    assert "missing, 4 of 4 samples are not there" in run("verify", tmp_path, code=1).output
    filled(tmp_path)
    assert "nothing to repair" in run("repair", tmp_path).output


def test_foreign_files_are_told_but_harmless(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt: foreign" in run("verify", tmp_path).output


def test_prune_asks_and_takes_no_for_an_answer(tmp_path: Path) -> None:
    filled(tmp_path / "tile")
    run("prune", tmp_path / "tile", given="n\n", code=1)
    assert len(SampleCache(tmp_path / "tile")) == 12
    run("prune", tmp_path / "tile", given="y\n")
    assert not (tmp_path / "tile").exists()


def test_prune_removes_what_it_is_told_to_or_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "a")
    filled(tmp_path / "b")
    assert "there is no cache" in run("prune", tmp_path / "a", tmp_path / "none", "--yes", code=2).stderr
    assert (tmp_path / "a").exists()
    Review(tmp_path / "a").reject(1)
    text = run("prune", tmp_path / "a", "--yes").output
    assert f"removed {tmp_path / 'a'}: " in text
    assert "kept decisions.jsonl" in text
    assert len(SampleCache(tmp_path / "b")) == 12


def test_export_then_import(tmp_path: Path) -> None:
    cache = filled(tmp_path / "tile")
    out = tmp_path / "out"
    assert "12 samples as mvtec" in run("export", tmp_path / "tile", out, "--classes", "crack, dent").output
    assert (out / "test" / "dent").is_dir()
    assert "12 samples" in run("import", out, "--out", tmp_path / "again").output
    assert sorted(sample.image.tobytes() for sample in SampleCache(tmp_path / "again")) == sorted(
        sample.image.tobytes() for sample in cache
    )
    message = run("export", tmp_path / "tile", out, "--format", "coco", code=2).stderr
    assert message.startswith(f"error: {out} exists already")
    assert message.count("\n") == 1


def test_import_into_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "caches"))
    (tmp_path / "gen").mkdir()
    cv2.imwrite(str(tmp_path / "gen/a.png"), np.full((32, 32, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "gen/b.png"), np.full((32, 32, 3), 99, np.uint8))
    cv2.imwrite(str(tmp_path / "gen/a_m.png"), np.eye(32, dtype=np.uint8) * 255)
    assert "has no mask" in run("import", tmp_path / "gen", "--mask-suffix", "_m", code=2).stderr
    run("import", tmp_path / "gen", "--mask-suffix", "_m", "--missing-normal", "--channels", 1)
    (cache,) = (tmp_path / "caches").iterdir()
    assert [sample.image.shape for sample in SampleCache(cache)] == [(32, 32, 1)] * 2


def test_a_sheet_of_a_cache(tmp_path: Path) -> None:
    cache = filled(tmp_path / "tile", gates=[Brightness(0)])
    Review(cache).reject(3)
    out = tmp_path / "deep" / "sheet.png"
    assert "6 of 12 samples" in run("sheet", tmp_path / "tile", "--out", out, "-n", 6, "--tile", 64).output
    assert cv2.imread(str(out)) is not None
    run("sheet", tmp_path / "tile", "--out", out, "--sort", "first pixel", "--closeup")
    assert "there is no score 'realism'" in run("sheet", tmp_path / "tile", "--sort", "realism", code=2).stderr
    assert "--out is a picture" in run("sheet", tmp_path / "tile", "--out", "x.txt", code=2).stderr


def test_the_worst_come_first_and_captions_tell_all(tmp_path: Path) -> None:
    from inout_aug.cli.cache import _chosen, _entry

    cache = filled(tmp_path, gates=[Brightness(0)])
    review = Review(cache)
    assert _chosen(review, 3, "first pixel") == np.argsort(cache.scores[:, 0], kind="stable")[:3].tolist()
    assert _chosen(review, 4, None) == [0, 4, 7, 11]
    review.reject(0)
    review.relabel(0, 9)
    entry = _entry(review, 0)
    assert entry.name == "sample 0, class 9, rejected, relabelled from 1"
    assert entry.details == f"a crack, first pixel {cache.scores[0, 0]:.3g}"
    assert set(np.unique(np.asarray(entry.sample.mask))) == {0, 9}


@pytest.mark.parametrize("command", ["info", "verify", "repair", "prune", "sheet"])
def test_no_cache_is_one_line(tmp_path: Path, command: str) -> None:
    message = run(command, tmp_path / "none", code=2).stderr
    assert message == f"error: there is no cache at {tmp_path / 'none'}: it has no manifest.json\n"


def test_a_damaged_cache_is_one_line(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert "manifest.json is not what was written" in run("info", tmp_path, code=2).stderr
    assert "manifest.json: damaged" in run("verify", tmp_path, code=1).output
