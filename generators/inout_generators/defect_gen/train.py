"""Train both nets of Defect-Gen on a handful of defects, in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from inout_aug.sample import Sample
from inout_aug.seeding import check_seed, stream
from inout_generators.common.checkpoints import write_json
from inout_generators.common.pictures import Windows
from inout_generators.common.provenance import PROVENANCE, TRAINING, provenance
from inout_generators.common.schedule import CosineSchedule
from inout_generators.common.sheets import write_sheet
from inout_generators.common.training import Preview, Settings, train
from inout_generators.defect_gen.data import Shots
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.generator import DefectGen
from inout_generators.defect_gen.objective import Denoising
from inout_generators.defect_gen.recipe import NETS, Recipe
from inout_generators.defect_gen.sampling import sample
from inout_generators.defect_gen.unet import DefectGenUNet, preset

_PREVIEW_STEPS = 20
_PREVIEWS = 16


def train_defect_gen(
    samples: Sequence[Sample],
    classes: Sequence[str],
    recipe: Recipe,
    out: Path,
    *,
    size: tuple[int, int],
    crop: bool = True,
    normal: Iterable[Sample] = (),
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> DefectGen:
    """Train the large net, then the local one, and save the pair as `DefectGen.from_pretrained(out)` reads it.

    `out/training/` gets `provenance.json` with all that decided the result, and for each net the checkpoint to resume
    from, the losses, their curve and the previews.

    Args:
        samples: Defective ones, with masks of the ids 1, 2, …
        classes: Names of these ids.
        recipe: The nets and how they are trained; see `load_recipe`.
        out: Folder for the result.
        size: Height and width of the pictures that the nets see.
        crop: See `Windows`.
        normal: Good samples, for backgrounds.
        seed: Of the weights and of everything drawn.
        resume: Go on where an earlier training with the same `out` stopped.
        device: "cpu" keeps off the GPU.
        log: Takes lines of progress.

    Returns:
        The generator, with the averaged weights.

    Raises:
        FileExistsError: `out` has a training already, and `resume` is not set.
        TrainingDiverged: The loss became NaN; the last good checkpoint is kept.
        ValueError: The samples cannot be learnt from; see `Shots`.
    """
    windows = Windows(size=size, crop=crop, symmetry=recipe.symmetry, shift=recipe.shift, background=recipe.background)
    shots = Shots(samples, classes, windows, normal=normal)
    job = _Job(
        shots, Encoding(shots.channels, shots.classes, recipe.mask_range), recipe, out / TRAINING, check_seed(seed)
    )
    processes = PartialState(cpu=device == "cpu")
    decided = job.describe(processes.num_processes)
    if processes.is_main_process:
        log(
            f"{len(samples)} defective images of {', '.join(classes)}, {shots.good} good ones, at "
            f"{size[0]}x{size[1]} pixels"
        )
        write_json(out / TRAINING / PROVENANCE, decided)
    nets: dict[str, DefectGenUNet] = {}
    for name in NETS:
        net = nets[name] = job.fresh(name)
        if processes.is_main_process:
            log(f"{name} net: {sum(p.numel() for p in net.parameters()):,} weights, timesteps {job.timesteps(name)}")
        train(
            net,
            job.objective(name),
            job.settings(name),
            out / TRAINING / name,
            resume=resume,
            preview=job.preview(nets),
            device=device,
            log=log,
        )
    generator = DefectGen(
        nets["large"],
        nets["local"],
        job.encoding,
        size=size,
        crop=crop,
        switch_t=recipe.switch_t,
        device=device,
        provenance=decided,
    )
    if processes.is_main_process:
        generator.save_pretrained(out)
    processes.wait_for_everyone()
    return generator


@dataclass(frozen=True, slots=True)
class _Job:
    """What both nets have in common."""

    shots: Shots
    encoding: Encoding
    recipe: Recipe
    folder: Path
    seed: int

    def describe(self, processes: int) -> dict[str, Any]:
        """Return all that decides the result, as JSON-able values."""
        windows, data = self.shots.windows, self.shots.describe()
        return provenance(
            self.recipe, size=windows.size, crop=windows.crop, seed=self.seed, processes=processes, data=data
        )

    def fresh(self, name: str) -> DefectGenUNet:
        """Return an untrained net, the same for the same seed; the user's own random state stays as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._derived(name, 0))
            return preset(
                self.recipe.net(name).preset,
                channels=self.encoding.channels,
                classes=len(self.shots.classes) if self.recipe.conditional else 0,
            )

    def timesteps(self, name: str) -> tuple[int, int]:
        """Return the first timestep that a net learns, and the one after the last."""
        total, switch_t = CosineSchedule().steps, self.recipe.switch_t
        if self.recipe.timesteps == "all":
            return 0, total
        return (switch_t, total) if name == "large" else (0, switch_t)

    def objective(self, name: str) -> Denoising:
        """Return the loss of a net."""
        return Denoising(
            shots=self.shots,
            encoding=self.encoding,
            batch=self.recipe.net(name).batch,
            timesteps=self.timesteps(name),
            hidden=self.recipe.hidden if self.recipe.conditional else None,
        )

    def settings(self, name: str) -> Settings:
        """Return how a net is trained."""
        return replace(self.recipe.net(name).training, seed=self._derived(name, 1))

    def preview(self, nets: Mapping[str, nn.Module]) -> Preview | None:
        """Return what draws samples of the nets that there are; None as long as these cannot sample."""
        if "local" not in nets and self.recipe.timesteps == "own":
            return None
        large, local = nets["large"], nets.get("local", nets["large"])

        def draw(_: nn.Module, path: Path) -> None:
            known = len(self.shots.classes)
            classes = [1 + k % known for k in range(_PREVIEWS)] if self.recipe.conditional else None
            encoded = sample(
                large,
                local,
                self.encoding,
                size=self.shots.windows.size,
                seeds=[(self.seed, k) for k in range(_PREVIEWS)],
                steps=_PREVIEW_STEPS,
                switch_t=self.recipe.switch_t,
                defect_class=classes,
            )
            images, masks = self.encoding.decode(encoded, self.shots.dtype)
            write_sheet(path.with_suffix(".png"), map(Sample, images, masks))

        return draw

    def _derived(self, name: str, purpose: int) -> int:
        return int(stream(self.seed, NETS.index(name), purpose).integers(2**63))
