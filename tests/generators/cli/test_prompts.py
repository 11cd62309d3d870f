"""From prompts to a prompt set, and from that to a cache, with the tiny Stable Diffusion."""

import json
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_0
from typer.testing import CliRunner

from inout_aug.cache import SampleCache
from inout_aug.cli import app
from inout_generators.cli._trials import Trial, choose, read_trials
from inout_generators.lora.prompts import as_prompts
from inout_generators.lora.tiny import tiny_stable_diffusion

SETTINGS = ["--setting", "steps=1", "--setting", "device=cpu"]
TOML = """
[[prompt]]
text = "skt background scratched"
defect_class = "scratch"

[[prompt]]
text = "skt background cracked"
defect_class = "crack"
weight = 2.0
"""


def run(*words: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A base, a file of prompts, three normal images and a network to compare with."""
    root = tmp_path_factory.mktemp("prompts")
    tiny_stable_diffusion(root / "base")
    (root / "prompts.toml").write_text(TOML)
    (root / "parts" / "images").mkdir(parents=True)
    (root / "parts" / "masks").mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        cv2.imwrite(str(root / "parts" / "images" / f"{k}.png"), rng.integers(80, 120, (40, 32), np.uint8))
    torch.manual_seed(0)
    save_file(squeezenet1_0(weights=None).state_dict(), root / "squeezenet.safetensors")
    return root


def tried(there: Any, out: Any, number: int) -> list[Any]:
    """Words that try the prompts."""
    return ["prompts", "try", "--base", there / "base", "--prompts", there / "prompts.toml", "--out", out, "-n", number]


def test_try_accept_fill(there: Any, tmp_path: Any) -> None:
    normals = ["--data", there / "parts", "--format", "folder"]
    words = [*tried(there, tmp_path, 2), *normals, *SETTINGS, "--features", there / "squeezenet.safetensors"]
    said = run(*words).output
    assert "1. skt background scratched (scratch): distance to normals 0." in said
    trials = read_trials(tmp_path)
    assert [trial.text for trial in trials] == ["skt background scratched", "skt background cracked"]
    assert all(0 < (trial.diversity or 0) < 2 and 0 < (trial.normal_distance or 0) < 2 for trial in trials)
    caches = [SampleCache(tmp_path / trial.samples) for trial in trials]
    # the same noise side by side, in the form of the normal images
    assert [cache[1].origin.seed for cache in caches] == [caches[0][1].origin.seed] * 2
    assert [cache[0].label for cache in caches] == [1, 2]
    assert caches[0][0].image.shape[:2] == SampleCache(tmp_path / trials[0].samples)[0].size == (40, 32)
    assert not np.array_equal(caches[0][0].image, caches[1][0].image)
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 10

    # again, with one prompt less and one more: what was drawn stays
    drawn = {file: file.stat().st_mtime_ns for file in (tmp_path / trials[1].samples).rglob("*.safetensors")}
    other = tmp_path / "other.toml"
    other.write_text('[[prompt]]\ntext = "a crack"\n\n' + TOML.split("\n\n")[1])
    words[words.index(there / "prompts.toml")] = other
    run(*words)
    assert [trial.text for trial in read_trials(tmp_path)] == ["a crack", "skt background cracked"]
    assert drawn == {file: file.stat().st_mtime_ns for file in drawn}
    assert drawn

    run("prompts", "accept", 2, "--out", tmp_path)
    accepted = tmp_path / "accepted.toml"
    assert [(p.text, p.defect_class, p.weight) for p in as_prompts(accepted)] == [
        ("skt background cracked", "crack", 2)
    ]
    fill = ["cache", "fill", tmp_path / "cache", "--generator", "lora", "--from", there / "base", "-n", 1]
    run(*fill, "--size", "40x32", *SETTINGS, "--setting", f"prompts={accepted}")
    assert SampleCache(tmp_path / "cache")[0].origin.params["params"]["prompt"] == "skt background cracked"


def test_prompts_are_tried_inside_the_users_images(there: Any, tmp_path: Any) -> None:
    run(
        *tried(there, tmp_path, 1),
        "--inpaint",
        "--data",
        there / "parts",
        "--format",
        "folder",
        *SETTINGS,
        "--setting",
        "preset=diag",
        "--setting",
        "steps=2",
    )
    hosts = [cv2.imread(str(path)) for path in (there / "parts" / "images").iterdir()]
    for trial in read_trials(tmp_path):
        assert (trial.normal_distance, trial.diversity) == (None, None)
        sample = SampleCache(tmp_path / trial.samples)[0]
        assert sample.origin.generator == "LoRAInpaint"
        assert any((sample.image == host)[sample.mask == 0].all() for host in hosts)


def trial(text: str, distance: float | None, diversity: float | None) -> Trial:
    scores = {"normal_distance": distance, "diversity": diversity}
    return Trial(text=text, defect_class="crack", weight=1.0, samples="samples/0", **scores)


def test_prompts_are_chosen_by_number_and_by_bounds() -> None:
    trials = [trial("a", 0.5, 0.1), trial("b", 0.9, 0.3), trial("c", 0.7, 0.4)]

    def texts(numbers: Any = (), **bounds: float | None) -> list[str]:
        every = {"max_distance": None, "min_diversity": None, **bounds}
        return [prompt.text for prompt in choose(trials, numbers, **every)]

    assert texts() == ["a", "b", "c"]
    assert texts([3, 1, 3]) == ["c", "a"]
    assert texts(max_distance=0.7) == ["a", "c"]
    assert texts(max_distance=0.7, min_diversity=0.3) == ["c"]
    with pytest.raises(ValueError, match=r"numbered 1 to 3, .* got 0, 4"):
        texts([0, 4])
    with pytest.raises(ValueError, match="no prompt keeps to these bounds"):
        texts(min_diversity=1)
    with pytest.raises(ValueError, match="was not measured"):
        choose([trial("a", None, None)], [], max_distance=1, min_diversity=None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base", "nowhere"], "there is no base at nowhere"),
        (["--prompts", "nowhere.toml"], "there is no prompt set at nowhere.toml"),
        (["--setting", "prompts=x"], "prompts are given as --prompts"),
        (["--setting", "steps"], "--setting is name=value"),
        (["--inpaint"], "say where some are, with --data"),
        ([], "give their --size"),
        (["--size", "40"], "--size is HEIGHTxWIDTH"),
        (["--alpha", "2", "--size", "40x32"], "lies in [0, 1]"),
        (["--lora", "nowhere", "--size", "40x32"], "there is no LoRA at nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(there: Any, tmp_path: Any, words: list[str], message: str) -> None:
    given = {"--base": there / "base", "--prompts": there / "prompts.toml", "--out": tmp_path}
    known = [part for name, value in given.items() if name not in words for part in (name, value)]
    result = run("prompts", "try", *known, *words, code=2)
    assert message in " ".join(result.stderr.split())


def test_what_was_not_tried_cannot_be_accepted(tmp_path: Any) -> None:
    assert "no prompts were tried in" in run("prompts", "accept", 1, "--out", tmp_path, code=2).stderr
    (tmp_path / "trials.json").write_text(json.dumps({"format": 1, "trials": [{"text": "a"}]}))
    assert "is not what this version" in " ".join(run("prompts", "accept", "--out", tmp_path, code=2).stderr.split())


def test_a_prompt_twice_is_refused(there: Any, tmp_path: Any) -> None:
    (tmp_path / "twice.toml").write_text(TOML + TOML)
    result = run(
        "prompts", "try", "--base", there / "base", "--prompts", tmp_path / "twice.toml", "--size", "40x32", code=2
    )
    assert "one of them twice" in " ".join(result.stderr.split())
