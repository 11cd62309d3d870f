"""Recipes of Defect-Gen: which value wins, and what is refused before a training starts."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_generators.common.recipes import recipe_names
from inout_generators.defect_gen.recipe import KIND, NETS, load_recipe

MINIMAL = (
    '[training]\nsteps = 5\nbatch = 2\nclip = 0.5\n[large]\npreset = "large"\n[local]\npreset = "small"\nsteps = 9\n'
)


def write(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text)
    return folder / "mine.toml"


def test_a_net_goes_before_both_and_what_is_given_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'hidden = 0.25\nsymmetry = "none"\n' + MINIMAL)
    plain = load_recipe(path)
    assert [plain.net(net).training.steps for net in NETS] == [5, 9]
    assert [plain.net(net).training.clip for net in NETS] == [0.5, 0.5]
    assert (plain.net("large"), plain.net("local")) == (plain.large, plain.local)
    changed = load_recipe(path, {"hidden": 0.5}, {"steps": 7, "batch": 3})
    assert [(changed.net(net).training.steps, changed.net(net).batch) for net in NETS] == [(7, 3)] * 2
    assert (changed.hidden, changed.symmetry) == (0.5, "none")
    assert (changed.large.preset, changed.local.preset) == ("large", "small")
    other = load_recipe(path, {"large": {"preset": "medium", "steps": 3}})
    assert (other.large.preset, other.large.training.steps, other.large.batch) == ("medium", 3, 2)
    assert other.local == plain.local


def test_nothing_given_changes_nothing_and_nothing_given_is_changed() -> None:
    for name in recipe_names(KIND):
        overrides: dict[str, Any] = {"mask_range": [-1, 1]}
        training = {"steps": 3}
        assert load_recipe(name) == load_recipe(name, {}, {})
        again = load_recipe(name, overrides, training)
        assert again.mask_range == (-1, 1)
        assert (overrides, training) == ({"mask_range": [-1, 1]}, {"steps": 3})
        # all that a recipe says can be said again
        values = asdict(load_recipe(name))
        for net in NETS:
            values[net] = {**values[net].pop("training"), **values[net]}
        assert load_recipe(name, values) == load_recipe(name)


@given(switch_t=st.integers(-3, 1003), own=st.booleans())
def test_both_nets_have_timesteps_to_learn(switch_t: int, own: bool) -> None:
    given = {"switch_t": switch_t, "timesteps": "own" if own else "all"}
    if 0 < switch_t < 1000 or (switch_t in (0, 1000) and not own):
        assert load_recipe("tiny", given).switch_t == switch_t
    else:
        with pytest.raises(ValueError, match=f"switch_t.*{switch_t}"):
            load_recipe("tiny", given)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mask_range": [1, 0]}, r"mask_range is \(elsewhere, here\), the lower one first; got \(1.0, 0.0\)"),
        ({"mask_range": [0, 0.5, 1]}, r"mask_range is \(elsewhere, here\); got \(0, 0.5, 1\)"),
        ({"mask_range": 1}, "recipe tiny: .*has no len"),
        ({"mask_range": ["a", "b"]}, "could not convert"),
        ({"shift": 0.3}, r"shift is in \[0, 0.25\]"),
        ({"shift": "far"}, "recipe tiny: "),
        ({"background": 1.0}, r"background in \[0, 1\); got .* and 1.0"),
        ({"background": float("nan")}, "background"),
        ({"hidden": -0.1}, r"hidden is in \[0, 1\]"),
        ({"conditional": "false"}, "conditional is true or false.*'false'"),
        ({"conditional": 1}, "conditional is true or false"),
        ({"switch_t": 950.0}, "switch_t is in .*; got 950.0"),
        ({"large": "large"}, r"^\[large\] of recipe tiny is a table, of names and values; got 'large'"),
        ({"training": 100}, r"^\[training\] of recipe tiny is a table"),
        ({"local": {"preset": "small", "batch": 2, "learning_rat": 1}}, r"^\[local\] of recipe tiny has learning_rat"),
        ({"local": {"batch": 2, "steps": 1}}, r"^\[local\] of recipe tiny: .*'preset'"),
        ({"local": {"preset": ["small"], "batch": 2, "steps": 1}}, r"^\[local\] of recipe tiny: "),
        ({"local": {"preset": "small", "batch": "two", "steps": 1}}, r"^\[local\] of recipe tiny: "),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe("tiny", overrides)


@pytest.mark.parametrize("lost", ["steps = 5\n", "batch = 2\n", 'preset = "large"\n', '[local]\npreset = "small"\n'])
def test_a_file_that_lacks_a_value_of_a_net_names_net_and_value(tmp_path: Path, lost: str) -> None:
    load_recipe(write(tmp_path, MINIMAL))
    net, value = ("local", "preset") if "local" in lost else ("large", lost.split()[0])
    with pytest.raises(ValueError, match=rf"^\[{net}\] of recipe .*mine\.toml: .*'{value}'"):
        load_recipe(write(tmp_path, MINIMAL.replace(lost, "")))
