import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.seeding import stream
from inout_generators.lora.prompts import Prompt, as_prompts, check_length, choose, classes_of, encode, write_prompts
from inout_generators.lora.tiny import tiny_stable_diffusion


@pytest.fixture(scope="module")
def base() -> StableDiffusionPipeline:
    return tiny_stable_diffusion()


def test_every_form_says_the_same() -> None:
    expected = (Prompt("skt scratched", "scratch"), Prompt("skt cracked", "crack"))
    assert as_prompts({"skt scratched": "scratch", "skt cracked": "crack"}) == expected
    assert as_prompts(expected) == expected
    assert as_prompts([{"text": p.text, "defect_class": p.defect_class, "weight": 1.0} for p in expected]) == expected
    assert as_prompts(["skt"]) == (Prompt("skt", "defect", 1.0),)


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(st.lists(st.builds(Prompt, text, text, st.floats(0.001, 1000)), min_size=1))
def test_a_prompt_set_is_read_back(tmp_path_factory: pytest.TempPathFactory, prompts: list[Prompt]) -> None:
    path = tmp_path_factory.mktemp("prompts") / "set.toml"
    write_prompts(path, prompts)
    assert as_prompts(path) == tuple(prompts)
    assert as_prompts(str(path)) == tuple(prompts)


def test_a_person_may_write_it(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[[prompt]]\ntext = "white marks on the wall"\ndefect_class = "marks"\n')
    assert as_prompts(tmp_path / "p.toml") == (Prompt("white marks on the wall", "marks"),)
    assert tomllib.loads((tmp_path / "p.toml").read_text())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[[prompt", "is not TOML"),
        ("[other]\n", "is no prompt set"),
        ('[[prompt]]\nclass = "x"\n', "a prompt has a text, and may have defect_class, weight"),
        ('[[prompt]]\ntext = " "\n', "a prompt has a text and a defect class"),
        ('[[prompt]]\ntext = "a"\nweight = 0\n', "weight of a prompt is positive"),
        ('[[prompt]]\ntext = "a"\nweight = inf\n', "weight of a prompt is positive"),
    ],
)
def test_says_what_is_wrong_with_a_prompt_set(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(written)
    with pytest.raises(ValueError, match=message):
        as_prompts(tmp_path / "p.toml")
    with pytest.raises(FileNotFoundError, match=r"no prompt set at .*q\.toml"):
        as_prompts(tmp_path / "q.toml")


def test_prompts_of_a_class_are_drawn_by_weight() -> None:
    prompts = [Prompt("a", "crack"), Prompt("b", "scratch", 3), Prompt("c", "scratch"), Prompt("d", "crack", 0.5)]
    assert classes_of(prompts) == ("crack", "scratch")
    drawn = Counter(choose(prompts, 2, stream(k)) for k in range(400))
    assert set(drawn) == {"b", "c"}
    assert drawn["b"] / 400 == pytest.approx(0.75, abs=3 * np.sqrt(0.75 * 0.25 / 400))


def test_a_long_prompt_is_told_with_the_words_that_would_be_cut(base: StableDiffusionPipeline) -> None:
    check_length(base.tokenizer, " ".join(["scratch"] * 75))
    with pytest.raises(ValueError, match=r"at most 77 tokens .* has 79, and 'white wall' would be cut"):
        check_length(base.tokenizer, " ".join([*["scratch"] * 75, "white", "wall"]))


def test_embeddings_are_those_of_diffusers(base: StableDiffusionPipeline) -> None:
    texts = ["skt background scratched", ""]
    expected = base.encode_prompt(texts, "cpu", 1, False)[0]
    assert torch.equal(encode(base.tokenizer, base.text_encoder, texts), expected)


def test_clip_skip_leaves_out_last_layers(base: StableDiffusionPipeline) -> None:
    """A text encoder whose last layer is cut off, followed by the same norm."""
    shallow = tiny_stable_diffusion().text_encoder
    del shallow.encoder.layers[-1]
    expected = encode(base.tokenizer, shallow, ["a crack"])
    assert torch.equal(encode(base.tokenizer, base.text_encoder, ["a crack"], clip_skip=1), expected)
    with pytest.raises(ValueError, match="0 to 2 of the text encoder's 3 layers; got 3"):
        encode(base.tokenizer, base.text_encoder, ["a crack"], clip_skip=3)
