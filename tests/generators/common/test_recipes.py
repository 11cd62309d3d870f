"""Recipes: where they are found, and what of them is refused before a dataclass is made."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_generators.common.recipes import build, read_recipe, recipe_names, table

KINDS = ("defect_gen", "defectdiffu", "lora")


@dataclass(frozen=True, kw_only=True)
class Oven:
    heat: float
    minutes: int
    fan: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.heat <= 300:
            raise ValueError(f"heat is in (0, 300]; got {self.heat}")


@given(st.dictionaries(st.sampled_from(["heat", "minutes", "fan", "rack", "grill"]), st.integers(1, 9)))
def test_a_part_is_made_of_exactly_its_fields(values: dict[str, Any]) -> None:
    before = dict(values)
    if unknown := sorted(values.keys() & {"rack", "grill"}):
        with pytest.raises(
            ValueError, match=f"^\\[oven\\] has {', '.join(unknown)}, which is none of heat, minutes, fan$"
        ):
            build(Oven, "[oven]", values)
    elif missing := [name for name in ("heat", "minutes") if name not in values]:
        with pytest.raises(ValueError, match=rf"^\[oven\]: .*missing .*'{missing[0]}'"):
            build(Oven, "[oven]", values)
    else:
        assert asdict(build(Oven, "[oven]", values)) == {"fan": False, **values}
    assert values == before


@pytest.mark.parametrize(
    ("heat", "message"),
    [(0, r"^heat is in \(0, 300\]; got 0$"), ("hot", r"^\[oven\]: '<' not supported"), ([1], r"^\[oven\]: '<'")],
)
def test_values_out_of_range_and_of_another_type_are_refused_alike(heat: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Oven, "[oven]", {"heat": heat, "minutes": 9})


def test_every_recipe_that_comes_with_the_package_belongs_to_one_kind() -> None:
    import inout_generators

    shipped = sorted(path.name for path in Path(inout_generators.__file__).with_name("recipes").iterdir())
    named = [(kind, name) for kind in KINDS for name in recipe_names(kind)]
    assert sorted(f"{kind}_{name}.toml" for kind, name in named) == shipped
    for kind, name in named:
        assert "training" in read_recipe(kind, name)
    assert recipe_names("diffusion") == []


def test_the_name_of_a_recipe_is_no_file_and_a_file_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("paper").write_text("mine = 1")
    assert "mine" not in read_recipe("defect_gen", "paper")
    Path("paper.toml").write_text("mine = 1")
    assert read_recipe("defect_gen", "paper.toml") == read_recipe("lora", Path("paper.toml")) == {"mine": 1}
    with pytest.raises(FileNotFoundError, match=r"no recipe 'few'; there are paper, .*tiny, or give a \.toml file"):
        read_recipe("defect_gen", "few")
    with pytest.raises(FileNotFoundError, match=r"no recipe '\.\./recipes/paper'"):
        read_recipe("defect_gen", "../recipes/paper")
    with pytest.raises(FileNotFoundError, match=r"other\.toml"):
        read_recipe("defect_gen", "other.toml")


def test_a_file_is_read_as_editors_write_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for content in (b'name = "Ri\xc3\x9f"\r\n', b'\xef\xbb\xbfname = "Ri\xc3\x9f"'):
        path.write_bytes(content)
        assert read_recipe("lora", path) == {"name": "Riß"}
    for content in (b'name = "Ri\xdf"', 'name = "Riß"'.encode("utf-16"), b"name =", b"name = 1\nname = 2"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.toml is not valid TOML: "):
            read_recipe("lora", path)


@pytest.mark.parametrize("value", [3, "small", ["small"], None])
def test_what_is_no_table_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^\[net\] is a table, of names and values; got "):
        table("[net]", value)
    given = {"preset": "small"}
    assert table("[net]", given) == given
    assert table("[net]", given) is not given
