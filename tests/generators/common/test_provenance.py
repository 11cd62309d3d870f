"""What the result of a training hangs on."""

import json
from dataclasses import dataclass, field
from importlib.metadata import version

from inout_generators.common.provenance import provenance


@dataclass
class Part:
    steps: int = 3


@dataclass
class Recipe:
    part: Part = field(default_factory=Part)


def test_it_is_json_and_says_what_was_asked() -> None:
    said = provenance(Recipe(), size=(32, 48), seed=5, processes=2, libraries=["numpy"], data={"images": 4})
    assert json.loads(json.dumps(said)) == said
    libraries = said.pop("libraries")
    assert said == {
        "recipe": {"part": {"steps": 3}},
        "size": [32, 48],
        "seed": 5,
        "processes": 2,
        "data": {"images": 4},
    }
    assert libraries == {name: version(name) for name in ("inout-aug", "torch", "diffusers", "accelerate", "numpy")}
