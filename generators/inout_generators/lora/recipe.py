"""Everything that decides a training of a LoRA, as a TOML file: In&Out's three scenarios, or your own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inout_generators.common.recipes import build, read_recipe, table
from inout_generators.common.training import Settings
from inout_generators.lora.adapters import check_alpha
from inout_generators.lora.prompts import as_prompts

KIND = "lora"

# they follow from the epochs and from what there is to learn from
_DERIVED = ("steps", "horizon", "preview_every", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a LoRA is trained, and merged afterwards.

    Attributes:
        training: Settings of the loop; their steps, horizon and previews are those that `settings` returns.
        epochs: Number of epochs taken; in each, every image is shown `repeats` times.
        max_epochs: Epochs that the schedule of the learning rate is laid out for; `epochs`, if those are more.
        repeats: Of each image in an epoch.
        batch: Pictures per step and process: half images of the product, half prior images, if there are any.
        positives: Defective images of each class to learn from; None for all.
        normals: Normal images to learn from.
        caption: What the images are called.
        prior_prompt: What Stable Diffusion calls anything like it.
        prior_images: Number of images of that which it is to keep drawing as before; 0 for no prior preservation.
        prior_weight: Of their loss.
        prompts: What to ask for afterwards: class names by text; empty for the captions of the defective images.
        alpha: Merge weight afterwards, in [0, 1].
        rank: Of linear layers and 1×1 convolutions.
        network_alpha: Their numerator: their change is scaled by network_alpha / rank.
        conv_rank: Of 3×3 convolutions.
        conv_alpha: Their numerator.
        text_encoder: Whether the text encoder is trained too.
        clip_skip: Last layers of the text encoder left out, now and afterwards: 1 is kohya's 2.
        snr_gamma: Of min-SNR weighting; 0 for none.
        gradient_checkpointing: Compute parts of the UNet twice: less memory, a third more time.
        previews: Number of pictures of the progress, evenly over the training; 0 for none.

    Raises:
        ValueError: A value is out of its range.
    """

    training: Settings
    epochs: int
    max_epochs: int = 50
    repeats: int = 10
    batch: int = 12
    positives: int | None = None
    normals: int = 0
    caption: str = "skt background"
    prior_prompt: str = "background"
    prior_images: int = 200
    prior_weight: float = 1.0
    prompts: Mapping[str, str] = field(default_factory=dict)
    alpha: float = 0.8
    rank: int = 32
    network_alpha: float = 16
    conv_rank: int = 4
    conv_alpha: float = 1
    text_encoder: bool = True
    clip_skip: int = 1
    snr_gamma: float = 5.0
    gradient_checkpointing: bool = True
    previews: int = 5

    def __post_init__(self) -> None:
        least = {"epochs": 1, "repeats": 1, "batch": 1, "rank": 1, "conv_rank": 1, "clip_skip": 0, "normals": 0}
        least |= {"prior_images": 0, "previews": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is at least {low}; got {getattr(self, name)}")
        if self.positives is not None and self.positives < 0:
            raise ValueError(f"positives are a number of images per class, or all; got {self.positives}")
        if self.snr_gamma < 0 or self.prior_weight < 0 or self.network_alpha <= 0 or self.conv_alpha <= 0:
            raise ValueError(
                "snr_gamma and prior_weight are not negative, network_alpha and conv_alpha are positive; got "
                f"{self.snr_gamma}, {self.prior_weight}, {self.network_alpha} and {self.conv_alpha}"
            )
        if self.batch == 1 and self.prior_images:
            raise ValueError("batch is at least 2 with prior images, which are half of it; or set prior_images = 0")
        check_alpha(self.alpha)
        as_prompts(self.prompts)

    @property
    def shown(self) -> int:
        """Images of the product in a batch."""
        return self.batch - self.batch // 2 if self.prior_images else self.batch

    def settings(self, images: int, *, processes: int, seed: int) -> Settings:
        """Return the settings of the loop.

        Args:
            images: Number of them to learn from.
            processes: Number of processes that share an epoch.
            seed: Of everything drawn.
        """
        epoch = images * self.repeats / (self.shown * processes)
        steps = math.ceil(self.epochs * epoch)
        return replace(
            self.training,
            steps=steps,
            horizon=max(steps, math.ceil(self.max_epochs * epoch)),
            preview_every=math.ceil(steps / self.previews) if self.previews else 0,
            seed=seed,
        )


def load_recipe(
    name: str | Path, overrides: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe.

    Args:
        name: "zero", "few" or "full", the paper's scenarios; or a TOML file of your own.
        overrides: Values of the top level to replace.
        training: Values to replace in the settings of the loop.

    Raises:
        FileNotFoundError: There is no such recipe or file.
        ValueError: It is not TOML, has a key that is none, lacks one, or has a value out of range.

    Example:
        >>> recipe = load_recipe("few")
        >>> recipe.epochs, recipe.alpha, recipe.settings(5, processes=1, seed=0).steps
        (49, 0.95, 409)
    """
    values = read_recipe(KIND, name)
    loop = {**table(f"[training] of recipe {name}", values.pop("training", {})), **(training or {})}
    if given := [key for key in _DERIVED if key in loop]:
        raise ValueError(
            f"[training] of recipe {name} has {', '.join(given)}; steps follow from the epochs, previews from their "
            "number, and the seed is an option"
        )
    values |= overrides or {}
    if values.get("positives") == "all":
        values["positives"] = None
    settings = build(Settings, f"[training] of recipe {name}", {"steps": 1, **loop})
    return build(Recipe, f"recipe {name}", {**values, "training": settings})
