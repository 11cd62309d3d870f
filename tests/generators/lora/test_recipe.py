import math

import pytest

from inout_generators.common.recipes import recipe_names
from inout_generators.lora.recipe import load_recipe


@pytest.mark.parametrize(
    ("name", "positives", "normals", "epochs", "alpha"),
    [("zero", 0, 50, 5, 0.60), ("few", 5, 0, 49, 0.95), ("full", None, 0, 25, 0.80)],
)
def test_the_scenarios_are_those_of_the_paper(name, positives, normals, epochs, alpha):
    recipe = load_recipe(name)
    assert (recipe.positives, recipe.normals, recipe.epochs, recipe.alpha) == (positives, normals, epochs, alpha)
    assert (recipe.max_epochs, recipe.repeats, recipe.batch) == (50, 10, 12)
    assert (recipe.rank, recipe.network_alpha, recipe.conv_rank, recipe.conv_alpha) == (32, 16, 4, 1)
    assert (recipe.caption, recipe.prior_prompt, recipe.prior_images) == ("skt background", "background", 200)
    # kohya's clip_skip 2
    assert (recipe.snr_gamma, recipe.prior_weight, recipe.clip_skip, recipe.text_encoder) == (5, 1, 1, True)
    loop = recipe.training
    assert (loop.learning_rate, loop.schedule, loop.cycles, loop.warmup, loop.clip) == (1e-5, "cosine", 3, 0, 1)
    assert recipe_names("lora") == ["few", "full", "zero"]


def test_zero_shot_asks_for_defects_that_it_has_not_seen():
    assert set(load_recipe("zero").prompts) == {"skt background cracked", "skt background scratched"}


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize(("prior", "shown"), [(200, 6), (0, 12)])
def test_an_epoch_shows_every_image_as_often_as_it_is_repeated(prior, shown, processes):
    recipe = load_recipe("full", {"prior_images": prior})
    assert recipe.shown == shown
    settings = recipe.settings(246, processes=processes, seed=3)
    assert settings.steps == math.ceil(25 * 246 * 10 / (shown * processes))
    assert settings.horizon == math.ceil(50 * 246 * 10 / (shown * processes))
    assert settings.seed == 3
    # the paper's model is taken half-way down the second of three cosines
    assert settings.learning_rate_at(settings.steps) == pytest.approx(0.5e-5, rel=1e-2)


def test_previews_are_even():
    settings = load_recipe("few").settings(5, processes=1, seed=0)
    assert [n for n in range(1, settings.steps + 1) if n % settings.preview_every == 0] == [82, 164, 246, 328]
    assert load_recipe("few", {"previews": 0}).settings(5, processes=1, seed=0).preview_every == 0


def test_your_own_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 60\npositives = "all"\n[training]\nlearning_rate = 1e-3\n')
    recipe = load_recipe(path, {"alpha": 0.5}, {"clip": 0.0})
    assert (recipe.epochs, recipe.positives, recipe.alpha, recipe.training.clip) == (60, None, 0.5, 0.0)
    settings = recipe.settings(1, processes=1, seed=0)
    assert settings.horizon == settings.steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is at least 1"),
        ({"batch": 1}, "batch is at least 2 with prior images"),
        ({"alpha": 1.2}, "alpha"),
        ({"clip_skip": -1}, "clip_skip"),
        ({"snr_gamma": -1.0}, "snr_gamma"),
        ({"network_alpha": 0}, "network_alpha"),
        ({"positives": -1}, "positives"),
        ({"positives": "five"}, "recipe few"),
        ({"prompts": {"": "crack"}}, "a prompt has a text"),
        ({"epoch": 3}, "epoch, which is none of"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("few", change)


def test_what_follows_from_the_epochs_cannot_be_given():
    with pytest.raises(ValueError, match="steps follow from the epochs"):
        load_recipe("few", training={"steps": 100})
    with pytest.raises(ValueError, match="learning_rate is above 0"):
        load_recipe("few", training={"learning_rate": 0.0})


def test_a_missing_recipe_or_one_that_is_no_toml(tmp_path):
    with pytest.raises(FileNotFoundError, match="there are few, full, zero"):
        load_recipe("some")
    (tmp_path / "a.toml").write_text("epochs =")
    with pytest.raises(ValueError, match="not valid TOML"):
        load_recipe(tmp_path / "a.toml")
