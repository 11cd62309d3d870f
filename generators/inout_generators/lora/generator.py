"""Stable Diffusion with a LoRA as a `Generator`: whole images of a part with a defect, from prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from inout_aug.cache.fingerprint import fingerprint
from inout_aug.plugin import Request
from inout_aug.sample import Image, Mask, Origin, Params, Sample
from inout_aug.seeding import stream
from inout_generators.common.batches import FullBatches
from inout_generators.common.checkpoints import PathLike
from inout_generators.lora.adapters import LoRA, attach, check_alpha, collect, detach, fuse, set_alpha
from inout_generators.lora.attention import AttentionMasks
from inout_generators.lora.base import load_base, scheduler_named
from inout_generators.lora.checks import check_request, check_settings
from inout_generators.lora.drawing import PROMPT, Masker, Task, draw, drawn_size, fitted
from inout_generators.lora.files import read_lora, save_lora
from inout_generators.lora.folder import read_settings, write_settings
from inout_generators.lora.prompts import Prompt, PromptsLike, as_prompts, check_length, choose, classes_of

Offload: TypeAlias = Literal["none", "model", "sequential"]

# raised whenever the same weights and settings give other pixels
_VERSION = "1"
_NETS = ("unet", "vae", "text_encoder", "text_encoder_2")


class LoRADiffusion:
    """In&Out's own in-distribution generator: Stable Diffusion, told by a LoRA what the part looks like.

    Rippa et al., "In & Out: synthetic defects for surface inspection": DreamBooth with LoRA-c3Lier, merged at weight
    0.60 after training on normal images alone (zero-shot), 0.95 on five defects, 0.80 on all. Without a LoRA it draws
    what the base knows.

    A sample depends on its own request alone, whatever batch it is drawn in; on a GPU, or when memory ran out, up to
    the last bits of the nets' arithmetic.

    Args:
        pipeline: Stable Diffusion 1.x or 2.x. It is moved and changed, not copied; a safety checker is left out.
        prompts: See `as_prompts`; the first class named is class 1. None leaves the prompt to each request.
        lora: As `read_lora` returns it; None for the base alone.
        alpha: Merge weight of the LoRA, in [0, 1].
        negative_prompt: What is not wanted.
        guidance_scale: Weight of the prompt; 1 and less is no guidance.
        steps: Of the sampler.
        scheduler: One of `SCHEDULERS`; None keeps the pipeline's.
        clip_skip: Last layers of the text encoder left out, as diffusers counts them; None for what the LoRA was
            trained with, else 0.
        size: (H, W) drawn at, multiples of the latents' pixels, 8, and resized to what is asked for. None draws at the
            size asked for, padded to such multiples. SD 1.5 knows about 512×512 pixels in all: 200×600 parts are drawn
            at 768×256.
        masker: Makes masks, which are rough; "attention" for `AttentionMasks()`, None for no masks. Exact ones come
            with `LoRAInpaint`.
        batch_size: Images drawn at a time; by default 1 on a CPU, else 8. Halved when memory runs out.
        device: By default a GPU if there is one.
        dtype: Of the models: float32, or bfloat16 or float16 on a GPU; as torch's dtype or its name.
        fuse: Add the LoRA to the weights, which is faster, and cannot be undone to the last bit.
        slicing: Attention and autoencoder in slices: less memory, more time.
        offload: What waits in the computer's memory while a GPU works: nothing, the models that are not at work, or
            each layer that is not.
        compile: Compile the UNet and record CUDA graphs, on a GPU.
        provenance: What was trained on what, as JSON-able values.

    Attributes:
        masks: Whether it makes masks.
        defect_classes: Number of defect classes.

    Raises:
        ValueError: A setting is out of range, a prompt is too long, or the pipeline is for inpainting.

    Example:
        >>> from inout_generators.lora.tiny import tiny_stable_diffusion
        >>> generator = LoRADiffusion(tiny_stable_diffusion(), {"skt background scratched": "scratch"}, steps=2)
        >>> generator.generate([Request(seed=0, height=50, width=70)])[0].size
        (50, 70)
    """

    name = "LoRADiffusion"
    hosts = False
    # what tasks that are drawn together have in common
    _alike: tuple[str, ...] = ("size",)

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        prompts: PromptsLike | None = None,
        *,
        lora: LoRA | None = None,
        alpha: float = 0.6,
        negative_prompt: str = "",
        guidance_scale: float = 7.5,
        steps: int = 50,
        scheduler: str | None = "ddim",
        clip_skip: int | None = None,
        size: Sequence[int] | None = None,
        masker: Masker | Literal["attention"] | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str = torch.float32,
        fuse: bool = False,
        slicing: bool = False,
        offload: Offload = "none",
        compile: bool = False,  # noqa: A002 - torch's word
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.prompts: tuple[Prompt, ...] = () if prompts is None else as_prompts(prompts)
        self.negative_prompt, self.guidance_scale, self.steps = negative_prompt, float(guidance_scale), steps
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.masker = AttentionMasks() if masker == "attention" else masker
        self.fuse, self.offload = fuse, offload
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # the attribute dtype would say that of the images, to a cache
        self.precision = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        self.provenance = dict(provenance or {})
        self._clip_skip = clip_skip
        check_settings(self)
        if scheduler is not None:
            pipeline.scheduler = scheduler_named(scheduler, pipeline.scheduler)
        self.scheduler = scheduler
        if getattr(pipeline, "safety_checker", None) is not None:
            pipeline.register_modules(safety_checker=None)
        pipeline.set_progress_bar_config(disable=True)
        for part in self._nets().values():
            # diffusers' models warn of any cast, even to what they are
            (part if part.dtype == self.precision else part.to(self.precision)).eval().requires_grad_(False)
        if slicing:
            pipeline.enable_attention_slicing()
            pipeline.vae.enable_slicing()
        if compile:
            pipeline.unet.compile(mode="reduce-overhead")
        self._batches: FullBatches[Task, tuple[Any, Mask | None]] = FullBatches(
            self._draw, alike=attrgetter(*self._alike), batch_size=batch_size or (1 if self.device.type == "cpu" else 8)
        )
        self.alpha, self.lora_clip_skip = 0.0, 0
        if lora is None:
            self._place()
        else:
            self.load_lora(lora, alpha=alpha)

    def __repr__(self) -> str:
        lora = f"LoRA at {self.alpha}" if self.alpha else "no LoRA"
        names = ", ".join(classes_of(self.prompts)) or "by prompt"
        return f"{self.name}({names}; {lora}, {self.scheduler or 'own scheduler'} in {self.steps} steps)"

    @property
    def masks(self) -> bool:
        """Whether it makes masks."""
        return self.masker is not None

    @property
    def defect_classes(self) -> int:
        """Number of defect classes that its prompts name, at least 1."""
        return max(1, len(classes_of(self.prompts)))

    @property
    def clip_skip(self) -> int:
        """Last layers of the text encoder left out: what was asked for, else what the LoRA was trained with."""
        return self.lora_clip_skip if self._clip_skip is None else self._clip_skip

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of code version, weights and settings."""
        nets = self._nets()
        return fingerprint(
            type(self),
            version=_VERSION,
            weights={f"{name}.{key}": value for name in nets for key, value in nets[name].state_dict().items()},
            params=self._params(),
            libraries=("torch", "diffusers", "transformers", "numpy", "opencv-python-headless"),
        )

    def _params(self) -> dict[str, Any]:
        """Return the settings that change a pixel."""
        return {
            "prompts": [[prompt.text, prompt.defect_class, prompt.weight] for prompt in self.prompts],
            "negative_prompt": self.negative_prompt,
            "guidance_scale": self.guidance_scale,
            "steps": self.steps,
            "scheduler": [type(self.pipeline.scheduler).__name__, self.pipeline.scheduler.to_json_string()],
            "clip_skip": self.clip_skip,
            "size": self.size,
            "alpha": self.alpha,
            "masker": repr(self.masker),
            "dtype": str(self.precision),
        }

    def _nets(self) -> dict[str, Any]:
        parts = {name: getattr(self.pipeline, name, None) for name in _NETS}
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def from_pretrained(
        cls,
        base: PathLike,
        *,
        lora: PathLike | None = None,
        revision: str | None = None,
        variant: str | None = None,
        config: PathLike | None = None,
        **settings: Any,
    ) -> Self:
        """Load a base, and a LoRA for it.

        Args:
            base: See `load_base`; or a folder that `save_pretrained` or `inout-aug train lora` wrote, which names base,
                LoRA and settings.
            lora: See `read_lora`.
            revision: See `load_base`.
            variant: See `load_base`.
            config: See `load_base`.
            settings: Of the constructor, such as `alpha`, `prompts` or `device`, where they are to differ.

        Raises:
            FileNotFoundError: Base or LoRA is not there, or the Hub cannot be reached; the message says what to do.
            CheckpointError: One is a pickle or damaged, or the LoRA is for another base.
            ValueError: See the constructor.
        """
        if "alpha" in settings:
            check_alpha(settings["alpha"])
        if (stored := read_settings(base)) is not None:
            lora, base = lora or base, stored.pop("base")
            kept = [stored.pop(name, None) for name in ("revision", "variant", "config")]
            revision, variant, config = revision or kept[0], variant or kept[1], config or kept[2]
            settings = {**stored, **settings}
        if lora is not None and not Path(lora).exists():
            raise FileNotFoundError(f"there is no LoRA at {lora}; expected a .safetensors file, or a folder with one")
        pipeline = load_base(base, revision=revision, variant=variant, config=config, xl=cls.hosts)
        read = None if lora is None else read_lora(lora, pipeline.unet, pipeline.text_encoder)
        config = None if config is None else str(config)
        provenance = {"base": str(base), "revision": revision, "variant": variant, "config": config}
        given = settings.pop("provenance", None) or {}
        return cls(pipeline, lora=read, provenance={**provenance, **given}, **settings)

    def save_pretrained(self, path: PathLike, *, base: PathLike | None = None) -> None:
        """Write a folder: the LoRA, and the settings and the name of the base that it is used with.

        Args:
            path: The folder; made if need be.
            base: Folder, repository or file of the base; by default where it was loaded from.

        Raises:
            ValueError: There is no LoRA, or the base has no name.
            OSError: It cannot be written.
        """
        source = base or self.provenance.get("base")
        lora = collect(self.pipeline.unet, self.pipeline.text_encoder, clip_skip=self.lora_clip_skip)
        if not (lora.unet or lora.text_encoder) or source is None:
            raise ValueError("a folder has a LoRA and the name of its base; give base=, or load a LoRA first")
        save_lora(path, lora)
        write_settings(
            path,
            base=str(source),
            revision=self.provenance.get("revision"),
            variant=self.provenance.get("variant"),
            config=self.provenance.get("config"),
            alpha=self.alpha,
            prompts=[{"text": p.text, "defect_class": p.defect_class, "weight": p.weight} for p in self.prompts]
            or None,
            negative_prompt=self.negative_prompt,
            guidance_scale=self.guidance_scale,
            steps=self.steps,
            scheduler=self.scheduler,
            clip_skip=self._clip_skip,
            size=None if self.size is None else list(self.size),
            provenance=self.provenance,
        )

    def load_lora(self, lora: LoRA | PathLike, *, alpha: float = 0.6) -> None:
        """Use another LoRA, or one for the first time.

        Args:
            lora: As `read_lora` takes or returns it.
            alpha: Merge weight, in [0, 1].

        Raises:
            FileNotFoundError: It is not there.
            CheckpointError: It is for another base.
            ValueError: Alpha is out of range; the LoRA of before stays. After another error, the base is alone.
        """
        check_alpha(alpha)
        unet, text_encoder = self.pipeline.unet, self.pipeline.text_encoder
        self._detach()
        read = lora if isinstance(lora, LoRA) else read_lora(lora, unet, text_encoder)
        attach(read, unet, text_encoder, alpha=alpha)
        if self.fuse:
            fuse(unet, text_encoder)
        self.alpha, self.lora_clip_skip = alpha, read.clip_skip or 0
        self._place()

    def unload_lora(self) -> None:
        """Draw what the base alone knows again; the memory of the LoRA is given back."""
        self._detach()
        self._place()

    def set_alpha(self, alpha: float) -> None:
        """Merge the LoRA at another weight.

        Raises:
            ValueError: Alpha is not in [0, 1], or the LoRA is fused.
        """
        set_alpha(alpha, self.pipeline.unet, self.pipeline.text_encoder)
        self.alpha = alpha
        vars(self).pop("fingerprint", None)

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample per request, in order: uint8, whole images, grey ones from colour by luma.

        Raises:
            ValueError: A request cannot be met, or its prompt is too long; the message says which and why.
        """
        for request in requests:
            check_request(self, request)
        tasks = [self._task(request) for request in requests]
        drawn = self._batches(tasks)
        return [self._sample(*each) for each in zip(requests, tasks, drawn, strict=True)]

    def _task(self, request: Request) -> Task:
        size = self.size or drawn_size((request.height, request.width), self.pipeline.vae_scale_factor)
        return Task(self._prompt(request), request.seed, size)

    def _prompt(self, request: Request) -> str:
        if request.prompt is not None:
            check_length(self.pipeline.tokenizer, request.prompt)
            return request.prompt
        return choose(self.prompts, request.defect_class, stream(request.seed, PROMPT))

    def _draw(self, tasks: Sequence[Task]) -> list[tuple[Any, Mask | None]]:
        return draw(
            self.pipeline,
            tasks,
            negative_prompt=self.negative_prompt,
            guidance_scale=self.guidance_scale,
            steps=self.steps,
            clip_skip=self.clip_skip,
            masker=self.masker,
        )

    def _sample(self, request: Request, task: Task, drawn: tuple[Any, Mask | None]) -> Sample:
        image, mask = drawn
        wanted = request.height, request.width
        image = fitted(image, wanted, resize=self.size is not None)
        if request.channels == 1:
            image = cast(Image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None])
        if mask is not None:
            mask = fitted(mask, wanted, resize=self.size is not None).astype(bool) * np.uint8(request.defect_class)
        params = {"prompt": task.prompt, "drawn_at": list(task.size)}
        if mask is not None:
            params["mask_quality"] = "attention"
        return Sample(image, mask, request.defect_class, self._origin(request, params))

    def _origin(self, request: Request, params: Params) -> Origin:
        return Origin(generator=self.name, fingerprint=self.fingerprint, seed=(request.seed,), params=params)

    def _detach(self) -> None:
        if self.offload != "none":
            self.pipeline.remove_all_hooks()
        detach(self.pipeline.unet, self.pipeline.text_encoder)
        self.alpha, self.lora_clip_skip = 0.0, 0

    def _place(self) -> None:
        """Bring the models to where they work, once they are complete."""
        vars(self).pop("fingerprint", None)
        if self.offload == "none":
            self.pipeline.to(self.device)
        elif self.offload == "model":
            self.pipeline.enable_model_cpu_offload(device=self.device)
        else:
            # no weights can be read afterwards
            _ = self.fingerprint
            self.pipeline.enable_sequential_cpu_offload(device=self.device)
