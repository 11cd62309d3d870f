"""Imports: other tools' folders as a cache, the same samples as exported, once, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inout_aug.cache import CacheMismatch, SampleCache, fill_cache
from inout_aug.cache.export import export_cache
from inout_aug.cache.importer import import_dataset, import_folder
from inout_aug.cache.review import Review
from inout_aug.cache.sampler import CachedSampler
from inout_aug.datasets import MVTecAD
from inout_aug.sample import Sample
from inout_aug.seeding import stream
from standin import Noise


def image(seed: int, shape: tuple[int, ...] = (24, 32, 3), dtype: Any = np.uint8) -> Any:
    return stream(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def square(value: int, shape: tuple[int, int] = (24, 32)) -> Any:
    mask = np.zeros(shape, np.uint8)
    mask[4:9, 6:12] = value
    return mask


def write(path: Path, pixels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels)
    return path


def imported(folder: Path, path: Path, **options: Any) -> SampleCache:
    return import_folder(folder, path, progress=False, **options)


def contents(cache: SampleCache) -> list[tuple[bytes, bytes, int]]:
    """What a dataset gets of the whole cache, in any order."""
    sample = cache[0]
    like = Sample(np.zeros_like(sample.image), np.zeros_like(sample.mask))
    draws = CachedSampler(cache).bind(sum(cache.labels > 0), like, 0)
    drawn = (draws(position, 0) for position in range(len(draws.classes)))
    return sorted((made.image.tobytes(), np.asarray(made.mask).tobytes(), made.label) for made in drawn)


@pytest.mark.parametrize("format", ["mvtec", "png"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exported_imported_and_sampled_is_the_same(tmp_path: Path, format: Any, dtype: Any, channels: int) -> None:  # noqa: A002
    conditions = [{"defect_class": k} for k in (1, 2, 3)]
    settings = {"shape": (24, 32, channels), "dtype": dtype, "conditions": conditions, "progress": False}
    cache = fill_cache(Noise(dtype=dtype), tmp_path / "cache", 12, **settings)
    export_cache(cache, tmp_path / "out", format, progress=False)
    again = imported(tmp_path / "out", tmp_path / "again")
    assert contents(again) == contents(cache)


def test_rejected_samples_do_not_come_back(tmp_path: Path) -> None:
    cache = fill_cache(Noise(), tmp_path / "cache", 12, shape=(24, 32, 3), progress=False)
    Review(cache).reject([1, 2])
    export_cache(cache, tmp_path / "out", "mvtec", progress=False)
    assert len(imported(tmp_path / "out", tmp_path / "again")) == 10


def test_images_and_masks_in_two_folders(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"gen/images/a/{k}.png", image(k))
        write(tmp_path / f"gen/masks/a/{k}.png", square(255))
    cache = imported(tmp_path / "gen", tmp_path / "cache")
    assert cache.labels.tolist() == [1, 1, 1]
    for k, sample in enumerate(cache):
        np.testing.assert_array_equal(sample.image, image(k))
        np.testing.assert_array_equal(sample.mask, square(1))
        assert sample.origin.generator == "imported"
        assert sample.origin.params["params"]["path"] == f"images/a/{k}.png"


def test_masks_elsewhere_and_masks_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "a/x.png", image(0))
    write(tmp_path / "b/x_m.png", square(255))
    write(tmp_path / "c/x.png", image(0))
    write(tmp_path / "c/x_m.png", square(255))
    elsewhere = imported(tmp_path / "a", tmp_path / "1", masks=tmp_path / "b", mask_suffix="_m")
    beside = imported(tmp_path / "c", tmp_path / "2", mask_suffix="_m")
    assert contents(elsewhere) == contents(beside)
    # the same files are the same cache, wherever they lie
    assert elsewhere.fingerprint == beside.fingerprint


def test_lossy_masks_are_what_is_brighter_than_half(tmp_path: Path) -> None:
    write(tmp_path / "gen/images/0.jpg", image(0))
    path = write(tmp_path / "gen/masks/0.jpg", square(255))
    assert 0 < np.count_nonzero((decoded := cv2.imread(str(path), 0)) % 255) < decoded.size
    sample = imported(tmp_path / "gen", tmp_path / "cache")[0]
    np.testing.assert_array_equal(sample.mask, square(1))


def test_class_ids_with_names(tmp_path: Path) -> None:
    write(tmp_path / "gen/images/0.png", image(0))
    write(tmp_path / "gen/masks/0.png", square(2))
    assert imported(tmp_path / "gen", tmp_path / "1", classes=["crack", "dent"]).labels.tolist() == [2]
    assert imported(tmp_path / "gen", tmp_path / "2").labels.tolist() == [1]
    (tmp_path / "gen/classes.txt").write_text("crack\ndent\n")
    assert imported(tmp_path / "gen", tmp_path / "3").labels.tolist() == [2]


def test_mixed_sizes_are_grouped_and_normals_are_never_drawn(tmp_path: Path) -> None:
    for k, shape in enumerate([(24, 32, 3), (48, 20, 3), (24, 32, 3)]):
        write(tmp_path / f"gen/images/{k}.png", image(k, shape))
    write(tmp_path / "gen/masks/1.png", square(255, (48, 20)))
    write(tmp_path / "gen/masks/2.png", square(255))
    cache = imported(tmp_path / "gen", tmp_path / "cache", missing_mask="normal")
    assert [group.layout.name for group, _ in cache.groups] == ["24x32x3-uint8", "48x20x3-uint8"]
    assert dict(zip(cache.indices.tolist(), cache.labels.tolist(), strict=True)) == {0: 0, 1: 1, 2: 1}
    with pytest.raises(ValueError, match="1 samples are missing"):
        CachedSampler(cache).bind(3, Sample(image(0)), 0)


def test_channels_are_made_equal_when_told(tmp_path: Path) -> None:
    write(tmp_path / "gen/images/0.png", image(0))
    write(tmp_path / "gen/images/1.png", image(1, (24, 32)))
    for k in range(2):
        write(tmp_path / f"gen/masks/{k}.png", square(255))
    grey = imported(tmp_path / "gen", tmp_path / "grey", channels=1)
    np.testing.assert_array_equal(grey[0].image[..., 0], cv2.cvtColor(image(0), cv2.COLOR_RGB2GRAY))
    assert len(imported(tmp_path / "gen", tmp_path / "colour", channels=3).groups) == 1
    assert len(imported(tmp_path / "gen", tmp_path / "as-is").groups) == 2
    with pytest.raises(ValueError, match="channels is 1 or 3"):
        imported(tmp_path / "gen", tmp_path / "none", channels=2)


def test_an_import_is_known_by_its_content(tmp_path: Path) -> None:
    for k in range(2):
        write(tmp_path / f"gen/images/{k}.png", image(k))
        write(tmp_path / f"gen/masks/{k}.png", square(255))
    first = imported(tmp_path / "gen", tmp_path / "cache")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    imported(tmp_path / "gen", tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written
    # a shard that was lost is read again
    next((tmp_path / "cache").glob("*.safetensors")).unlink()
    assert contents(imported(tmp_path / "gen", tmp_path / "cache")) == contents(first)
    write(tmp_path / "gen/masks/1.png", square(255).T[:24, :24].repeat(2, axis=1)[:, :32])
    with pytest.raises(CacheMismatch):
        imported(tmp_path / "gen", tmp_path / "cache")


def test_any_dataset_of_items(tmp_path: Path) -> None:
    items: Any = [{"image": image(k), "mask": square(3), "label": 3, "path": f"item {k}"} for k in range(3)]
    cache = import_dataset(items, tmp_path / "cache", name="tool", progress=False)
    assert cache.generator == "tool"
    assert cache.labels.tolist() == [3, 3, 3]
    assert cache[1].origin.params["params"] == {"path": "item 1"}


def test_what_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images to import"):
        import_dataset([], tmp_path / "cache", progress=False)
    write(tmp_path / "bare/0.png", image(0))
    with pytest.raises(FileNotFoundError, match=r"laid out in no known way.*holds 0\.png"):
        imported(tmp_path / "bare", tmp_path / "cache")
    write(tmp_path / "deep/images/0.png", image(0))
    write(tmp_path / "deep/images/1.png", image(0, dtype=np.uint16))
    for k in range(2):
        write(tmp_path / f"deep/masks/{k}.png", square(255))
    with pytest.raises(ValueError, match=r"8-bit \(.*0\.png\) and 16-bit \(.*1\.png\)"):
        imported(tmp_path / "deep", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.real_data
def test_real_defects_in_mvtec_layout(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "magnetic_tile"
    test = MVTecAD(root, "test")
    crack = test.classes.index("crack")
    few = [test[index] for index in np.flatnonzero(np.equal(test.targets, crack))[:6]]
    cache = import_dataset(few, tmp_path / "cache", root=root, progress=False)
    assert sorted(cache.indices.tolist()) == list(range(6))
    for index, sample in zip(cache.indices, cache, strict=True):
        np.testing.assert_array_equal(sample.image, few[index]["image"])
        np.testing.assert_array_equal(sample.mask, few[index]["mask"])
        assert sample.origin.params["params"]["path"].startswith("test/crack/")
