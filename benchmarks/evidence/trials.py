"""Trains and scores the cells of a grid, several at once, as long as there is time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from evidence.arms import draws, members, wrap
from evidence.feed import Feed, stacked
from evidence.images import Images
from evidence.leaks import refuse_leaks, refuse_other_product
from evidence.networks import build
from evidence.protocol import Cell, Recipe
from evidence.runs import Run
from evidence.training import predict, train
from inout_aug.cache import CachedSampler
from inout_aug.plugin import Member, fingerprint_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all cells have in common but the images.

    Attributes:
        recipe: How networks are trained.
        model: Name of the network.
        weights: It starts from; see `networks.build`.
        cache: Folder of in-distribution samples; `{scenario}` and `{seed}` in it stand for those of the cell.
        textures: Folder of pictures for MemSeg; None for structure alone.
        device: To compute on.
    """

    recipe: Recipe
    model: str
    weights: str | None
    cache: str | None
    textures: str | None
    device: torch.device


class Trials:
    """Runs cells on the same images.

    Args:
        training: To draw shots from.
        scored: Images to score.
        setup: The rest.
    """

    def __init__(self, training: Images, scored: Images, setup: Setup) -> None:
        self._training, self._scored, self.setup = training, scored, setup
        self._pixels = stacked([item["image"] for item in scored.items]).to(setup.device)
        self._checked: set[str] = set()

    def makers(self, cell: Cell, real: Images) -> list[Member]:
        """Return new pasters and samplers, which no other thread has; of caches, whether they may be used was checked.

        Raises:
            FileNotFoundError: There is no such cache.
            ValueError: The method needs a cache and none is given, or it shows scored images, or another product.
        """
        made = members(cell, real, self.setup.cache, self.setup.textures)
        for member in made:
            if isinstance(member, CachedSampler) and member.fingerprint not in self._checked:
                refuse_other_product(self._training, self._scored, member.cache)
                refuse_leaks(self._scored, member.cache)
                self._checked.add(member.fingerprint)
        return made

    def made_by(self, cell: Cell) -> list[str]:
        """Return the fingerprints of what makes a cell's synthetic samples."""
        return [fingerprint_of(member) for member in self.makers(cell, self._training.shots(cell.shots, cell.seed))]

    def __call__(self, cell: Cell) -> Run:
        """Train and score one network."""
        start, computed = time.perf_counter(), time.thread_time()
        recipe, device = self.setup.recipe, self.setup.device
        real = self._training.shots(cell.shots, cell.seed)
        makers = self.makers(cell, real)
        dataset = wrap(real, cell, recipe, makers)
        sampler = draws(dataset, real, cell, recipe)
        feed = Feed(dataset, real, sampler, rounds=recipe.epochs, batch=recipe.batch, device=device)
        rate = recipe.fine_tuning_rate if self.setup.weights else recipe.learning_rate
        stream = torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()
        with stream:
            network = build(self.setup.model, self.setup.weights, cell.seed).to(device)
            trained = train(network, feed, len(feed), recipe, highest_rate=rate, seed=cell.seed)
            logits = predict(trained, self._pixels, bf16=recipe.bf16)
        made_by = [fingerprint_of(member) for member in makers]
        return Run(cell, logits, made_by, time.perf_counter() - start, time.thread_time() - computed)


def run_all(cells: Iterable[Cell], run: Callable[[Cell], Run], *, at_once: int, seconds: float) -> Iterator[Run]:
    """Yield the runs as they end; no cell begins that would not end in time, as long as the longest one took.

    Each has one thread, so that figures do not depend on how many run at once.

    Args:
        cells: In order.
        run: Trains and scores one.
        at_once: How many run side by side.
        seconds: In which all must end, as far as can be told.
    """
    start, longest = time.perf_counter(), 0.0
    left = iter(cells)
    with ThreadPoolExecutor(at_once) as pool:
        running: set[Future[Run]] = set()
        try:
            while True:
                while len(running) < at_once and time.perf_counter() - start + longest <= seconds:
                    cell = next(left, None)
                    if cell is None:
                        break
                    running.add(pool.submit(run, cell))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    longest = max(longest, future.result().seconds)
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def scored_images(images: Images) -> Sequence[tuple[str, str, int]]:
    """Return folder and name, kind and label of each image."""
    names = ("/".join(item["path"].replace("\\", "/").split("/")[-3:]) for item in images.items)
    return list(zip(names, images.kind, images.targets, strict=True))
