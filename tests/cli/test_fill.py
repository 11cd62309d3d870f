import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inout_aug.cache import SampleCache
from inout_aug.cli import app
from inout_aug.datasets import Surfaces


def run(*words, code=0):
    result = CliRunner().invoke(app, ["cache", "fill", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def parts(tmp_path):
    """Five good surfaces, and none with a defect."""
    (tmp_path / "parts" / "images").mkdir(parents=True)
    (tmp_path / "parts" / "masks").mkdir()
    for k, item in enumerate(Surfaces(5, size=(96, 80), materials=("metal",), defect_share=0)):
        cv2.imwrite(str(tmp_path / "parts" / "images" / f"{k}.png"), item["image"][..., ::-1])
    return tmp_path / "parts"


def test_the_shipped_generator_puts_defects_into_the_users_images(tmp_path, parts):
    options = ("--generator", "defect-gen", "--setting", "batch_size=2", "--data", parts, "--format", "folder")
    assert "2 samples of DefectGen" in run(tmp_path / "c", *options, "-n", 2).output
    run(tmp_path / "c", *options, "-n", 4)
    cache = SampleCache(tmp_path / "c")
    assert cache.labels.tolist() == [1, 2, 3, 4]
    hosts = [cv2.imread(str(path))[..., ::-1] for path in (parts / "images").iterdir()]
    for sample in (cache[k] for k in range(4)):
        outside = sample.mask == 0
        assert any((sample.image == host)[outside].all() and (sample.image != host).any() for host in hosts)


def test_the_users_images_are_shrunk_as_they_were_for_the_training(tmp_path, parts):
    big = Surfaces(1, size=(160, 144), materials=("metal",), defect_share=0)[0]["image"]
    for path in (parts / "images").iterdir():
        cv2.imwrite(str(path), big[..., ::-1])
    options = ("--generator", "defect-gen", "--data", parts, "--format", "folder", "--shrink", 2)
    run(tmp_path / "c", *options, "-n", 1)
    sample = SampleCache(tmp_path / "c")[0]
    assert sample.size == (80, 72)
    small = cv2.resize(big, (72, 80), interpolation=cv2.INTER_AREA)
    assert np.abs(sample.image.astype(int) - small)[sample.mask == 0].max() <= 1


def test_several_strengths_are_asked_for_in_turn_of_every_class(tmp_path, parts):
    options = ("--generator", "defect-gen", "--data", parts, "--format", "folder", "--classes", "2,1")
    run(tmp_path / "c", *options, "--strength", 0.5, "--strength", 0.8, "-n", 4)
    cache = SampleCache(tmp_path / "c")
    asked = [(cache[k].label, cache[k].origin.params["strength"]) for k in range(4)]
    assert asked == [(2, 0.5), (1, 0.5), (2, 0.8), (1, 0.8)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--generator", "memseg"], "memseg needs no cache"),
        (["--generator", "gan"], "no generator 'gan' is installed"),
        (["--generator", "defect-gen", "--from", "nowhere"], "nowhere is no folder"),
        (["--generator", "defect-gen"], "say where some are, with --data"),
        (["--generator", "defect-gen", "--setting", "steps"], "--setting is name=value; got 'steps'"),
        (["--generator", "defect-gen", "--size", "64"], "--size is HEIGHTxWIDTH"),
        (["--generator", "defect-gen", "--format", "surfaces", "--classes", "a"], "--classes are numbers from 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, words, message):
    result = run(tmp_path / "c", *words, "-n", 2, code=2)
    assert message in " ".join(result.stderr.split())
