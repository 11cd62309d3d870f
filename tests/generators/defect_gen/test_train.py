import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from inout_aug.datasets import Surfaces
from inout_aug.sample import Sample
from inout_aug.seeding import stream
from inout_generators.common.losses import read_losses
from inout_generators.common.recipes import recipe_names
from inout_generators.common.schedule import CosineSchedule
from inout_generators.common.training import TrainingDiverged
from inout_generators.defect_gen.data import Shots, Windows
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.generator import DefectGen
from inout_generators.defect_gen.objective import Denoising
from inout_generators.defect_gen.recipe import KIND, load_recipe
from inout_generators.defect_gen.train import PROVENANCE, TRAINING, train_defect_gen

CLASSES = ("scratch", "spot")


@pytest.fixture(scope="module")
def samples():
    surfaces = Surfaces(4, size=(48, 48), channels=1, materials=("cast",), defects=CLASSES, defect_share=1.0)
    return [Sample(item["image"], item["mask"], item["label"]) for item in surfaces]


def recipe(**training):
    return load_recipe("tiny", {}, {"steps": 3, "batch": 2, "log_every": 1, "preview_every": 0, **training})


def train(samples, out, chosen=None, **options):
    options = {"size": (32, 32), "device": "cpu", "log": lambda line: None, **options}
    return train_defect_gen(samples, CLASSES, chosen or recipe(), out, **options)


def losses(out, net):
    return [step.loss for step in read_losses(out / TRAINING / net / "losses.jsonl")]


def test_the_generator_that_comes_back_is_the_one_that_is_saved(samples, tmp_path):
    said = []
    generator = train(samples, tmp_path, log=said.append)
    saved = DefectGen.from_pretrained(tmp_path, device="cpu")
    assert saved.fingerprint == generator.fingerprint
    assert (saved.size, saved.crop, saved.switch_t) == ((32, 32), True, 950)
    assert saved.encoding == Encoding(1, CLASSES)
    assert said[0] == "4 defective images of scratch, spot, 0 good ones, at 32x32 pixels"
    assert any("timesteps (950, 1000)" in line for line in said)
    assert any("timesteps (0, 950)" in line for line in said)


def test_all_that_decides_is_recorded(samples, tmp_path):
    good = [Sample(samples[0].image)] * 2
    generator = train(samples, tmp_path, seed=7, normal=good)
    decided = json.loads((tmp_path / TRAINING / PROVENANCE).read_text())
    assert decided["seed"] == 7
    assert decided["size"] == [32, 32]
    assert decided["recipe"]["local"]["training"]["steps"] == 3
    assert set(decided["data"]["areas"]) == set(CLASSES)
    assert decided["data"]["good_images"] == 2
    assert set(decided["libraries"]) >= {"torch", "inout-aug"}
    assert json.loads(json.dumps(generator.provenance)) == decided


def test_the_result_depends_on_the_seed_alone(samples, tmp_path):
    first, again, other = (train(samples, tmp_path / str(k), seed=seed) for k, seed in enumerate((0, 0, 1)))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_broken_training_of_both_nets_resumes(samples, tmp_path):
    whole = train(samples, tmp_path / "whole")
    # three steps of the large net, then the end of the local one
    calls = []

    def log(line):
        calls.append(line)
        if line.startswith("step 2 of 3") and any(call.startswith("local") for call in calls):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(samples, tmp_path / "broken", log=log)
    with pytest.raises(FileExistsError, match="--resume"):
        train(samples, tmp_path / "broken")
    resumed = train(samples, tmp_path / "broken", resume=True)
    assert resumed.fingerprint == whole.fingerprint
    for net in ("large", "local"):
        assert losses(tmp_path / "broken", net) == losses(tmp_path / "whole", net)


def test_previews_are_pictures_of_the_pair(samples, tmp_path):
    train(samples, tmp_path, recipe(preview_every=3))
    pictures = sorted(path.relative_to(tmp_path / TRAINING).as_posix() for path in tmp_path.rglob("preview*"))
    assert pictures == ["local/preview_0000003.png"]
    assert (tmp_path / TRAINING / pictures[0]).read_bytes().startswith(b"\x89PNG")


def test_as_published_both_nets_learn_all_timesteps_unconditionally(samples, tmp_path):
    chosen = replace(recipe(), timesteps="all", conditional=False)
    said = []
    generator = train(samples, tmp_path, chosen, log=said.append)
    assert sum("timesteps (0, 1000)" in line for line in said) == 2
    assert generator.local.config["classes"] == 0


def test_a_learning_rate_that_is_too_high_is_named(samples, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"lower learning_rate \(now 1e\+30\)"):
        train(samples, tmp_path, recipe(learning_rate=1e30, warmup=0, schedule="constant"))
    assert not (tmp_path / "defect_gen.json").exists()


class Recorder(torch.nn.Module):
    """Stands for a net: keeps what it is given, and guesses zeros."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, *arguments):
        self.seen.append(arguments)
        return torch.zeros_like(arguments[0])


def objective(samples, *, batch=64, timesteps=(0, 1000), hidden=0.25, background=0.0):
    shots = Shots(samples, CLASSES, Windows(size=(32, 32), background=background))
    return Denoising(shots=shots, encoding=Encoding(1, CLASSES), batch=batch, timesteps=timesteps, hidden=hidden)


def test_the_nets_see_noised_pictures_their_timesteps_and_classes(samples):
    net, loss = Recorder(), objective(samples)
    value = loss(net, stream(1), torch.device("cpu"))
    (x, t, classes), batch = net.seen[0], loss.shots.draw(64, stream(1))
    x0 = loss.encoding.encode(batch.images, batch.masks)
    torch.testing.assert_close(value, x0.square().mean())
    alphas = CosineSchedule().alphas_cumprod[t].float()[:, None, None, None]
    noise = (x - alphas.sqrt() * x0) / (1 - alphas).sqrt()
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    told = classes.numpy()
    assert set(told) == {0, 1, 2}
    assert ((told == batch.classes) | (told == 0)).all()
    assert 6 <= (told == 0).sum() <= 28
    assert t.min() >= 0
    assert t.max() < 1000
    # one from each of 64 equal stretches
    assert (np.histogram(t, 8, (0, 1000))[0] == 8).mean() > 0.5


def test_a_net_of_its_own_range_never_sees_another_timestep(samples):
    net, loss = Recorder(), objective(samples, timesteps=(950, 1000), hidden=None)
    for k in range(20):
        loss(net, stream(k), torch.device("cpu"))
    seen = torch.cat([t for _, t in net.seen])
    assert (int(seen.min()), int(seen.max())) == (950, 999)


def test_two_pictures_are_learnt_by_heart(tmp_path):
    rows, columns = np.indices((16, 16))
    samples = [
        Sample(
            (100 + 50 * ((rows + k) // 4 % 2))[..., None].astype(np.uint8), (1 + k) * (columns // 8).astype(np.uint8)
        )
        for k in (0, 1)
    ]
    chosen = load_recipe(
        "tiny",
        {"timesteps": "all", "background": 0.0, "symmetry": "none", "hidden": 0.0},
        {"steps": 60, "batch": 4, "learning_rate": 3e-3, "warmup": 5, "preview_every": 0},
    )
    train(samples, tmp_path, chosen, size=(16, 16))
    learnt = losses(tmp_path, "local")
    assert np.mean(learnt[-10:]) < 0.15 * np.mean(learnt[:3])


@pytest.mark.parametrize(
    ("overrides", "training", "message"),
    [
        ({"switch_t": 1001}, {}, r"switch_t is in \[0, 1000\]"),
        ({"switch_t": -1}, {}, "switch_t"),
        ({"switch_t": 0}, {}, "no timestep of its own"),
        ({"timesteps": "some"}, {}, "timesteps"),
        ({"hidden": 2.0}, {}, "hidden"),
        ({"symmetry": "round"}, {}, "symmetry"),
        ({"colour": 1}, {}, "colour, which is none of large, local"),
        ({}, {"momentum": 0.9}, r"\[large\] of recipe tiny has momentum"),
        ({}, {"batch": 0}, "batch"),
        ({}, {"preset": "huge"}, "no net 'huge'"),
    ],
)
def test_recipes_are_refused_with_the_reason(overrides, training, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("tiny", overrides, training)


def test_recipes_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[training]\nsteps = 5\nbatch = 1\n[large]\npreset = "large"\n[local]\npreset = "small"\nsteps = 9\n'
    )
    mine = load_recipe(path)
    assert (mine.large.training.steps, mine.local.training.steps, mine.switch_t) == (5, 9, 950)
    path.write_text("[training\n")
    with pytest.raises(ValueError, match="not valid TOML"):
        load_recipe(path)
    path.write_text("[large]\nbatch = 1\n")
    with pytest.raises(ValueError, match="steps"):
        load_recipe(path)
    with pytest.raises(FileNotFoundError, match="paper, small, surfaces, tiny"):
        load_recipe("huge")


def test_the_published_settings():
    assert recipe_names(KIND) == ["paper", "small", "surfaces", "tiny"]
    paper = load_recipe("paper")
    for net in (paper.large, paper.local):
        assert (net.batch, net.training.steps, net.training.learning_rate) == (2, 150_000, 1e-4)
        assert (net.training.weight_decay, net.training.ema, net.training.clip) == (2e-3, 0.9999, 0.0)
    assert (paper.timesteps, paper.switch_t, paper.conditional, paper.symmetry) == ("all", 950, False, "none")
    load_recipe("small")
