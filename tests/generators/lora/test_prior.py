import cv2
import numpy as np
import pytest

from inout_aug.datasets._files import read_image
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.prior import fill_prior, read_prior
from inout_generators.lora.tiny import tiny_stable_diffusion

SIZE = (32, 16)


@pytest.fixture(scope="module")
def generator():
    return LoRADiffusion(tiny_stable_diffusion(), steps=2, size=SIZE, device="cpu")


def fill(folder, count, load, **options):
    said = []
    fill_prior(folder, count, load, "background", SIZE, log=said.append, **options)
    return said


def test_only_what_is_missing_is_drawn_and_the_same_again(tmp_path, generator):
    assert fill(tmp_path, 3, lambda: generator) == ["prior images of 'background': 3 of 3 drawn"]
    images = read_prior(tmp_path)
    assert [image.shape for image in images] == [(32, 16, 3)] * 3
    assert not np.array_equal(images[0], images[1])
    (tmp_path / "00001.png").unlink()
    assert fill(tmp_path, 3, lambda: generator) == ["prior images of 'background': 1 of 1 drawn"]
    np.testing.assert_array_equal(read_prior(tmp_path), images)
    assert fill(tmp_path, 3, lambda: pytest.fail("nothing is missing")) == []


def test_processes_share_the_work(tmp_path, generator):
    for process in (0, 1):
        fill(tmp_path / "both", 3, lambda: generator, process=process, processes=2)
    fill(tmp_path / "one", 1, lambda: generator)
    assert [path.name for path in sorted((tmp_path / "both").iterdir())] == ["00000.png", "00001.png", "00002.png"]
    np.testing.assert_array_equal(read_image(tmp_path / "both" / "00000.png"), read_prior(tmp_path / "one")[0])


def test_your_own_images_are_8_bit_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="no prior images in"):
        read_prior(tmp_path / "absent")
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((16, 16), np.uint16))
    with pytest.raises(ValueError, match=r"deep\.png is no 8-bit image"):
        read_prior(tmp_path)
