"""Train a LoRA on images of a product, and save it as a folder that is a whole generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from diffusers import StableDiffusionPipeline
from torch import nn

from inout_aug.cache.fingerprint import digest_of, weights_digest
from inout_aug.sample import Image, Sample
from inout_aug.seeding import check_seed, stream
from inout_generators.common.checkpoints import CheckpointError, PathLike, read_json, some, write_json
from inout_generators.common.provenance import PROVENANCE, TRAINING, provenance
from inout_generators.common.sheets import write_sheet
from inout_generators.common.training import Preview, has_checkpoint, train
from inout_generators.lora.adapters import collect, set_alpha
from inout_generators.lora.base import load_base, scheduler_named
from inout_generators.lora.data import (
    Instance,
    check_size,
    choose_size,
    cut_off,
    describe,
    encode_images,
    prompts_of,
)
from inout_generators.lora.drawing import Task, draw
from inout_generators.lora.files import save_lora
from inout_generators.lora.folder import write_settings
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.net import LoRANet
from inout_generators.lora.objective import DreamBooth
from inout_generators.lora.prior import fill_prior, read_prior
from inout_generators.lora.prompts import Prompt, PromptsLike, as_prompts, check_length
from inout_generators.lora.recipe import Recipe

PRIOR = "prior"
KOHYA = "kohya.safetensors"

# what a training that goes on has in common with its beginning
_FIXED = ("weights", "images", "prior", "size", "seed", "processes")
# of a recipe, what can change on the way: the loop says what it is given, and the rest is for afterwards
_FREE = ("training", "epochs", "max_epochs", "alpha", "prompts", "previews", "gradient_checkpointing")
_LIBRARIES = ("peft", "transformers")
_PARTS = ("unet", "vae", "text_encoder")
_KEY = 16  # digits of a digest that are in a file name
_PREVIEWS, _PREVIEW_STEPS, _GUIDANCE = 4, 20, 7.5


def train_lora(
    instances: Sequence[Instance],
    recipe: Recipe,
    base: PathLike,
    out: Path,
    *,
    prompts: PromptsLike | None = None,
    size: tuple[int, int] | None = None,
    prior: Path | None = None,
    revision: str | None = None,
    variant: str | None = None,
    config: PathLike | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> LoRADiffusion:
    """Train a LoRA by DreamBooth, and save it as `LoRADiffusion.from_pretrained(out)` reads it, and for kohya's tools.

    `out/training/` gets `provenance.json` with all that decided the result, the prior images, the checkpoint to resume
    from, the losses, their curve and the previews.

    Args:
        instances: Images of the product.
        recipe: How; see `load_recipe`.
        base: See `load_base`.
        out: Folder for the result.
        prompts: What to ask for afterwards; by default the recipe's, else the captions of the defective images.
        size: (H, W) to train and to draw at; by default in the images' proportions, with as many pixels as the base is
            used to.
        prior: Folder of prior images of your own; by default the base draws them.
        revision: See `load_base`.
        variant: See `load_base`.
        config: See `load_base`.
        seed: Of the weights and of everything drawn.
        resume: Go on where an earlier training with the same `out` stopped.
        device: "cpu" keeps off the GPU.
        log: Takes lines of progress.

    Returns:
        The generator, as read from `out`.

    Raises:
        FileNotFoundError: The base or the prior images are not there.
        FileExistsError: `out` has a training already, and `resume` is not set.
        CheckpointError: The base is another model, or `out` has a training on something else.
        TrainingDiverged: The loss became NaN; the last good checkpoint is kept.
        ValueError: There is no image, a text is too long, or a size does not do.
    """
    if not instances:
        raise ValueError("no image of the product: there is nothing to learn from")
    if prior is not None and not recipe.prior_images:
        raise ValueError(f"prior images are given, {prior}, but the recipe has prior_images = 0, which leaves them out")
    prior_images = [] if prior is None else read_prior(prior)
    going_on = has_checkpoint(out / TRAINING, resume=resume)
    processes = PartialState(cpu=device == "cpu")
    named = str(Path(base).resolve() if Path(base).exists() else base)
    source: dict[str, Any] = {
        "revision": revision,
        "variant": variant,
        "config": None if config is None else str(config),
    }
    pipeline = load_base(named, **source)
    job = _Job(
        instances=instances,
        recipe=recipe,
        prompts=as_prompts(prompts if prompts is not None else recipe.prompts or prompts_of(instances)),
        size=_size(instances, pipeline, size),
        folder=out / TRAINING,
        seed=check_seed(seed),
        processes=processes,
        say=log if processes.is_main_process else _silent,
    )
    job.check(pipeline)
    weights = {name: weights_digest(getattr(pipeline, name)) for name in _PARTS}
    if prior is None and recipe.prior_images:
        prior_images = read_prior(job.draw_prior(named, source, weights))[: recipe.prior_images]
    decided = {"base": named, **source, **job.describe(weights, prior_images)}
    if going_on:
        _check_same(job.folder / PROVENANCE, decided)
    if processes.is_main_process:
        write_json(job.folder / PROVENANCE, decided)
    net, objective = job.prepare(pipeline, prior_images)
    train(
        net,
        objective,
        recipe.settings(len(instances), processes=processes.num_processes, seed=job.derived(1)),
        job.folder,
        resume=resume,
        preview=job.preview(pipeline),
        device=device,
        log=log,
    )
    if processes.is_main_process:
        lora = collect(pipeline.unet, pipeline.text_encoder, clip_skip=recipe.clip_skip)
        save_lora(out, lora)
        save_lora(out / KOHYA, lora, format="kohya")
        write_settings(
            out,
            base=named,
            **source,
            alpha=recipe.alpha,
            prompts=[asdict(prompt) for prompt in job.prompts] or None,
            size=list(job.size),
            provenance=decided,
        )
    processes.wait_for_everyone()
    return LoRADiffusion.from_pretrained(out, device=processes.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is to be learnt, and with whom."""

    instances: Sequence[Instance]
    recipe: Recipe
    prompts: Sequence[Prompt]
    size: tuple[int, int]
    folder: Path
    seed: int
    processes: PartialState
    say: Callable[[str], None]

    @property
    def dtype(self) -> torch.dtype:
        """Of the base."""
        return torch.bfloat16 if self.recipe.training.precision == "bf16" else torch.float32

    def derived(self, purpose: int) -> int:
        """Return a seed."""
        return int(stream(self.seed, purpose).integers(2**63))

    def check(self, pipeline: StableDiffusionPipeline) -> None:
        """Raise ValueError if a text is too long; else say what there is to learn from."""
        captions = {each.caption for each in self.instances}
        for text in (self.recipe.prior_prompt, *captions, *(prompt.text for prompt in self.prompts)):
            check_length(pipeline.tokenizer, text)
        lost = max(cut_off(each.image.shape[:2], self.size) for each in self.instances)
        self.say(
            f"{len(self.instances)} images at {self.size[0]}x{self.size[1]} pixels, at most {lost:.0%} of one cut off; "
            f"captions {some(sorted(captions))}"
        )

    def draw_prior(self, base: str, source: dict[str, Any], weights: dict[str, str]) -> Path:
        """Draw the prior images that are missing, and return their folder: that of this base and prompt alone."""
        recipe = self.recipe
        settings = {"clip_skip": recipe.clip_skip, "size": list(self.size), "dtype": str(self.dtype)}
        key = digest_of({**settings, "weights": weights, "prompt": recipe.prior_prompt})
        folder = self.folder / PRIOR / key[:_KEY]

        def load() -> LoRADiffusion:
            device = self.processes.device
            return LoRADiffusion.from_pretrained(
                base, **source, clip_skip=recipe.clip_skip, size=self.size, dtype=self.dtype, device=device
            )

        fill_prior(
            folder,
            recipe.prior_images,
            load,
            recipe.prior_prompt,
            self.size,
            process=self.processes.process_index,
            processes=self.processes.num_processes,
            log=self.say,
        )
        self.processes.wait_for_everyone()
        return folder

    def describe(self, weights: dict[str, str], prior: Sequence[Image]) -> dict[str, Any]:
        """Return all that decides the result, as JSON-able values."""
        return provenance(
            self.recipe,
            size=self.size,
            seed=self.seed,
            processes=self.processes.num_processes,
            libraries=_LIBRARIES,
            weights=weights,
            images=describe(self.instances),
            prior=describe([Instance(image, self.recipe.prior_prompt) for image in prior]),
        )

    def prepare(self, pipeline: StableDiffusionPipeline, prior: Sequence[Image]) -> tuple[LoRANet, DreamBooth]:
        """Encode the images, put an untrained LoRA on the base, and return it with its loss."""
        recipe = self.recipe
        pipeline.to(self.processes.device)
        known = encode_images(pipeline, [(each.image, each.caption) for each in self.instances], self.size)
        kept = encode_images(pipeline, [(image, recipe.prior_prompt) for image in prior], self.size) if prior else None
        for name in _PARTS:
            # after the encoding, which half precision would make coarser; diffusers' own `to` warns of any cast
            nn.Module.to(getattr(pipeline, name), self.dtype)
        net = LoRANet(pipeline.unet, pipeline.text_encoder, recipe, seed=self.derived(0))
        self.say(f"LoRA of {sum(p.numel() for p in net.parameters()):,} weights; {len(prior)} prior images")
        if recipe.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        objective = DreamBooth(
            instances=known,
            prior=kept,
            scheduler=scheduler_named("ddpm", pipeline.scheduler),
            batch=recipe.batch,
            shown=recipe.shown,
            repeats=recipe.repeats,
            prior_weight=recipe.prior_weight,
            snr_gamma=recipe.snr_gamma,
            seed=self.seed,
        )
        return net, objective

    def preview(self, pipeline: StableDiffusionPipeline) -> Preview | None:
        """Return what draws the prompts at the merge weight; None if there are none."""
        if not self.prompts:
            return None
        texts = [self.prompts[k % len(self.prompts)].text for k in range(_PREVIEWS)]
        tasks = [Task(text, seed=k, size=self.size) for k, text in enumerate(texts)]
        pipeline.scheduler = scheduler_named("ddim", pipeline.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        models = pipeline.unet, pipeline.text_encoder

        def draw_them(_: nn.Module, path: Path) -> None:
            set_alpha(self.recipe.alpha, *models)
            images = draw(
                pipeline,
                tasks,
                negative_prompt="",
                guidance_scale=_GUIDANCE,
                steps=_PREVIEW_STEPS,
                clip_skip=self.recipe.clip_skip,
            )
            set_alpha(1, *models)
            write_sheet(path.with_suffix(".png"), [Sample(image) for image, _ in images], names=texts, tile=256)

        return draw_them


def _size(
    instances: Sequence[Instance], pipeline: StableDiffusionPipeline, size: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the size to train at: that which was asked for, else one that suits the images and the base."""
    cell, unet = pipeline.vae_scale_factor, pipeline.unet
    if unet.config.in_channels != pipeline.vae.config.latent_channels:
        raise CheckpointError(
            f"the UNet takes {unet.config.in_channels} channels, latents have {pipeline.vae.config.latent_channels}: "
            "it is for inpainting. Train on the base that it was made from"
        )
    if size is not None:
        return check_size(size, cell)
    return choose_size([each.image.shape[:2] for each in instances], native=unet.config.sample_size * cell, cell=cell)


def _check_same(path: Path, decided: dict[str, Any]) -> None:
    """Raise if a training that is to go on was begun on something else."""
    before = read_json(path)
    recipe = before.get("recipe", {})
    changed = [name for name in _FIXED if before.get(name) != decided[name]]
    changed += [name for name, value in decided["recipe"].items() if name not in _FREE and recipe.get(name) != value]
    if changed:
        raise CheckpointError(
            f"{path.parent} has a training with other {', '.join(changed)}, which cannot go on with these. Give what "
            "was given then, or choose another folder with --out"
        )


def _silent(line: str) -> None:
    """Say nothing: another process does."""
