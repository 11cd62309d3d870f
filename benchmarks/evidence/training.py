"""Training one network, and scoring images with it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evidence.feed import Batch
from evidence.protocol import Recipe

_WARM_UP = 0.1
_EAGER = 3  # steps before a graph is captured, which allocate what the optimiser and cuDNN need

_CAPTURE = Lock()


def train(
    network: nn.Module, batches: Iterable[Batch], steps: int, recipe: Recipe, *, highest_rate: float, seed: int
) -> nn.Module:
    """Train a network in place, on the device where it is.

    Args:
        network: Takes uint8 images (N, C, H, W), and returns logits (N,).
        batches: Such images and labels, 0 or 1, (N,).
        steps: Number of batches.
        recipe: How.
        highest_rate: Of learning.
        seed: Of the flips.

    Returns:
        What is to be scored: the network, or the average of its weights.
    """
    average = None if recipe.ema is None else Average(network, recipe.ema)
    rng = torch.Generator().manual_seed(seed)
    network.train()
    step = Step(network, recipe, highest_rate)
    for number, (images, labels) in enumerate(batches):
        step.rate.fill_(highest_rate * (cosine(number, steps) if recipe.cosine else 1))
        step(flipped(images, rng) if recipe.flips else images, labels)
        if average is not None:
            average.update()
    return (network if average is None else average.network).eval()


class Step:
    """One step of training; on a CUDA device replayed as a graph, which spares the launches of its kernels.

    Args:
        network: As for `train`.
        recipe: As for `train`.
        highest_rate: As for `train`.

    Attributes:
        rate: Learning rate of the next step.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, highest_rate: float) -> None:
        device = next(network.parameters()).device
        self.network, self.rate = network, torch.tensor(highest_rate, device=device)
        self._bf16, self._cuda = recipe.bf16, device.type == "cuda"
        weights = list(network.parameters())
        self._optimizer: torch.optim.Optimizer
        # fused ones read the rate from a tensor, as a graph has to
        if recipe.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(weights, self.rate, fused=True)
        else:
            decay = recipe.weight_decay
            self._optimizer = torch.optim.AdamW(
                weights, self.rate, weight_decay=decay, fused=True, capturable=self._cuda
            )
        self._steps, self._graph = 0, torch.cuda.CUDAGraph() if self._cuda else None
        self._static: Batch | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Make the step."""
        self._steps += 1
        if self._graph is None or self._steps <= _EAGER:
            self._optimizer.zero_grad()
            self._compute(images, labels)
            return
        if self._static is None:
            self._static = images.clone(), labels.clone()
            self._optimizer.zero_grad()
            # other threads train other networks meanwhile, but may not capture
            with _CAPTURE, torch.cuda.graph(self._graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
                self._compute(*self._static)
        for buffer, values in zip(self._static, (images, labels), strict=True):
            buffer.copy_(values)
        self._graph.replay()

    def _compute(self, images: Tensor, labels: Tensor) -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=not self._cuda):
            logits = self.network(images)
        F.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


class Average:
    """A moving average of weights and running statistics.

    Args:
        network: Whose.
        decay: What a step leaves of the earlier average; less in the first steps, which know little.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self._decay, self._steps = decay, 0
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self._mine = [mine for mine, _ in pairs if mine.is_floating_point()]
        self._theirs = [theirs for _, theirs in pairs if theirs.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)


def cosine(number: int, steps: int) -> float:
    """Return the share of the highest learning rate that a step has."""
    warm_up = max(1, round(_WARM_UP * steps))
    if number < warm_up:
        return (number + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (number - warm_up) / max(1, steps - warm_up)))


def flipped(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror each image along each axis, or not."""
    for axis in (2, 3):
        chosen = (torch.rand(len(images), generator=rng) < 0.5).to(images.device)
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def predict(network: nn.Module, images: Tensor, *, bf16: bool, batch: int = 64) -> list[float]:
    """Return the logit of a defect of each image, uint8 (N, C, H, W)."""
    with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits: list[float] = torch.cat([network(part) for part in images.split(batch)]).tolist()
    return logits
