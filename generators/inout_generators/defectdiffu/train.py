"""Train DefectDiffu on several products at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from inout_aug.seeding import check_seed, stream
from inout_generators.common.checkpoints import PathLike, write_json
from inout_generators.common.pictures import Windows
from inout_generators.common.provenance import PROVENANCE, TRAINING, provenance
from inout_generators.common.training import Preview, Settings, train
from inout_generators.defectdiffu.data import Named, Products
from inout_generators.defectdiffu.drawing import Drawing, Task
from inout_generators.defectdiffu.generator import DefectDiffu
from inout_generators.defectdiffu.guidance import Asked
from inout_generators.defectdiffu.model import DefectDiffuTransformer, preset
from inout_generators.defectdiffu.objective import DefectDenoising, Learner
from inout_generators.defectdiffu.official import load_dit
from inout_generators.defectdiffu.recipe import NAMED, PIXELS, Recipe
from inout_generators.defectdiffu.reports import grid, write_picture
from inout_generators.defectdiffu.spaces import PixelSpace, Space, VAESpace
from inout_generators.defectdiffu.text import ClipText, NamedEmbedding, OpenClipText, TextEncoder

MOMENTS = "moments"

_OPEN_CLIP = "open_clip:"
_PREVIEWED, _PREVIEW_STEPS = (0.0, 1.0, 2.0), 20


def train_defectdiffu(
    named: Iterable[Named],
    recipe: Recipe,
    out: Path,
    *,
    size: tuple[int, int],
    crop: bool = False,
    init: PathLike | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> DefectDiffu:
    """Train on samples of several products, and save as `DefectDiffu.from_pretrained(out)` reads it.

    `out/training/` gets `provenance.json` with all that decided the result, the checkpoint to resume from, the losses,
    their curve and the previews.

    Args:
        named: Samples of all products; see `name_samples` and `read_manifest`.
        recipe: The net and how it is trained; see `load_recipe`.
        out: Folder for the result.
        size: Height and width of the pictures that the net sees.
        crop: See `Windows`.
        init: Weights of DiT to start from; see `load_dit`.
        seed: Of the weights and of everything drawn.
        resume: Go on where an earlier training with the same `out` stopped.
        device: "cpu" keeps off the GPU.
        log: Takes lines of progress.

    Returns:
        The generator, with the averaged weights.

    Raises:
        CheckpointError: `init` is damaged, or is of another net.
        FileExistsError: `out` has a training already, and `resume` is not set.
        TrainingDiverged: The loss became NaN; the last good checkpoint is kept.
        ValueError: The samples cannot be learnt from, see `Products`; or the size is no multiple of the net's cells.
    """
    windows = Windows(size=size, crop=crop, symmetry=recipe.symmetry, shift=recipe.shift, background=recipe.good)
    job = _Job.prepare(named, recipe, out, windows, seed)
    learner = job.fresh()
    job.check(learner.net)
    processes = PartialState(cpu=device == "cpu")
    for part in (job.space, learner.encoder):
        if isinstance(part, nn.Module):
            part.to(processes.device)
    # the file's name alone: where it was is nobody's business
    started = None if init is None else Path(init).name
    decided = {**job.describe(processes.num_processes), "init": started}
    loaded = None if init is None else load_dit(learner.net, init, size=[side // job.space.factor for side in size])
    if processes.is_main_process:
        _describe(job, learner, log)
        if loaded is not None:
            log(str(loaded))
        write_json(job.folder / PROVENANCE, decided)
    train(
        learner,
        job.objective(),
        job.settings(),
        job.folder,
        resume=resume,
        preview=job.preview(learner),
        device=device,
        log=log,
    )
    generator = DefectDiffu(
        learner.net,
        learner.encoder,
        job.space,
        products=job.shown(),
        size=size,
        crop=crop,
        null_product=recipe.drop.null_product,
        schedule=recipe.schedule,
        device=device,
        provenance=decided,
    )
    if processes.is_main_process:
        generator.save_pretrained(out)
    processes.wait_for_everyone()
    return generator


@dataclass(frozen=True, slots=True)
class _Job:
    """What is trained, and on what."""

    products: Products
    recipe: Recipe
    space: Space
    folder: Path
    seed: int

    @classmethod
    def prepare(cls, named: Iterable[Named], recipe: Recipe, out: Path, windows: Windows, seed: int) -> _Job:
        products = Products(named, windows)
        if recipe.space == PIXELS:
            space: Space = PixelSpace(products.channels)
        else:
            # moments of pictures that never come again are not worth keeping
            fixed = not windows.crop and windows.symmetry == "none" and not windows.shift
            space = VAESpace.from_pretrained(recipe.space, cache=out / TRAINING / MOMENTS if fixed else None)
        return cls(products, recipe, space, out / TRAINING, check_seed(seed))

    def check(self, net: DefectDiffuTransformer) -> None:
        """Raise ValueError if pictures are not of whole cells."""
        cell = self.space.factor * int(net.config["patch"])
        height, width = self.products.windows.size
        if height % cell or width % cell:
            raise ValueError(f"--size is made of multiples of {cell} pixels here; got {height}x{width}")

    def describe(self, processes: int) -> dict[str, Any]:
        """Return all that decides the result, as JSON-able values."""
        windows, data = self.products.windows, self.products.describe()
        return provenance(
            self.recipe, size=windows.size, crop=windows.crop, seed=self.seed, processes=processes, data=data
        )

    def fresh(self) -> Learner:
        """Return an untrained net with its text encoder, the same for the same seed."""
        # the user's own random state stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._derived(0))
            text = self._text()
            config = {**self.recipe.net, "channels": self.space.channels, "text_dim": text.dim}
            try:
                net = preset(config.pop("preset"), **config)
            except TypeError as error:
                raise ValueError(f"[net] of the recipe: {error}") from None
        return Learner(net, text)

    def objective(self) -> DefectDenoising:
        """Return the loss."""
        keep = () if self.recipe.null_good_only else self.products.good_only
        return DefectDenoising(
            products=self.products,
            space=self.space,
            batch=self.recipe.batch,
            drop=replace(self.recipe.drop, keep=keep),
            weights=self.recipe.loss,
            schedule=self.recipe.schedule,
        )

    def shown(self) -> dict[str, list[str]]:
        """Return the products, with the defects that each was seen with."""
        return {
            product: [defect for other, defect in self.products.pairs if other == product]
            for product in self.products.names
        }

    def preview(self, learner: Learner) -> Preview:
        """Return what draws every product with every defect at several strengths."""

        def draw(_: nn.Module, path: Path) -> None:
            # of its own, since a generator would freeze the net
            drawing = Drawing(
                learner.net,
                learner.encoder,
                self.space,
                schedule=self.recipe.schedule,
                sampler="dpm++",
                steps=_PREVIEW_STEPS,
                mode="eq4",
                null_product=self.recipe.drop.null_product,
                min_area=1,
                batch_size=len(_PREVIEWED),
            )
            size = self.products.windows.size
            rows = {
                f"{defect} {product}": drawing.draw(
                    [
                        Task(asked=Asked(product, defect, w_defect=w), key=(self.seed, number), size=size)
                        for w in _PREVIEWED
                    ]
                )
                for number, product in enumerate(self.products.names)
                for defect in self.products.defects
            }
            write_picture(path.with_suffix(".png"), grid(rows, [f"w = {w:g}" for w in _PREVIEWED]))

        return draw

    def settings(self) -> Settings:
        """Return how the net is trained."""
        return replace(self.recipe.training, seed=self._derived(1))

    def _text(self) -> TextEncoder:
        name = self.recipe.text
        if name == NAMED:
            text: TextEncoder = NamedEmbedding(
                products=self.products.names,
                defects=self.products.defects,
                dim=self.recipe.text_dim,
                null_product=self.recipe.drop.null_product,
            )
            return text
        if name.startswith(_OPEN_CLIP):
            return OpenClipText(name.removeprefix(_OPEN_CLIP))
        return ClipText.from_pretrained(name)

    def _derived(self, purpose: int) -> int:
        return int(stream(self.seed, purpose).integers(2**63))


def _describe(job: _Job, learner: Learner, log: Callable[[str], None]) -> None:
    """Say what there is to learn, and how large the net is."""
    height, width = job.products.windows.size
    pairs = ", ".join(f"{defect} {product}" for product, defect in job.products.pairs)
    good_only = ", ".join(job.products.good_only)
    log(
        f"{pairs}{f'; good ones only of {good_only}' if good_only else ''}; at {height}x{width} pixels, "
        f"{sum(weight.numel() for weight in learner.parameters()):,} weights"
    )
