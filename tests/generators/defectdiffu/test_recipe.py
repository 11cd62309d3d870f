import pytest

from inout_generators.common.recipes import recipe_names
from inout_generators.defectdiffu.recipe import KIND, load_recipe


def test_the_published_settings():
    assert recipe_names(KIND) == ["paper", "small", "tiny"]
    paper = load_recipe("paper")
    assert paper.net == {"preset": "xl2"}
    assert (paper.batch, paper.training.learning_rate, paper.training.clip) == (2, 1e-5, 0.0)
    assert (paper.drop.product, paper.drop.defect, paper.drop.literal_algorithm1) == (0.2, 0.2, False)
    loss = paper.loss
    assert (loss.alpha, loss.least, loss.most, loss.mask) == (1e-3, 2.0, 8.0, 0.2)
    assert (loss.detach_ratio, loss.faithful_mask_loss) == (False, False)
    assert (paper.schedule.steps, paper.schedule.first, paper.schedule.last) == (1000, 1e-4, 0.02)
    assert (paper.null_good_only, paper.symmetry) == (True, "none")
    load_recipe("small")


def test_values_are_replaced_and_others_stay():
    tiny = load_recipe("tiny", {"batch": 3}, {"steps": 7})
    assert (tiny.batch, tiny.training.steps) == (3, 7)
    assert tiny.training.learning_rate == load_recipe("tiny").training.learning_rate


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('batch = 1\n[net]\npreset = "small"\n[training]\nsteps = 5\n[loss]\nfaithful_mask_loss = true\n')
    mine = load_recipe(path)
    assert (mine.space, mine.text, mine.loss.faithful_mask_loss) == ("pixels", "named", True)
    path.write_text('batch = 1\n[net]\npreset = "small"\n')
    with pytest.raises(ValueError, match=r"\[training\] of recipe .*steps"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("overrides", "training", "message"),
    [
        ({"net": {}}, {}, r"\[net\] has a preset, one of xl2, small, tiny; got None"),
        ({"net": {"preset": "tiny", "channels": 3}}, {}, r"\[net\] has channels, which the space"),
        ({"batch": 0}, {}, "batch"),
        ({"good": 0.0}, {}, "good is a share"),
        ({"good": 1.0}, {}, "good is a share"),
        ({"betas": [0.1]}, {}, "betas are two"),
        ({"betas": [0.1, 0.01]}, {}, "variances that do not fall"),
        ({"symmetry": "round"}, {}, "symmetry"),
        ({"colour": 1}, {}, "recipe tiny has colour, which is none of net, training"),
        ({"drop": {"product": 2.0}}, {}, r"\[0, 1\]"),
        ({"loss": {"gamma": 1}}, {}, r"\[loss\] of recipe tiny has gamma"),
        ({}, {"momentum": 0.9}, r"\[training\] of recipe tiny has momentum"),
    ],
)
def test_recipes_are_refused_with_the_reason(overrides, training, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("tiny", overrides, training)


@pytest.mark.parametrize("part", ["training", "drop", "loss"])
def test_a_part_that_is_no_table_is_refused(part):
    with pytest.raises(ValueError, match=rf"\[{part}\] of recipe tiny is a table, of names and values; got 3"):
        load_recipe("tiny", {part: 3})
