"""Prompts: which text asks for which defect class, how often, and what the text encoder makes of it."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from inout_generators.common.checkpoints import PathLike, replacing

PromptsLike: TypeAlias = "PathLike | Mapping[str, str] | Sequence[Prompt | Mapping[str, Any] | str]"

_FIELDS = ("text", "defect_class", "weight")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text that asks for a defect.

    Attributes:
        text: What the text encoder is given.
        defect_class: Name of the class that it shows.
        weight: How often it is used, relative to the other prompts of its class.

    Raises:
        ValueError: The text is empty, or the weight is not a positive number.
    """

    text: str
    defect_class: str = "defect"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.defect_class.strip():
            raise ValueError(f"a prompt has a text and a defect class; got {self.text!r} and {self.defect_class!r}")
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise ValueError(f"the weight of a prompt is positive; got {self.weight} for {self.text!r}")


def as_prompts(given: PromptsLike) -> tuple[Prompt, ...]:
    """Return prompts from any of the forms in which they are written.

    Args:
        given: Class names by text; or texts, `Prompt`s or dicts of their fields; or a TOML file that `write_prompts`
            wrote, or a person: a table `[[prompt]]` for each, with `text`, `defect_class` and `weight`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A prompt is not as it must be.

    Example:
        >>> as_prompts({"skt background scratched": "scratch"})
        (Prompt(text='skt background scratched', defect_class='scratch', weight=1.0),)
    """
    if isinstance(given, str | Path):
        given = _read(Path(given))
    if isinstance(given, Mapping):
        return tuple(Prompt(text, defect_class) for text, defect_class in given.items())
    return tuple(_prompt(each) for each in given)  # type: ignore[union-attr]


def write_prompts(path: PathLike, prompts: Sequence[Prompt]) -> None:
    """Write a prompt set, as TOML that a person may edit."""
    quoted = [(_quoted(prompt.text), _quoted(prompt.defect_class), prompt.weight) for prompt in prompts]
    tables = [f"[[prompt]]\ntext = {text}\ndefect_class = {name}\nweight = {weight}\n" for text, name, weight in quoted]
    with replacing(path) as unfinished:
        unfinished.write_text("\n".join(tables), encoding="utf-8")


def classes_of(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """Return the names of the defect classes, in the order of their first prompts: the first is class 1.

    Example:
        >>> classes_of(as_prompts({"skt cracked": "crack", "skt scratched": "scratch", "skt torn": "crack"}))
        ('crack', 'scratch')
    """
    return tuple(dict.fromkeys(prompt.defect_class for prompt in prompts))


def choose(prompts: Sequence[Prompt], defect_class: int, rng: np.random.Generator) -> str:
    """Return the text of a prompt of this class, numbered from 1 as in `classes_of`, drawn by weight."""
    name = classes_of(prompts)[defect_class - 1]
    candidates = [prompt for prompt in prompts if prompt.defect_class == name]
    weights = np.array([prompt.weight for prompt in candidates])
    return candidates[int(rng.choice(len(candidates), p=weights / weights.sum()))].text


def check_length(tokenizer: Any, text: str) -> None:
    """Raise ValueError, with the words that would be cut, if a text is longer than the text encoder takes."""
    room = int(tokenizer.model_max_length)
    tokens = tokenizer(text, truncation=False, verbose=False).input_ids
    if len(tokens) > room:
        cut = tokenizer.decode(tokens[room - 1 : -1])
        raise ValueError(
            f"a prompt has at most {room} tokens with its start and end; this one has {len(tokens)}, and {cut!r} would "
            f"be cut: {text!r}. Shorten it"
        )


def encode(tokenizer: Any, text_encoder: Any, texts: Sequence[str], *, clip_skip: int = 0) -> Tensor:
    """Return the embeddings of texts, (len(texts), tokens, width), in the text encoder's dtype.

    Args:
        tokenizer: CLIP's.
        text_encoder: CLIP's.
        texts: None longer than the text encoder takes.
        clip_skip: See `embed`.

    Raises:
        ValueError: A text is too long, or there are not so many layers.
    """
    for text in texts:
        check_length(tokenizer, text)
    tokens = tokenizer(list(texts), padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
    return embed(text_encoder, tokens.input_ids, clip_skip=clip_skip)


def embed(text_encoder: Any, ids: Tensor, *, clip_skip: int = 0) -> Tensor:
    """Return the embeddings of tokens, the same in training and in drawing.

    Args:
        text_encoder: CLIP's.
        ids: Of the tokens, (B, tokens).
        clip_skip: Last layers left out: 0 uses all, 1 the penultimate, followed by the final layer norm. That is how
            diffusers counts; kohya's clip_skip is one more.

    Raises:
        ValueError: There are not so many layers.
    """
    # its layers lie in a text_model in older versions of transformers
    model = getattr(text_encoder, "text_model", text_encoder)
    layers = len(model.encoder.layers)
    if not 0 <= clip_skip < layers:
        raise ValueError(
            f"clip_skip leaves out 0 to {layers - 1} of the text encoder's {layers} layers; got {clip_skip}"
        )
    seen: list[Tensor] = []
    # output_hidden_states would leave hooks behind that cannot be pickled
    layer = model.encoder.layers[layers - 1 - clip_skip]
    hook = layer.register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
    try:
        last = text_encoder(ids.to(text_encoder.device))[0]
    finally:
        hook.remove()
    return torch.as_tensor(model.final_layer_norm(seen[0]) if clip_skip else last)


def _prompt(given: Prompt | Mapping[str, Any] | str) -> Prompt:
    if isinstance(given, Prompt):
        return given
    if isinstance(given, str):
        return Prompt(given)
    if not set(given) <= set(_FIELDS) or "text" not in given:
        raise ValueError(f"a prompt has a text, and may have {', '.join(_FIELDS[1:])}; got {dict(given)}")
    return Prompt(**given)


def _read(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        stored = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no prompt set at {path}; expected a TOML file, or prompts as {{text: defect class}}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    if set(stored) != {"prompt"} or not isinstance(stored["prompt"], list):
        raise ValueError(f"{path} is no prompt set: expected tables [[prompt]] and nothing else; got {sorted(stored)}")
    prompts: list[Mapping[str, Any]] = stored["prompt"]
    return prompts


def _quoted(text: str) -> str:
    # JSON's strings are TOML's, but for pairs of surrogates
    return json.dumps(text, ensure_ascii=False)
