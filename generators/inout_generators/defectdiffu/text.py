"""From a prompt to the one vector that the model is told: CLIP's, or one learned for the names of a plant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from inout_generators.common.checkpoints import CheckpointError, PathLike, load_net, save_net
from inout_generators.defectdiffu.names import GOOD, NULL_PRODUCT, UnknownName, check_names, prompts
from inout_generators.lora.prompts import check_length

_FOLDER = "text"


@runtime_checkable
class TextEncoder(Protocol):
    """A module that gives prompts their vectors.

    Attributes:
        dim: Length of a vector.
    """

    dim: int

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return the vectors of some prompts, (B, dim), on the module's device."""
        ...


class NamedEmbedding(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree on the type of config_name
    """A learned vector for each product and each defect: the closed vocabulary of a plant, with no weights at hand.

    What both together are is a linear function of the two, so that a pair that no image showed has its vector too.

    Args:
        products: Names, without the null product.
        defects: Names, without "good".
        dim: Length of a vector.
        null_product: The word for any product.

    Raises:
        ValueError: A name is empty or means two things.

    Example:
        >>> text = NamedEmbedding(products=["tile", "wood"], defects=["crack"], dim=8)
        >>> text.encode(["a photo of good", "a photo of industry", "a photo of crack wood"]).shape
        torch.Size([3, 8])
    """

    # diffusers' own warns, at every change of dtype, of layers kept in float32 where there are none
    to = nn.Module.to

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, *, products: Sequence[str], defects: Sequence[str], dim: int = 256, null_product: str = NULL_PRODUCT
    ) -> None:
        super().__init__()
        check_names(products, defects)
        self.dim = dim
        all_products, all_defects = (null_product, *products), (GOOD, *defects)
        self.product_vectors = nn.Embedding(len(all_products), dim)
        self.defect_vectors = nn.Embedding(len(all_defects), dim)
        self.fusion = nn.Linear(2 * dim, dim)
        # prompt -> number of its defect and of its product, where it names one
        self._meant: dict[str, tuple[int | None, int | None]] = {}
        for k, defect in enumerate(all_defects):
            for j, product in enumerate(all_products):
                of_defect, of_product, of_both = prompts(defect, product)
                for prompt, meant in ((of_defect, (k, None)), (of_product, (None, j)), (of_both, (k, j))):
                    if self._meant.setdefault(prompt, meant) != meant:
                        raise ValueError(f"the names give two meanings to {prompt!r}: rename a product or a defect")

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return the vectors of some prompts, (B, dim), of about unit variance.

        Raises:
            UnknownName: A prompt has a name that was not learned.
        """
        unknown = [prompt for prompt in prompts if prompt not in self._meant]
        if unknown:
            known = [*self.config["defects"], *self.config["products"]]
            raise UnknownName(f"{unknown[0]!r} is no prompt of the names that were learned: {', '.join(known)}")
        vectors = [self._vector(*self._meant[prompt]) for prompt in prompts]
        return nn.functional.layer_norm(torch.stack(vectors), (self.dim,))

    def _vector(self, defect: int | None, product: int | None) -> Tensor:
        if product is None:
            return self.defect_vectors.weight[defect]
        if defect is None:
            return self.product_vectors.weight[product]
        both = torch.cat([self.defect_vectors.weight[defect], self.product_vectors.weight[product]])
        return self.fusion(both)  # type: ignore[no-any-return]


class FrozenText(nn.Module):
    """A text tower that is not trained: each prompt is encoded once, by itself.

    Args:
        dim: Length of a vector.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self._known: dict[str, Tensor] = {}

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return the vectors of some prompts, (B, dim), of length 1.

        Raises:
            ValueError: A prompt is longer than the tower takes.
        """
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._known:
                with torch.inference_mode(False), torch.no_grad():
                    self._known[prompt] = self._encode(prompt)
        vectors = torch.stack([self._known[prompt] for prompt in prompts])
        return nn.functional.normalize(vectors.to(next(self.parameters()).device), dim=-1)

    def train(self, mode: bool = True) -> FrozenText:
        """Stay in evaluation mode."""
        return super().train(False)

    def _encode(self, prompt: str) -> Tensor:
        """Return the vector of a prompt, (dim,)."""
        raise NotImplementedError


class ClipText(FrozenText):
    """A text tower of CLIP: its pooled feature, of length 1, as the released code feeds it.

    Args:
        model: A `transformers.CLIPTextModelWithProjection`.
        tokenizer: Its tokenizer.

    Example:
        >>> text = ClipText.from_pretrained("openai/clip-vit-large-patch14")  # doctest: +SKIP
        >>> text.encode(["a photo of crack wood"]).shape  # doctest: +SKIP
        torch.Size([1, 768])
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(int(model.config.projection_dim))
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer

    @classmethod
    def from_pretrained(cls, source: PathLike, *, revision: str | None = None) -> ClipText:
        """Load from a folder, or from the Hugging Face Hub.

        Raises:
            ImportError: transformers is missing.
            OSError: There is no such model, or the Hub cannot be reached.
        """
        try:
            from transformers import CLIPTextModelWithProjection, CLIPTokenizer
        except ImportError as error:
            raise ImportError("CLIP's text tower needs transformers: pip install 'inout-aug[lora]'") from error
        model = CLIPTextModelWithProjection.from_pretrained(source, revision=revision, use_safetensors=True)
        return cls(model, CLIPTokenizer.from_pretrained(source, revision=revision))

    def _encode(self, prompt: str) -> Tensor:
        check_length(self.tokenizer, prompt)
        tokens = self.tokenizer([prompt], return_tensors="pt").to(self.model.device)
        return self.model(**tokens).text_embeds[0]  # type: ignore[no-any-return]


class OpenClipText(FrozenText):
    """A text tower of open_clip; by default RN50's, 1024-d, which the released DefectDiffu was trained with.

    Args:
        name: Of the model.
        pretrained: Of its weights, fetched from the Hugging Face Hub; None for random ones.

    Raises:
        ImportError: open_clip is missing.
    """

    def __init__(self, name: str = "RN50", pretrained: str | None = "openai") -> None:
        try:
            import open_clip  # type: ignore[import-not-found]  # optional
        except ImportError as error:
            raise ImportError("this text encoder needs open_clip: pip install open_clip_torch") from error
        model = open_clip.create_model(name, pretrained=pretrained).eval().requires_grad_(False)
        super().__init__(int(model.text_projection.shape[-1]))
        # the image tower is not needed
        del model.visual
        self.model, self.name, self.pretrained = model, name, pretrained
        self.tokenizer = open_clip.get_tokenizer(name)

    def _encode(self, prompt: str) -> Tensor:
        tokens = self.tokenizer([prompt]).to(self.model.text_projection.device)
        return self.model.encode_text(tokens)[0]  # type: ignore[no-any-return]


def save_text(text: TextEncoder, folder: Path) -> dict[str, Any]:
    """Write a text encoder below a folder, and return what `load_text` wants to know of it.

    Raises:
        TypeError: It is none of this module's.
    """
    where = folder / _FOLDER
    if isinstance(text, NamedEmbedding):
        save_net(text, where)
        return {"kind": "named"}
    if isinstance(text, ClipText):
        text.model.save_pretrained(where)
        text.tokenizer.save_pretrained(where)
        return {"kind": "clip"}
    if isinstance(text, OpenClipText):
        return {"kind": "open_clip", "name": text.name, "pretrained": text.pretrained}
    raise TypeError(f"NamedEmbedding, ClipText and OpenClipText are saved; got a {type(text).__name__}")


def load_text(settings: Mapping[str, Any], folder: Path) -> TextEncoder:
    """Return what `save_text` wrote.

    Raises:
        CheckpointError: It is damaged, or of another version.
        ImportError: It needs a package that is missing.
    """
    kind = settings.get("kind")
    if kind == "named":
        text: TextEncoder = load_net(NamedEmbedding, folder / _FOLDER)
        return text
    if kind == "clip":
        return ClipText.from_pretrained(folder / _FOLDER)
    if kind == "open_clip":
        return OpenClipText(settings["name"], settings["pretrained"])
    raise CheckpointError(f"there is no text encoder {kind!r} in this version; there are named, clip, open_clip")
