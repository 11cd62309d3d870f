import json

import pytest
import torch

from inout_aug.datasets import Surfaces
from inout_aug.sample import Sample
from inout_generators.common.losses import read_losses
from inout_generators.common.pictures import Windows
from inout_generators.common.training import TrainingDiverged
from inout_generators.defectdiffu.data import name_samples
from inout_generators.defectdiffu.generator import DefectDiffu
from inout_generators.defectdiffu.recipe import load_recipe
from inout_generators.defectdiffu.train import PROVENANCE, TRAINING, _Job, train_defectdiffu

CLASSES = ("scratch", "spot")


@pytest.fixture(scope="module")
def named():
    """Metal with two kinds of defects, and cast iron that is known by good images only."""
    samples = []
    for material, share in (("metal", 0.8), ("cast", 0.0)):
        surfaces = Surfaces(10, size=(16, 24), channels=1, materials=(material,), defects=CLASSES, defect_share=share)
        samples += name_samples(material, [Sample(i["image"], i["mask"], i["label"]) for i in surfaces], CLASSES)
    return samples


def recipe(overrides=None, **training):
    net = {"preset": "tiny", "patch": 4, "width": 32, "depths": [1, 1, 1], "heads": 4}
    quick = {"steps": 3, "log_every": 1, "preview_every": 0, "warmup": 0, **training}
    return load_recipe("tiny", {"net": net, "batch": 2, "text_dim": 16, **(overrides or {})}, quick)


def train(named, out, chosen=None, **options):
    options = {"size": (16, 24), "device": "cpu", "log": lambda line: None, **options}
    return train_defectdiffu(named, chosen or recipe(), out, **options)


def losses(out):
    return [step.loss for step in read_losses(out / TRAINING / "losses.jsonl")]


def test_the_generator_that_comes_back_is_the_one_that_is_saved(named, tmp_path):
    said = []
    generator = train(named, tmp_path, log=said.append)
    saved = DefectDiffu.from_pretrained(tmp_path, device="cpu")
    assert saved.fingerprint == generator.fingerprint
    assert saved.products == {"cast": (), "metal": CLASSES}
    assert saved.defects == CLASSES
    assert (saved.size, saved.crop, saved.channels) == ((16, 24), False, 1)
    assert (saved.schedule.first, saved.schedule.last) == recipe().betas
    assert said[0].startswith("scratch metal, spot metal; good ones only of cast; at 16x24 pixels, ")


def test_it_draws_what_was_learned_and_what_was_not_seen_together(named, tmp_path):
    generator = train(named, tmp_path)
    for product in ("metal", "cast"):
        (drawn,) = generator.series(product, "spot", strengths=[1.5])
        assert drawn.image.shape == (16, 24, 1)
        assert drawn.mask.shape == drawn.soft.shape == (16, 24)


def test_all_that_decides_is_recorded(named, tmp_path):
    generator = train(named, tmp_path, seed=7)
    decided = json.loads((tmp_path / TRAINING / PROVENANCE).read_text())
    assert decided["seed"] == 7
    assert decided["size"] == [16, 24]
    assert decided["recipe"]["training"]["steps"] == 3
    assert decided["recipe"]["drop"]["product"] == 0.5
    assert decided["data"]["cast"]["good_images"] == 10
    assert set(decided["data"]["metal"]["areas"]) == set(CLASSES)
    assert json.loads(json.dumps(generator.provenance)) == decided


def test_the_result_depends_on_the_seed_alone(named, tmp_path):
    first, again, other = (train(named, tmp_path / str(k), seed=seed) for k, seed in enumerate((0, 0, 1)))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_broken_training_resumes_to_the_same_curve(named, tmp_path):
    chosen = recipe(steps=4, checkpoint_every=2)
    whole = train(named, tmp_path / "whole", chosen)

    def stop(line):
        if line.startswith("step 3 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(named, tmp_path / "broken", chosen, log=stop)
    with pytest.raises(FileExistsError, match="--resume"):
        train(named, tmp_path / "broken", chosen)
    resumed = train(named, tmp_path / "broken", chosen, resume=True)
    assert resumed.fingerprint == whole.fingerprint
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_previews_show_every_product_with_every_defect_and_leave_the_training_as_it_is(named, tmp_path):
    plain = train(named, tmp_path / "plain")
    watched = train(named, tmp_path / "watched", recipe(preview_every=1))
    pictures = sorted(path.name for path in (tmp_path / "watched" / TRAINING).glob("preview*"))
    assert pictures == [f"preview_{step:07d}.png" for step in (1, 2, 3)]
    assert watched.fingerprint == plain.fingerprint


def test_products_of_good_images_only_keep_their_names_unless_it_is_published_otherwise(named, tmp_path):
    windows = Windows(size=(16, 24), crop=False, symmetry="none", shift=0.0)
    for published in (False, True):
        job = _Job.prepare(named, recipe({"null_good_only": published}), tmp_path, windows, 0)
        assert tuple(job.objective().drop.keep) == (() if published else ("cast",))


def test_it_starts_from_weights_of_dit_and_says_what_is_new(named, tmp_path):
    net = train(named, tmp_path / "before").net
    new = ("y_embedders", "cross_defect", "adapt_mask")
    weights = {name: value for name, value in net.state_dict().items() if not name.startswith(new)}
    torch.save(weights, tmp_path / "DiT.pt")
    said = []
    frozen = recipe(steps=1, learning_rate=1e-12)
    started = train(named, tmp_path / "out", frozen, init=tmp_path / "DiT.pt", seed=1, log=said.append)
    for name, value in weights.items():
        torch.testing.assert_close(started.net.state_dict()[name], value, rtol=0, atol=1e-6)
    assert (started.net.y_embedders.weight - net.y_embedders.weight).abs().max() > 0.01
    assert any("cross_defect" in line and "new" in line for line in said)
    assert started.provenance["init"] == "DiT.pt"


@pytest.mark.parametrize(
    ("options", "overrides", "message"),
    [
        ({"size": (18, 24)}, {}, r"multiples of 4 pixels here; got 18x24"),
        ({"size": (64, 96)}, {}, "at most 2 is sensible"),
        ({}, {"net": {"preset": "tiny", "colour": 1}}, r"\[net\] of the recipe"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(named, tmp_path, options, overrides, message):
    with pytest.raises(ValueError, match=message):
        train(named, tmp_path / "out", recipe(overrides), **options)
    assert not (tmp_path / "out").exists()


def test_a_learning_rate_that_is_too_high_is_named(named, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"lower learning_rate \(now 1e\+30\)"):
        train(named, tmp_path, recipe(learning_rate=1e30, schedule="constant"))
    assert not (tmp_path / "defectdiffu.json").exists()
