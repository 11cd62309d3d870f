from pathlib import Path

import numpy as np
import pytest
from evidence.images import Images
from evidence.leaks import find_leaks, moved, refuse_leaks, refuse_other_product

from inout_aug import MemSegPaste
from inout_aug.cache import SampleCache
from inout_aug.cache.importer import import_dataset
from inout_aug.datasets import Item, Surfaces

SIZE = (64, 64)


def surfaces(length: int, start: int = 0, seed: int = 0, size: tuple[int, int] = SIZE) -> Images:
    return Images.read(Surfaces(length, start=start, size=size, materials=("metal",), seed=seed), size)


def cache_of(images: Images, folder: Path) -> SampleCache:
    return import_dataset(images, folder, name="test", progress=False)


def test_other_parts_of_a_product_are_no_leak() -> None:
    assert not find_leaks(surfaces(20), [(item["image"], item["mask"]) for item in surfaces(20, start=20).items])


def test_equal_and_compressed_images_are_found() -> None:
    test = surfaces(12)
    known = [
        (test.items[3]["image"], None),
        (moved(test.items[7]["image"]), None),
        (surfaces(1, 50).items[0]["image"], None),
    ]
    assert find_leaks(test, known) == [(0, 3), (1, 7)]


def test_a_defect_does_not_hide_its_host(tmp_path: Path) -> None:
    test, training = surfaces(12), surfaces(12, start=20)
    paster, painted = MemSegPaste(max_area_fraction=0.3), list[Item]()
    for number, host in enumerate([training.items[1]["image"], test.items[5]["image"]]):
        image, mask = paster.apply(host, paster.make_params(host, np.random.default_rng(number)))
        painted.append({"image": image, "mask": mask, "label": 1, "path": f"{number}.png"})
    kinds = ("normal", "defect")
    refuse_leaks(test, cache_of(Images(painted[:1], kinds), tmp_path / "clean"))
    with pytest.raises(ValueError, match=r"1 samples of .* sample 1 looks like"):
        refuse_leaks(test, cache_of(Images(painted, kinds), tmp_path / "leak"))


def test_a_cache_of_another_product_or_form_is_refused(tmp_path: Path) -> None:
    training, test = surfaces(30), surfaces(20, start=40)
    refuse_other_product(training, test, cache_of(surfaces(30, start=80), tmp_path / "same"))
    rng = np.random.default_rng(0)
    other: list[Item] = [
        {**item, "image": rng.integers(0, 256, item["image"].shape, np.uint8)} for item in surfaces(10).items
    ]
    with pytest.raises(ValueError, match="another product"):
        refuse_other_product(training, test, cache_of(Images(other, training.classes), tmp_path / "other"))
    with pytest.raises(ValueError, match=r"whose height is 0\.50 of the width"):
        refuse_other_product(training, test, cache_of(surfaces(4, size=(32, 64)), tmp_path / "wide"))
