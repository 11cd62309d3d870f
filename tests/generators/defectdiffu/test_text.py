"""Vectors of prompts: learned ones that recombine, and a real CLIP architecture with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.defectdiffu.names import UnknownName
from inout_generators.defectdiffu.text import ClipText, NamedEmbedding, load_text, save_text


def named() -> NamedEmbedding:
    return NamedEmbedding(products=["metal nut", "wood"], defects=["oil spill", "hole"], dim=8)


def test_good_and_any_product_are_always_known() -> None:
    vectors = named().encode(["a photo of good", "a photo of industry", "a photo of good industry"])
    assert vectors.shape == (3, 8)
    assert len(torch.unique(vectors, dim=0)) == 3


def test_names_with_spaces_are_names() -> None:
    prompts = ["a photo of oil spill", "a photo of metal nut", "a photo of oil spill metal nut"]
    assert len(torch.unique(named().encode(prompts), dim=0)) == 3


def test_a_pair_is_taught_by_other_pairs() -> None:
    text = named()
    text.encode(["a photo of hole metal nut", "a photo of oil spill wood"]).square().sum().backward()
    taught = {name: parameter.grad for name, parameter in text.named_parameters()}
    assert taught["fusion.weight"] is not None
    # good and industry are rows 0
    for name in ("defect_vectors.weight", "product_vectors.weight"):
        gradient = taught[name]
        assert gradient is not None
        assert gradient.any(1).tolist() == [False, True, True]


def test_unknown_names_are_told() -> None:
    with pytest.raises(UnknownName, match=r"'a photo of hol' is no prompt .* oil spill, hole, metal nut, wood"):
        named().encode(["a photo of hol"])


@pytest.mark.parametrize(
    ("products", "defects"), [(["wood"], ["wood"]), (["industry"], ["hole"]), (["wood"], ["good"]), ([""], ["hole"])]
)
def test_names_that_mean_two_things_are_refused(products: list[str], defects: list[str]) -> None:
    with pytest.raises(ValueError, match="name"):
        NamedEmbedding(products=products, defects=defects)


def test_pairs_that_read_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="two meanings to 'a photo of a b c'"):
        NamedEmbedding(products=["c", "b c"], defects=["a b", "a"])


def clip(folder: Path) -> ClipText:
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=24, unk_token="<|endoftext|>"
    )
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=24,
        projection_dim=12,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
    )
    return ClipText(CLIPTextModelWithProjection(config), tokenizer)


def test_clip_gives_unit_vectors_one_prompt_at_a_time(tmp_path: Path) -> None:
    text = clip(tmp_path)
    assert text.dim == 12
    prompts = ["a photo of hole", "a photo of hole wood", "a photo of hole"]
    vectors = text.train().encode(prompts)
    assert not text.model.training
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(vectors[0], vectors[2], rtol=0, atol=0)
    torch.testing.assert_close(vectors[:1], text.encode(prompts[:1]), rtol=0, atol=0)
    tokens = text.tokenizer(["a photo of hole wood"], return_tensors="pt")
    expected = torch.nn.functional.normalize(text.model(**tokens).text_embeds, dim=-1)
    torch.testing.assert_close(vectors[1:2], expected.detach())
    with pytest.raises(ValueError, match="would be cut"):
        text.encode(["a photo of abcdefghijklmnop"])


def test_encoders_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    for k, (text, prompt) in enumerate(
        [(named(), "a photo of hole wood"), (clip(tmp_path / "tokenizer"), "a photo of hole wood")]
    ):
        folder = tmp_path / str(k)
        again = load_text(save_text(text, folder), folder)
        torch.testing.assert_close(again.encode([prompt]), text.encode([prompt]))
    with pytest.raises(CheckpointError, match="no text encoder 't5'"):
        load_text({"kind": "t5"}, tmp_path)
