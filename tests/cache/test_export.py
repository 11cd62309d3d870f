"""Exports: read back by code that is not ours, exact, honest about decisions, never over someone's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from inout_aug.cache import SampleCache, fill_cache
from inout_aug.cache.export import export_cache
from inout_aug.cache.filters import MaskShare
from inout_aug.cache.review import Review
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from standin import Noise

FORMATS = ("mvtec", "coco", "yolo", "yolo-seg", "png")


class Rings(Noise):
    """A ring, which has a hole, and a speck, of the class asked for."""

    def make(self, request: Request) -> Sample:
        made = super().make(request)
        mask = cv2.circle(np.zeros(made.size, np.uint8), (20, 16), 6, request.defect_class, 2)
        mask[28, 40] = request.defect_class
        return Sample(made.image, mask, request.defect_class, made.origin)


class Normals(Noise):
    """Every second sample shows no defect."""

    def make(self, request: Request) -> Sample:
        made = super().make(request)
        return made if request.seed % 2 else Sample(made.image, np.zeros_like(made.mask), 0)


def filled(path: Path, generator: Any = None, n: int = 6, classes: int = 2, **options: Any) -> SampleCache:
    conditions = [{"defect_class": k} for k in range(1, classes + 1)]
    settings = {"shape": (33, 48, 3), "progress": False, "conditions": conditions, **options}
    return fill_cache(generator or Rings(), path, n, **settings)


def exported(cache: SampleCache, path: Path, format: Any, **options: Any) -> Path:  # noqa: A002
    assert export_cache(cache, path, format, progress=False, **options) == len(list(Review(cache).samples()))
    return path


def read(path: Path) -> Any:
    return np.asarray(Pillow.open(path))


def test_mvtec(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache")
    root = exported(cache, tmp_path / "out", "mvtec", classes=["scratch", "dent"])
    for index, sample in zip(cache.indices, cache, strict=True):
        kind = ("scratch", "dent")[sample.label - 1]
        np.testing.assert_array_equal(read(root / f"test/{kind}/{index:06d}.png"), sample.image)
        mask = read(root / f"ground_truth/{kind}/{index:06d}_mask.png")
        np.testing.assert_array_equal(mask, np.where(sample.mask, 255, 0))
    assert (root / "train/good").is_dir()
    assert (root / "test/good").is_dir()


def test_coco_boxes_areas_and_shapes(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache")
    root = exported(cache, tmp_path / "out", "coco", classes=["scratch", "dent"])
    whole = json.loads((root / "annotations.json").read_text())
    assert [category["name"] for category in whole["categories"]] == ["scratch", "dent"]
    assert [image["id"] for image in whole["images"]] == list(range(1, 7))
    for image, sample in zip(whole["images"], cache, strict=True):
        np.testing.assert_array_equal(read(root / "images" / image["file_name"]), sample.image)
        assert (image["height"], image["width"]) == sample.size
        mine = [item for item in whole["annotations"] if item["image_id"] == image["id"]]
        assert len(mine) == 2
        drawn = np.zeros(sample.size, np.uint8)
        for item in mine:
            pixels = decoded(item["segmentation"], sample.size)
            assert item["area"] == pixels.sum()
            y, x = np.nonzero(pixels)
            assert item["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            drawn[pixels] = item["category_id"]
        np.testing.assert_array_equal(drawn, sample.mask)


def decoded(segmentation: Any, size: tuple[int, int]) -> Any:
    if isinstance(segmentation, dict):
        assert segmentation["size"] == list(size)
        runs = segmentation["counts"]
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order="F")
    (flat,) = segmentation
    corners = np.reshape(flat, (-1, 2))
    # cv2 fills through the centres of border pixels; at eight times the size the centre of a pixel is inside or outside
    large = cv2.fillPoly(np.zeros((8 * size[0], 8 * size[1]), np.uint8), [corners.astype(np.int32) * 8], 1)
    return large[4::8, 4::8] > 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_read_by_its_own_library(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    cache = filled(tmp_path / "cache")
    dataset = coco.COCO(str(exported(cache, tmp_path / "out", "coco") / "annotations.json"))
    for image_id, sample in zip(dataset.getImgIds(), cache, strict=True):
        drawn = np.zeros(sample.size, np.uint8)
        for item in dataset.loadAnns(dataset.getAnnIds(image_id)):
            drawn[dataset.annToMask(item) > 0] = item["category_id"]
        np.testing.assert_array_equal(drawn, sample.mask)


def test_yolo_boxes(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache")
    root = exported(cache, tmp_path / "out", "yolo")
    for index, sample in zip(cache.indices, cache, strict=True):
        np.testing.assert_array_equal(read(root / f"images/train/{index:06d}.png"), sample.image)
        lines = (root / f"labels/train/{index:06d}.txt").read_text().splitlines()
        values = np.array([[float(value) for value in line.split()] for line in lines])
        assert values[:, 0].tolist() == [sample.label - 1] * 2
        (x, y, width, height) = values[1, 1:] * [48, 33, 48, 33]
        np.testing.assert_allclose([x - width / 2, y - height / 2, width, height], [40, 28, 1, 1], atol=1e-5)
    text = (root / "data.yaml").read_text()
    assert 'names:\n  0: "defect_01"\n  1: "defect_02"\n' in text
    assert "\ntrain: images/train\n" in text


def test_yolo_polygons_have_holes(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache")
    root = exported(cache, tmp_path / "out", "yolo-seg")
    for index, sample in zip(cache.indices, cache, strict=True):
        drawn = np.zeros(sample.size, np.uint8)
        for line in (root / f"labels/train/{index:06d}.txt").read_text().splitlines():
            kind, *values = line.split()
            corners = np.rint(np.array(values, float).reshape(-1, 2) * [48, 33])
            drawn[decoded([corners.ravel()], sample.size)] = int(kind) + 1
        # a cut of no width is drawn by cv2 as a line; everything else is exact
        assert np.count_nonzero(drawn != sample.mask) <= 6
        assert drawn[16, 20] == 0


def test_png_masks_hold_class_ids_and_are_visible(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache", classes=200, n=200)
    root = exported(cache, tmp_path / "out", "png")
    assert (root / "classes.txt").read_text().splitlines()[:2] == ["defect_01", "defect_02"]
    for index, sample in zip(cache.indices, cache, strict=True):
        np.testing.assert_array_equal(read(root / f"images/{index:06d}.png"), sample.image)
        mask = Pillow.open(root / f"masks/{index:06d}.png")
        np.testing.assert_array_equal(np.asarray(mask), sample.mask)
        assert np.asarray(mask.convert("RGB")).max() >= 192


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", FORMATS)
def test_sixteen_bit_images_stay_so(tmp_path: Path, format: Any, channels: int) -> None:  # noqa: A002
    cache = filled(tmp_path / "cache", Rings(dtype="uint16"), dtype="uint16", shape=(33, 48, channels))
    root = exported(cache, tmp_path / "out", format)
    line = json.loads((root / "samples.jsonl").read_text().splitlines()[0])
    stored = cv2.imread(str(root / line["file"]), cv2.IMREAD_UNCHANGED)
    expected = cache[0].image[..., 0] if channels == 1 else cache[0].image[..., ::-1]
    np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize("format", FORMATS)
def test_decisions_count_and_provenance_is_kept(tmp_path: Path, format: Any) -> None:  # noqa: A002
    cache = filled(tmp_path / "cache", gates=[MaskShare()])
    Review(cache).reject([0, 3])
    Review(cache).relabel(1, 1)
    root = exported(cache, tmp_path / "out", format)
    rows = [json.loads(line) for line in (root / "samples.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == [1, 2, 4, 5]
    assert [row["label"] for row in rows] == [1, 1, 1, 2]
    for row in rows:
        assert (root / row["file"]).is_file()
        position = int(np.flatnonzero(cache.indices == row["index"])[0])
        assert row["seed"] == [int(cache.seeds[position])]
        assert row["scores"] == {"mask_share": pytest.approx(float(cache.scores[position, 0]))}
        assert row["generator"] == "Noise"
        assert row["params"]["prompt"] is None


def test_normals_get_empty_labels_and_the_folder_good(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache", Normals(), 10, classes=1)
    normal = [index for index, sample in zip(cache.indices, cache, strict=True) if not sample.label]
    assert 0 < len(normal) < 10
    mvtec = exported(cache, tmp_path / "mvtec", "mvtec")
    assert sorted(path.stem for path in (mvtec / "test/good").iterdir()) == [f"{index:06d}" for index in normal]
    yolo = exported(cache, tmp_path / "yolo", "yolo")
    for index in cache.indices:
        text = (yolo / f"labels/train/{index:06d}.txt").read_text()
        assert (text == "") == (index in normal)
    coco = json.loads((exported(cache, tmp_path / "coco", "coco") / "annotations.json").read_text())
    assert len(coco["images"]) == 10
    assert len({item["image_id"] for item in coco["annotations"]}) == 10 - len(normal)


def test_small_parts_are_left_out_when_told(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache")
    root = exported(cache, tmp_path / "out", "coco", min_pixels=2)
    assert len(json.loads((root / "annotations.json").read_text())["annotations"]) == len(cache)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_overwritten(tmp_path: Path, format: Any) -> None:  # noqa: A002
    cache = filled(tmp_path / "cache")
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="never overwrites"):
        export_cache(cache, used, format, progress=False)
    with pytest.raises(FileExistsError, match="never overwrites"):
        export_cache(cache, used / "mine.txt", format, progress=False)
    assert [path.name for path in used.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    exported(cache, tmp_path / "empty", format)


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class TwoClasses(Noise):
        def make(self, request: Request) -> Sample:
            made = super().make(request)
            mask = np.asarray(made.mask)
            mask[0, 0] = 2
            return Sample(made.image, mask, 1)

    cache = filled(tmp_path / "cache", TwoClasses(), classes=1, n=2)
    with pytest.raises(ValueError, match=r"mask has \[2\] too.*png or coco"):
        export_cache(cache, tmp_path / "out", "mvtec", classes=["a", "b"], progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


@pytest.mark.parametrize(
    "classes", [["a"], ["a", "a"], ["a", "../b"], ["a", "b/c"], ["good", "a"], ["a", ""], ["a", "."]]
)
def test_names_that_are_none_are_refused(tmp_path: Path, classes: list[str]) -> None:
    with pytest.raises(ValueError, match="class"):
        export_cache(filled(tmp_path / "cache"), tmp_path / "out", "mvtec", classes=classes, progress=False)


def test_without_masks_only_images_can_be_written(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache", Noise(masks=False), masks=False)
    for format in ("mvtec", "coco", "yolo", "yolo-seg"):  # noqa: A001
        with pytest.raises(ValueError, match="has no masks"):
            export_cache(cache, tmp_path / "out", format, progress=False)  # type: ignore[arg-type]
    root = exported(cache, tmp_path / "out", "png")
    assert len(list((root / "images").iterdir())) == 6
    assert not (root / "masks").exists()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format is one of mvtec, coco, yolo, yolo-seg, png; got 'voc'"):
        export_cache(filled(tmp_path / "cache"), tmp_path / "out", "voc", progress=False)  # type: ignore[arg-type]
