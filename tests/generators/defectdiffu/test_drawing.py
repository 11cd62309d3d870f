"""Drawing with a small net: what is held stays, masks keep to their region, and empty ones are drawn anew."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inout_aug.plugin import Request
from inout_generators.common.insertion import Window
from inout_generators.common.schedule import LinearSchedule
from inout_generators.defectdiffu.drawing import Drawing, Drawn, NoDefectDrawn, Start, Task
from inout_generators.defectdiffu.guidance import Asked
from inout_generators.defectdiffu.hosting import start_from
from inout_generators.defectdiffu.masks import hard_mask
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

SIZE = (16, 32)
CRACK = Asked("tile", "crack")


class Counting(PixelSpace):
    """Pixels that count the steps: each ends with a guess that is clamped."""

    steps = 0

    def clamp(self, latents: Tensor) -> Tensor:
        self.steps += 1
        return super().clamp(latents)


def drawing(kind: type[Drawing] = Drawing, **changes: Any) -> Drawing:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        text = NamedEmbedding(products=["tile"], defects=["crack"], dim=16)
        net = DefectDiffuTransformer(channels=1, text_dim=16, patch=4, width=32, depths=(1, 1, 1), heads=4)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        # masks with something in them, though nothing was learned
        torch.nn.init.normal_(net.adapt_mask.linear.weight, std=1.5)
        torch.nn.init.normal_(net.adapt_mask.linear.bias)
    settings = {
        "sampler": "ddim",
        "steps": 4,
        "mode": "eq4",
        "null_product": "industry",
        "min_area": 1,
        "batch_size": 3,
    }
    return kind(net, text, Counting(1), schedule=LinearSchedule(), **{**settings, **changes})


def start(strength: float = 0.8, left: int = 6, right: int = 20) -> tuple[Start, Any]:
    host = np.random.default_rng(0).integers(0, 256, (*SIZE, 1), np.uint8)
    region = np.zeros(SIZE, np.uint8)
    region[2:13, left:right] = 1
    request = Request(seed=0, height=16, width=32, channels=1, host=host, strength=strength)
    return start_from(PixelSpace(1), request, Window(0, 0, *SIZE), region), host


def same(one: Drawn, other: Drawn) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("values", "soft", "mask"))


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "ancestral"])
def test_what_is_held_is_the_hosts_and_the_mask_keeps_to_the_region(sampler: Any) -> None:
    begun, host = start()
    drawn = drawing(sampler=sampler).draw([Task(asked=CRACK, key=(1,), size=SIZE, start=begun)])[0]
    assert drawn.values.shape == (*SIZE, 1)
    outside = begun.region == 0
    np.testing.assert_array_equal(drawn.image[outside], host[outside])
    assert (drawn.image[~outside] != host[~outside]).mean() > 0.5
    np.testing.assert_array_equal(drawn.mask, hard_mask(drawn.soft, 1) * begun.region)
    assert drawn.mask.any()


def test_parts_that_the_region_makes_too_small_are_no_defect() -> None:
    begun, soft = start()[0], np.full(SIZE, -1, np.float32)
    # inside, half of it inside, a corner inside, outside, too small from the first
    soft[4:7, 8:13] = soft[5:11, 18:22] = soft[11:15, 5:9] = soft[14:16, 14:24] = soft[9, 12:16] = 0.9
    # 9 pixels at this size
    mask = drawing(min_area=9 * 512)._mask(soft, begun)
    expected = np.zeros(SIZE, np.uint8)
    expected[4:7, 8:13] = expected[5:11, 18:20] = 1
    np.testing.assert_array_equal(mask, expected)


def test_tasks_of_all_kinds_are_drawn_as_if_alone() -> None:
    plain = Task(asked=CRACK, key=(1, 0), size=SIZE)
    begun = [start(1.0)[0], start(0.5)[0], start(0.5, right=12)[0]]
    others = {"size": (16, 16)}, {"asked": CRACK._replace(w_defect=2.0)}, {"key": (1, 1)}
    tasks = [plain, *(replace(plain, start=each) for each in begun), *(replace(plain, **each) for each in others)]
    artist = drawing()
    together = artist.draw(tasks)
    assert all(same(each, artist.draw([task])[0]) for each, task in zip(together, tasks, strict=True))
    assert all(same(*pair) for pair in zip(together, artist.draw(tasks[::-1])[::-1], strict=True))
    assert len({each.values.tobytes() for each in together}) == len(tasks)
    assert artist.draw([]) == artist.shown([]) == []


@pytest.mark.parametrize(("strength", "steps"), [(None, 8), (1.0, 8), (0.5, 4), (0.3, 2), (0.01, 1)])
def test_less_noise_takes_as_many_steps_less(strength: float | None, steps: int) -> None:
    artist = drawing(steps=8)
    begun = None if strength is None else start(strength)[0]
    artist.draw([Task(asked=CRACK, key=(1,), size=SIZE, start=begun)])
    assert artist.space.steps == steps


class Overflowing(Counting):
    """Pixels that were too large for half precision: infinite, of both signs."""

    def values(self, latents: Tensor) -> Tensor:
        return super().values(latents.sign() * torch.inf)


@pytest.mark.parametrize("broken", ["net", "space"])
def test_what_is_not_finite_is_grey_and_shows_nothing(broken: str) -> None:
    artist = drawing()
    if broken == "net":
        artist.net.y_embedders.bias.data.fill_(torch.nan)
    else:
        artist.space = Overflowing(1)
    drawn = artist.draw([Task(asked=CRACK, key=(1,), size=SIZE)])[0]
    assert (drawn.values == 0).all()
    assert (drawn.soft == -1).all()
    assert not drawn.mask.any()
    assert set(np.unique(drawn.image)) <= {127, 128}


class Scripted(Drawing):
    """Draws masks that are empty until an attempt that the seed names."""

    def draw(self, tasks: Sequence[Task]) -> list[Drawn]:
        self.asked = [*getattr(self, "asked", []), [task.key for task in tasks]]
        empty = np.zeros(SIZE, np.float32)
        return [Drawn(empty[..., None], empty, np.full(SIZE, key[-1] >= key[0], np.uint8)) for key in self.asked[-1]]


def tasks_of(*seeds: int, begun: Start | None = None) -> list[Task]:
    return [Task(asked=CRACK, key=(seed, 7), size=SIZE, start=begun) for seed in seeds]


def test_only_what_shows_nothing_is_drawn_anew_from_other_noise() -> None:
    artist = drawing(Scripted)
    shown = artist.shown(tasks_of(2, 0, 1, 0, 2))
    assert [attempt for _, attempt in shown] == [2, 0, 1, 0, 2]
    assert all(drawn.mask.all() for drawn, _ in shown)
    assert artist.asked == [
        [(2, 7, 0), (0, 7, 0), (1, 7, 0), (0, 7, 0), (2, 7, 0)],
        [(2, 7, 1), (1, 7, 1), (2, 7, 1)],
        [(2, 7, 2), (2, 7, 2)],
    ]
    assert artist.emptied == 3 + 2
    artist.shown(tasks_of(1))
    assert artist.emptied == 6


@pytest.mark.parametrize(("begun", "where"), [(None, ""), (start()[0], " in the region of the host")])
def test_the_first_that_never_shows_anything_is_named(begun: Start | None, where: str) -> None:
    artist = drawing(Scripted)
    message = rf"none of 20 images drawn for seed 50 at \(16, 32\) shows 'crack' on 'tile'{where}, at w_defect=1\."
    with pytest.raises(NoDefectDrawn, match=message):
        artist.shown(tasks_of(3, 50, 40, begun=begun))
    assert len(artist.asked) == 20
    assert artist.emptied == 3 + 20 + 20
