"""UNet and text encoder with a LoRA, as a net whose parameters are those of the LoRA alone."""

from __future__ import annotations

from typing import Any

import torch
from peft import inject_adapter_in_model
from torch import Tensor, nn

from inout_generators.lora.adapters import ADAPTER, c3lier_text, c3lier_unet
from inout_generators.lora.prompts import embed
from inout_generators.lora.recipe import Recipe


class LoRANet(nn.Module):
    """What is trained, and written to checkpoints: a LoRA, which it puts on the models of a base.

    The base stays as it is, in whatever precision it has; the LoRA is float32.

    Args:
        unet: Without a LoRA.
        text_encoder: Without a LoRA.
        recipe: Says the ranks and what is trained.
        seed: Of the LoRA's weights; at first they change nothing.

    Attributes:
        taken: Number of steps taken, which goes to checkpoints with the weights; int64 ().

    Example:
        >>> from inout_generators.lora.recipe import load_recipe
        >>> from inout_generators.lora.tiny import tiny_stable_diffusion
        >>> base = tiny_stable_diffusion()
        >>> net = LoRANet(base.unet, base.text_encoder, load_recipe("few"), seed=0)
        >>> net(torch.zeros(2, 4, 8, 8), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 77, dtype=torch.int64)).shape
        torch.Size([2, 4, 8, 8])
    """

    taken: Tensor

    def __init__(self, unet: Any, text_encoder: Any, recipe: Recipe, *, seed: int) -> None:
        super().__init__()
        # a tuple, in which torch looks for no submodules
        self._base = (unet, text_encoder)
        self._clip_skip, self._text = recipe.clip_skip, recipe.text_encoder
        unet.requires_grad_(False)
        text_encoder.requires_grad_(False)
        configs = c3lier_unet(
            rank=recipe.rank, alpha=recipe.network_alpha, conv_rank=recipe.conv_rank, conv_alpha=recipe.conv_alpha
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(configs, unet, ADAPTER)
            if recipe.text_encoder:
                inject_adapter_in_model(
                    c3lier_text(rank=recipe.rank, alpha=recipe.network_alpha), text_encoder, ADAPTER
                )
                self._freeze_skipped(text_encoder)
        for part, model in (("unet", unet), ("text_encoder", text_encoder)):
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    # peft gives it the precision of the base, in which small steps are lost
                    parameter.data = parameter.data.float()
                    self.register_parameter(f"{part}/{name.replace('.', '/')}", parameter)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def forward(self, noised: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Return what the UNet predicts.

        Args:
            noised: Latents, (B, C, H / 8, W / 8).
            t: Timesteps, (B,).
            tokens: Of the captions, (B, 77).
        """
        unet, text_encoder = self._base
        if self.training:
            self.taken += 1
        different, which = torch.unique(tokens, dim=0, return_inverse=True)
        with torch.set_grad_enabled(self._text and torch.is_grad_enabled()):
            embeddings = embed(text_encoder, different, clip_skip=self._clip_skip)[which]
        return torch.as_tensor(unet(noised.to(embeddings.dtype), t, encoder_hidden_states=embeddings).sample)

    def train(self, mode: bool = True) -> LoRANet:
        """Set the base's mode too: gradient checkpointing depends on it."""
        for model in self._base:
            model.train(mode)
        return super().train(mode)

    def _freeze_skipped(self, text_encoder: Any) -> None:
        """Leave out of the training the layers that clip_skip leaves out: their LoRA changes nothing."""
        layers = getattr(text_encoder, "text_model", text_encoder).encoder.layers
        for layer in list(layers)[len(layers) - self._clip_skip :]:
            layer.requires_grad_(False)
