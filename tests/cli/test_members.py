from types import SimpleNamespace

import numpy as np
import pytest

from inout_aug.cache import CacheMismatch
from inout_aug.cli._members import about, create_members, fill
from inout_aug.paste.memseg import MemSegPaste
from inout_aug.sample import Sample
from standin import Noise


class OnHost(Noise):
    """Noise put into the upper left of a host."""

    hosts = True
    defect_classes = 3

    def make(self, request):
        image, mask = request.host.copy(), np.zeros(request.host.shape[:2], np.uint8)
        image[:4, :4] += 1
        mask[:4, :4] = request.defect_class
        return Sample(image, mask, request.defect_class)


def hosts(*sizes):
    """Noise, but for the last pixel, which numbers them."""
    images = [np.random.default_rng(k).integers(0, 200, (*size, 1), np.uint8) for k, size in enumerate(sizes)]
    for k, image in enumerate(images, start=1):
        image[-1, -1] = 10 * k
    return [Sample(image) for image in images]


def test_members_are_made_by_name_with_the_path_that_is_theirs(tmp_path):
    members = create_members(["memseg", "stroke"], {"textures": None})
    assert list(members) == ["memseg", "stroke"]
    assert isinstance(members["memseg"], MemSegPaste)
    with pytest.raises(ValueError, match="--checkpoint is for --generator defect-gen"):
        create_members(["memseg"], {"checkpoint": tmp_path})


def test_a_generator_says_what_it_learned_from():
    learned = SimpleNamespace(provenance={"data": {"images": 20, "classes": ["crack", "dent"]}})
    assert about(learned) == "It learned from 20 defective images of crack, dent."
    assert "does not say" in about(Noise())


def test_each_host_serves_as_often_as_any_other_at_its_own_size(tmp_path):
    given = hosts((40, 32), (32, 48), (40, 32))
    cache = fill(OnHost(), tmp_path / "c", 6, hosts=given, progress=False)
    levels = [int(cache[k].image[-1, -1, 0]) for k in range(6)]
    assert sorted(levels) == [10, 10, 20, 20, 30, 30]
    assert sorted(cache[k].label for k in range(6)) == [1, 1, 2, 2, 3, 3]
    for k in range(6):
        sample = cache[k]
        assert sample.size == given[int(sample.image[-1, -1, 0]) // 10 - 1].size


def test_the_same_fill_makes_nothing_again(tmp_path):
    for _ in range(2):
        generator = OnHost()
        cache = fill(generator, tmp_path / "c", 4, hosts=hosts((32, 32)), classes=[2], progress=False)
    assert set(cache.labels.tolist()) == {2}
    with pytest.raises(CacheMismatch, match="another shape, dtype, condition"):
        fill(OnHost(), tmp_path / "c", 4, hosts=hosts((32, 32)), classes=[1], progress=False)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ValueError, match="say where some are, with --data"):
        fill(OnHost(), tmp_path / "c", 2, hosts=None)
    with pytest.raises(ValueError, match="give their --size"):
        fill(Noise(), tmp_path / "c", 2, hosts=None)
    assert fill(Noise(), tmp_path / "c", 2, hosts=None, shape=(32, 48, 1), progress=False)[0].size == (32, 48)
