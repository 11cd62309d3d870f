"""Stable Diffusion as published: from a folder, the Hugging Face Hub or a single file; whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from inout_generators.common.checkpoints import CheckpointError, PathLike, read_tensors, some

# they share parts: an inpainting checkpoint differs in its UNet's first layer
KINDS = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline")
XL_KINDS = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline")

# name -> class in diffusers, and what is set in it
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    # clip_sample cuts latents, which are not images, to [-1, 1]
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++_karras": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
_PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
_XL_PARTS = {**_PARTS, "text_encoder_2": CLIPTextModelWithProjection}
_KEPT = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "prediction_type", "trained_betas")


def load_base(
    base: PathLike,
    *,
    revision: str | None = None,
    variant: str | None = None,
    config: PathLike | None = None,
    xl: bool = False,
) -> StableDiffusionPipeline | StableDiffusionXLInpaintPipeline:
    """Load a Stable Diffusion 1.x or 2.x, on the CPU, without safety checker.

    Args:
        base: A folder in diffusers' layout, the name of a repository of the Hugging Face Hub, `owner/name`, or one
            safetensors file with all weights, as web interfaces use.
        revision: Branch, tag or commit of the repository.
        variant: Of the files, such as fp16.
        config: For a single file: the folder, or the repository, with the settings and the tokenizer that it lacks; by
            default that of the model that diffusers takes it for, from the Hub.
        xl: Load SDXL too, for inpainting; folders and repositories only.

    Raises:
        FileNotFoundError: There is no such file, folder or repository, or the Hub cannot be reached.
        CheckpointError: It is another model, such as SDXL, or a pickle, or its weights are damaged or do not fit.
    """
    path = Path(base).expanduser()
    with _without_bars():
        if path.is_file():
            return _from_file(path, config)
        if path.is_dir() or is_repository(base):
            return _from_folder(str(path if path.is_dir() else base), revision, variant, xl)
    raise FileNotFoundError(
        f"there is no base at {base}; expected a folder in diffusers' layout, a .safetensors file, or a repository "
        "of the Hugging Face Hub, owner/name"
    )


def is_repository(name: PathLike) -> bool:
    """Return whether this can be the name of a repository of the Hub, which is no path here.

    Example:
        >>> is_repository("stable-diffusion-v1-5/stable-diffusion-v1-5"), is_repository("./checkpoints/tile")
        (True, False)
    """
    text = str(name)
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith((".safetensors", "/"))


def scheduler_named(name: str, like: Any) -> Any:
    """Return a scheduler of diffusers for the noise that a base was trained with.

    Args:
        name: One of `SCHEDULERS`.
        like: The base's own scheduler.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler is one of {', '.join(SCHEDULERS)}; got {name!r}")
    kind, settings = SCHEDULERS[name]
    trained = {key: like.config[key] for key in _KEPT if key in like.config}
    return getattr(diffusers, kind)(**trained, **settings)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the libraries from drawing bars for what they read from disk; those of downloads are the hub's own."""
    bars, hook = diffusers.utils.logging, getattr(transformers.logging, "set_tqdm_hook", None)
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    # transformers' own switch would turn the hub's bars off too
    before = hook and hook(lambda make, args, options: make(*args, **options, disable=True))
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
        if hook:
            hook(before)


def _from_folder(base: str, revision: str | None, variant: str | None, xl: bool) -> Any:
    source: dict[str, Any] = {"revision": revision}
    where = Path(base)
    try:
        kind = StableDiffusionPipeline.load_config(base, **source).get("_class_name")
        if kind not in (KINDS + XL_KINDS if xl else KINDS):
            raise CheckpointError(_other(base, str(kind)))
        source |= {"variant": variant, "use_safetensors": True}
        wanted = _XL_PARTS if kind in XL_KINDS else _PARTS
        parts = {name: _part(part, base, name, source) for name, part in wanted.items()}
        if kind in XL_KINDS:
            # a watermark would change pixels outside of any mask
            return StableDiffusionXLInpaintPipeline.from_pretrained(base, **source, **parts, add_watermarker=False)
        return StableDiffusionPipeline.from_pretrained(
            base,
            **source,
            **parts,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        )
    except OSError as error:
        if not where.is_dir():
            raise FileNotFoundError(_unreachable(base, error)) from error
        if pickles := [str(file.relative_to(where)) for part in _XL_PARTS for file in where.glob(f"{part}/*.bin")]:
            raise CheckpointError(
                f"{base} has pickles, {some(pickles)}, where safetensors are expected; they can run any code when they "
                "are read. Most repositories have both: fetch *.safetensors"
            ) from error
        raise FileNotFoundError(f"{base} is no Stable Diffusion in diffusers' layout: {error}") from error


def _part(kind: Any, base: str, name: str, source: dict[str, Any]) -> Any:
    """Load one model, and refuse weights that fit it only in part, which the libraries fill with random numbers."""
    try:
        part, told = kind.from_pretrained(base, subfolder=name, output_loading_info=True, **source)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"the {name} of {base} does not fit its settings: {error}") from error
    problems = {key: sorted(map(str, told.get(key) or ())) for key in ("missing_keys", "unexpected_keys")}
    if any(problems.values()):
        listed = "; ".join(f"{key.replace('_', ' ')} {some(keys)}" for key, keys in problems.items() if keys)
        raise CheckpointError(f"the {name} of {base} does not fit its settings: {listed}")
    return part


def _from_file(path: Path, config: PathLike | None) -> StableDiffusionPipeline:
    if path.suffix != ".safetensors":
        read_tensors(path)
    with safe_open(path, "pt") as file:
        keys = list(file.keys())
    if any(key.startswith("conditioner.embedders.") for key in keys):
        raise CheckpointError(_other(str(path), "StableDiffusionXLPipeline"))
    if not any(key.startswith("model.diffusion_model.") for key in keys):
        raise CheckpointError(
            f"{path} is no Stable Diffusion: expected keys such as model.diffusion_model.…; got {some(keys)}. A LoRA "
            "is given as lora="
        )
    try:
        return StableDiffusionPipeline.from_single_file(
            str(path), config=None if config is None else str(config), safety_checker=None, feature_extractor=None
        )
    except OSError as error:
        raise FileNotFoundError(
            f"{path} holds neither settings nor tokenizer, and they could not be had from the Hub: {error}. Give a "
            "folder with them as config="
        ) from error


def _other(base: str, kind: str) -> str:
    name = "SDXL" if "XL" in kind else kind
    return (
        f"{base} is {name}; expected Stable Diffusion 1.x or 2.x ({KINDS[0]}). LoRADiffusion, its LoRA settings and "
        "the published scenarios are for these; LoRAInpaint takes SDXL in diffusers' layout too"
    )


def _unreachable(base: str, error: OSError) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return (
        f"{base} is no folder here, and could not be had from the Hugging Face Hub: {str(error).splitlines()[0]} Give "
        "a local folder in diffusers' layout or a .safetensors file instead; or set HF_HOME (or HF_HUB_CACHE) to a "
        f"cache that has it, where a machine with a network has fetched it; it is {HF_HUB_CACHE} now"
    )
