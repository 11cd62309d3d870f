from pathlib import Path

import numpy as np
import pytest
import torch
from evidence.arms import draws, members, wrap
from evidence.feed import Feed, stacked
from evidence.images import Images
from evidence.networks import build
from evidence.protocol import PAPER, STRONG, Cell, Method
from evidence.rehearsal import shortened, stand_in
from evidence.training import Average, cosine, flipped
from evidence.trials import Setup, Trials, run_all
from torch import nn

from inout_aug.datasets import Surfaces
from inout_aug.plugin import name_of
from inout_aug.sampler import default_real_share

SIZE = (48, 48)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> Images:
    return Images.read(Surfaces(60, size=SIZE, materials=("metal",)), SIZE)


def cell(method: Method, shots: int | None = 4, n_aug: int = 10) -> Cell:
    return Cell(shots=shots, method=method, n_aug=0 if method == "none" else n_aug, seed=0)


@pytest.mark.parametrize("method", ["none", "oversample", "memseg"])
def test_pooled_rounds_show_each_positive_once(images: Images, method: Method) -> None:
    real = images.shots(4, 0)
    dataset = wrap(real, cell(method), PAPER, members(cell(method), real, None, None))
    drawn = list(draws(dataset, real, cell(method), PAPER))
    positives = [index for index in drawn if dataset.targets[index]]
    n_pos = 4 if method == "none" else 14
    assert (len(drawn), len(positives)) == (2 * n_pos, n_pos)
    assert (len(set(positives)) == n_pos) == (method != "oversample")


def test_half_are_positives_with_as_many_real_ones_as_the_sampler_has_by_default(images: Images) -> None:
    real = images.shots(4, 0)
    dataset = wrap(real, cell("memseg"), STRONG, members(cell("memseg"), real, None, None))
    drawn = np.array(list(draws(dataset, real, cell("memseg"), STRONG)))
    assert len(drawn) == STRONG.draws
    assert np.count_nonzero(dataset.targets[drawn]) == STRONG.draws / 2
    assert np.count_nonzero(drawn >= len(real)) == round(STRONG.draws / 2 * (1 - default_real_share(4)))
    alone = np.array(list(draws(dataset, real, cell("none"), STRONG)))
    assert len(alone) == STRONG.draws
    assert alone.max() < len(real)
    assert np.bincount(alone).min() > 0  # all as often, give or take one


@pytest.mark.parametrize("method", ["memseg", "standard"])
def test_batches_hold_what_the_dataset_gives(images: Images, method: Method) -> None:
    real = images.shots(4, 0)

    def feed() -> Feed:
        dataset = wrap(real, cell(method), PAPER, members(cell(method), real, None, None))
        return Feed(dataset, real, draws(dataset, real, cell(method), PAPER), rounds=2, batch=5, device=CPU)

    batches = list(feed())
    assert len(batches) == len(feed()) == 2 * (28 // 5)
    for one, other in zip(batches, feed(), strict=True):
        assert one[0].shape == (5, 3, *SIZE)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    if method == "memseg":
        dataset = wrap(real, cell(method), PAPER, members(cell(method), real, None, None))
        known = {stacked([dataset[i]["image"]])[0].numpy().tobytes(): dataset.targets[i] for i in range(len(dataset))}
        assert all(known[x.numpy().tobytes()] == y for xs, ys in batches for x, y in zip(xs, ys, strict=True))


def test_caches_are_named_by_scenario_and_seed(images: Images, tmp_path: Path) -> None:
    stand_in(images, tmp_path / "few4-0")
    assert len(members(cell("inout"), images, f"{tmp_path}/{{scenario}}-{{seed}}", None)) == 2
    with pytest.raises(FileNotFoundError, match="few5-0"):
        members(cell("ddpm", shots=5), images, f"{tmp_path}/{{scenario}}-{{seed}}", None)
    with pytest.raises(ValueError, match="give --cache"):
        members(cell("ddpm"), images, None, None)


def test_without_a_cache_the_shots_are_copied(images: Images) -> None:
    real = images.shots(4, 0)
    names = {
        method: [name_of(each) for each in members(cell(method), real, None, None)]
        for method in ("copy", "inout", "mix")
    }
    assert names == {
        "copy": ["CopyPaste"],
        "inout": ["CopyPaste", "MemSegPaste"],
        "mix": ["CopyPaste", "MemSegPaste", "StrokePaste"],
    }


def test_fewer_positives_than_asked_for_are_refused(images: Images) -> None:
    with pytest.raises(ValueError, match="number of defective samples; got 50"):
        images.shots(50, 0)


@pytest.mark.parametrize("recipe", [PAPER, STRONG])
def test_a_cell_is_the_same_whatever_runs_beside_it(images: Images, tmp_path: Path, recipe: object) -> None:
    short = shortened(PAPER if recipe is PAPER else STRONG)
    cache = stand_in(images, tmp_path / "cache")
    setup = Setup(recipe=short, model="squeezenet1_0", weights=None, cache=cache, textures=None, device=CPU)
    trials = Trials(images, images.part(range(20, 40)), setup)
    trials._checked.add(members(cell("ddpm"), images, cache, None)[0].fingerprint)  # type: ignore[union-attr]
    cells = [cell("inout", n_aug=2), cell("standard", n_aug=2)]
    alone = {run.cell: run.logits for run in run_all(cells, trials, at_once=1, seconds=1e9)}
    beside = {run.cell: run.logits for run in run_all(cells, trials, at_once=2, seconds=1e9)}
    assert alone == beside
    assert all(np.isfinite(logits).all() and len(logits) == 20 for logits in alone.values())


def test_no_cell_begins_that_would_end_too_late(images: Images) -> None:
    begun = []

    def run(cell: Cell) -> object:
        from evidence.runs import Run

        begun.append(cell.seed)
        return Run(cell, [], [], 100.0, 100.0)

    cells = [Cell(shots=0, method="memseg", n_aug=1, seed=seed) for seed in range(5)]
    assert len(list(run_all(cells, run, at_once=1, seconds=60))) == 1  # type: ignore[arg-type]
    assert len(list(run_all(cells, run, at_once=1, seconds=0))) == 0  # type: ignore[arg-type]
    assert begun == [0]


def test_the_average_is_that_of_the_weights() -> None:
    network = nn.Linear(2, 1)
    average, expected = Average(network, 0.9), network.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            network.weight += 1
        average.update()
        decay = min(0.9, step / (step + 9))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    assert torch.allclose(average.network.weight, expected)  # type: ignore[arg-type]


def test_the_rate_rises_and_falls_to_zero() -> None:
    rates = [cosine(number, 100) for number in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_flips_mirror_whole_images() -> None:
    images = torch.arange(4 * 6).reshape(4, 1, 2, 3)
    found = flipped(images, torch.Generator().manual_seed(1))
    for before, after in zip(images, found, strict=True):
        assert any(torch.equal(after, before.flip(axes)) for axes in ([], [1], [2], [1, 2]))
    assert not torch.equal(found, images)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0"])
def test_networks_take_images_as_they_are(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torchvision import models

    pretrained = getattr(models, name)()
    save_file({key: value.half() for key, value in pretrained.state_dict().items() if value.ndim}, tmp_path / "weights")
    network = build(name, None, 0).eval()
    grey = torch.randint(0, 256, (2, 1, 64, 48), dtype=torch.uint8)
    with torch.inference_mode():
        assert network(grey).shape == (2,)
        assert torch.allclose(network(grey), network(grey.expand(-1, 3, -1, -1)), atol=1e-5)
        assert torch.equal(network(grey), build(name, None, 0).eval()(grey))
    with pytest.raises(FileNotFoundError, match="no weights at"):
        build(name, str(tmp_path / "absent"), 0)


def test_loaded_weights_are_those_of_the_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    pretrained = squeezenet1_0()
    save_file(pretrained.state_dict(), tmp_path / "weights.safetensors")
    network = build("squeezenet1_0", str(tmp_path / "weights.safetensors"), 0)
    first = network.backbone.features[0]  # type: ignore[index, union-attr]
    assert torch.equal(first.weight, pretrained.features[0].weight)
    assert network.bgr
    with pytest.raises(RuntimeError, match="Missing key"):
        build("resnet18", str(tmp_path / "weights.safetensors"), 0)
