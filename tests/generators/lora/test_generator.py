import gc
import pickle
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from inout_aug.plugin import Generator, Request
from inout_generators.lora.adapters import LoRA, LowRank, c3lier_text, c3lier_unet, collect, detach
from inout_generators.lora.base import SCHEDULERS
from inout_generators.lora.drawing import fitted
from inout_generators.lora.files import save_lora
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.tiny import tiny_stable_diffusion

PROMPTS = {"skt background scratched": "scratch", "skt background cracked": "crack"}


def generator(prompts: Any = PROMPTS, **settings: Any) -> LoRADiffusion:
    return LoRADiffusion(tiny_stable_diffusion(), prompts, **{"steps": 2, "device": "cpu", **settings})


def request(seed: int = 0, **fields: Any) -> Request:
    return Request(**{"seed": seed, "height": 32, "width": 48, **fields})


@pytest.fixture(scope="module")
def lora() -> LoRA:
    base = tiny_stable_diffusion()
    base.unet.add_adapter(c3lier_unet(rank=4, alpha=4), "trained")
    base.text_encoder.add_adapter(c3lier_text(rank=4, alpha=4), "trained")
    made = collect(base.unet, base.text_encoder, clip_skip=1)
    detach(base.unet, base.text_encoder)
    rng = torch.Generator().manual_seed(0)

    def trained(updates: Any) -> dict[str, LowRank]:
        return {n: LowRank(u.down, 0.2 * torch.randn(u.up.shape, generator=rng), u.alpha) for n, u in updates.items()}

    return LoRA(trained(made.unet), trained(made.text_encoder), made.clip_skip)


def test_is_a_generator_of_whole_images_without_masks() -> None:
    model = generator()
    assert isinstance(model, Generator)
    assert (model.masks, model.defect_classes) == (False, 2)
    sample = model.generate([request(7, defect_class=2)])[0]
    assert (sample.image.shape, sample.image.dtype, sample.mask, sample.label) == ((32, 48, 3), np.uint8, None, 2)
    assert sample.origin.seed == (7,)
    assert sample.origin.params == {"prompt": "skt background cracked", "drawn_at": [32, 48]}
    assert sample.origin.fingerprint == model.fingerprint
    # that of images, to the cache that is filled with them
    assert getattr(model, "dtype", "uint8") == "uint8"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # diffusers, numpy 2
def test_a_batch_gives_exactly_what_single_requests_give(scheduler: str) -> None:
    model = generator(scheduler=scheduler, batch_size=3, steps=3)
    sizes = [(32, 48), (32, 48), (20, 30), (32, 48), (32, 48)]
    requests = [
        request(k, height=h, width=w, defect_class=1 + k % 2, channels=1 if k == 1 else 3)
        for k, (h, w) in enumerate(sizes)
    ]
    together = model.generate(requests)
    alone = [model.generate([each])[0] for each in requests]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(together, alone, strict=True))
    images = [sample.image.astype(int) for sample in together]
    assert np.abs(images[0] - images[3]).mean() > 1


def test_draws_what_the_bare_pipeline_draws() -> None:
    from inout_generators.lora.drawing import Task, latents

    model = generator(guidance_scale=5, negative_prompt="white wall")
    bare = tiny_stable_diffusion()
    bare.set_progress_bar_config(disable=True)
    bare.scheduler = model.pipeline.scheduler
    expected = bare(
        "a crack",
        negative_prompt="white wall",
        guidance_scale=5,
        num_inference_steps=2,
        height=32,
        width=48,
        latents=latents(bare, [Task("a crack", 3, (32, 48))]),
        output_type="np",
    ).images[0]
    made = model.generate([request(3, prompt="a crack")])[0]
    assert np.abs(made.image / 255 - expected).max() <= 0.5001 / 255


def test_the_prompt_of_a_request_comes_first_and_without_prompts_it_must_have_one() -> None:
    model = generator(None)
    assert model.generate([request(prompt="a scratch", defect_class=9)])[0].label == 9
    with pytest.raises(ValueError, match="there is no prompt: give the generator some"):
        model.generate([request()])


@pytest.mark.parametrize(
    ("size", "wanted", "drawn"),
    [(None, (200, 67), [200, 72]), ((96, 32), (200, 66), [96, 32]), ((96, 32), (50, 50), [96, 32])],
)
def test_sizes(size: tuple[int, int] | None, wanted: tuple[int, int], drawn: list[int]) -> None:
    model = generator(size=size, steps=1)
    sample = model.generate([request(height=wanted[0], width=wanted[1])])[0]
    assert sample.size == wanted
    assert sample.origin.params["drawn_at"] == drawn


def test_what_is_drawn_is_cropped_in_the_middle_and_keeps_its_ratio() -> None:
    picture = np.zeros((96, 32, 3), np.uint8)
    picture[47:49] = 255
    assert np.array_equal(fitted(picture, (94, 30), resize=False), picture[1:-1, 1:-1])
    cut = fitted(picture, (64, 64), resize=True)
    assert cut.shape == (64, 64, 3)
    lines = np.flatnonzero(cut[:, 0, 0] > 127)
    assert (lines.min(), lines.max()) == (30, 33)
    mask = np.zeros((96, 32), np.uint8)
    mask[::2] = 3
    assert set(np.unique(fitted(mask, (300, 100), resize=True))) == {0, 3}


def test_grey_is_the_luma_of_colour() -> None:
    model = generator()
    colour, grey = model.generate([request(), request(channels=1)])
    luma = colour.image @ np.array([0.299, 0.587, 0.114])
    assert grey.image.shape == (32, 48, 1)
    assert np.abs(grey.image[..., 0] - luma).max() <= 1


def test_a_lora_changes_the_picture_by_its_weight_and_leaves_when_told(lora: LoRA) -> None:
    def pixels(model: LoRADiffusion) -> Any:
        return model.generate([request()])[0].image.astype(int)

    model = generator(clip_skip=0)
    base, fingerprint = pixels(model), model.fingerprint
    model.load_lora(lora, alpha=1)
    strong, strong_print = pixels(model), model.fingerprint
    model.set_alpha(0.1)
    weak = pixels(model)
    assert np.abs(strong - base).mean() > 2 * np.abs(weak - base).mean() > 0
    assert len({fingerprint, strong_print, model.fingerprint}) == 3
    model.unload_lora()
    assert np.array_equal(pixels(model), base)
    assert model.fingerprint == fingerprint


def test_fused_is_as_unfused(lora: LoRA) -> None:
    images = [generator(lora=lora, fuse=fuse).generate([request()])[0].image.astype(int) for fuse in (False, True)]
    assert np.abs(images[0] - images[1]).max() <= 1


def test_clip_skip_is_that_of_training_unless_told(lora: LoRA) -> None:
    assert generator().clip_skip == 0
    assert generator(lora=lora).clip_skip == 1
    assert generator(lora=lora, clip_skip=0).clip_skip == 0


def test_loading_and_unloading_ten_times_leaves_nothing_behind(lora: LoRA, tmp_path: Path) -> None:
    file = save_lora(tmp_path, lora)
    model = generator(steps=1)

    def round_trip() -> None:
        model.load_lora(file, alpha=0.8)
        model.generate([request()])
        model.unload_lora()

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    round_trip()
    before = tensors()
    tracemalloc.start()
    round_trip()
    gc.collect()
    early = tracemalloc.get_traced_memory()[0]
    for _ in range(8):
        round_trip()
    gc.collect()
    late = tracemalloc.get_traced_memory()[0]
    after = tensors()
    model.load_lora(file)
    held = tracemalloc.get_traced_memory()[0] - late
    tracemalloc.stop()
    assert after == before
    # eight leaks would be eight times what one LoRA holds; torch interns some names in the first rounds
    assert late - early < held / 2


def test_a_folder_is_a_whole_generator(lora: LoRA, tmp_path: Path) -> None:
    tiny_stable_diffusion(tmp_path / "base")
    save_lora(tmp_path / "kohya.safetensors", lora, format="kohya")
    first = LoRADiffusion.from_pretrained(
        tmp_path / "base",
        lora=tmp_path / "kohya.safetensors",
        alpha=0.8,
        prompts=PROMPTS,
        steps=2,
        size=(64, 32),
        device="cpu",
    )
    first.save_pretrained(tmp_path / "tile")
    again = LoRADiffusion.from_pretrained(tmp_path / "tile", device="cpu")
    assert (again.alpha, again.size, again.clip_skip, again.prompts) == (0.8, (64, 32), 1, first.prompts)
    assert again.fingerprint == first.fingerprint
    image = first.generate([request(height=100, width=50)])[0].image
    assert np.array_equal(again.generate([request(height=100, width=50)])[0].image, image)
    assert np.array_equal(pickle.loads(pickle.dumps(again)).generate([request(height=100, width=50)])[0].image, image)
    assert LoRADiffusion.from_pretrained(tmp_path / "tile", alpha=0.5, device="cpu").alpha == 0.5


def test_a_masker_makes_masks() -> None:
    class Upper:
        @contextmanager
        def watch(self, pipeline: StableDiffusionPipeline, tasks: Any) -> Any:
            yield lambda: [np.repeat([[1], [0]], 20, axis=0).repeat(56, axis=1).astype(np.uint8) for _ in tasks]

    model = generator(masker=Upper())
    assert model.masks
    sample = model.generate([request(height=38, width=50, defect_class=2)])[0]
    assert sample.mask is not None
    assert np.array_equal(np.unique(sample.mask), [0, 2])
    assert sample.mask[:19].all()
    assert not sample.mask[19:].any()
    assert sample.origin.params["mask_quality"] == "attention"


def test_slices_change_nothing_that_can_be_seen() -> None:
    plain, sliced = (generator(slicing=slicing).generate([request()])[0].image.astype(int) for slicing in (False, True))
    assert np.abs(plain - sliced).max() <= 1


def test_a_safety_checker_is_left_out() -> None:
    pipeline = tiny_stable_diffusion()
    pipeline.register_modules(safety_checker=torch.nn.Identity())
    assert LoRADiffusion(pipeline, PROMPTS, device="cpu").pipeline.safety_checker is None


def test_bfloat16_is_near_float32() -> None:
    whole, half = (
        generator(dtype=dtype).generate([request()])[0].image.astype(int) for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(whole - half).mean() < 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (770, 256)}, r"multiples of 8 .* got \(770, 256\)\. Take \(768, 256\)"),
        ({"steps": 0}, "steps are at least 1"),
        ({"guidance_scale": float("nan")}, "guidance_scale is not negative"),
        ({"scheduler": "dmp"}, r"scheduler is one of ddim, .*; got 'dmp'"),
        ({"dtype": "int8"}, "dtype is float32, bfloat16 or float16"),
        ({"dtype": torch.float16}, "float16 is for GPUs"),
        ({"offload": "model"}, "the device is a CPU"),
        ({"offload": "disk"}, "offload is one of none, model, sequential"),
        ({"negative_prompt": "wall " * 80}, r"at most 77 tokens .* has 82"),
        ({"prompts": {"wall " * 80: "crack"}}, r"at most 77 tokens"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(**settings)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"defect_class": 3}, "defect classes are 1 to 2, scratch, crack; got 3"),
        ({"strength": 0.5}, "are for LoRAInpaint"),
        ({"host": np.zeros((32, 48, 3), np.uint8)}, "are for LoRAInpaint"),
        ({"channels": 4}, "1 or 3 channels"),
        ({"height": 8}, "at least 16 pixels"),
        ({"prompt": "wall " * 80}, "at most 77 tokens"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator().generate([request(), request(**fields)])


@pytest.mark.parametrize("alpha", [-0.1, 1.01, float("nan")])
def test_a_merge_weight_out_of_range_is_refused(lora: LoRA, alpha: float) -> None:
    model = generator(lora=lora)
    for change in (model.set_alpha, lambda value: model.load_lora(lora, alpha=value)):
        with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
            change(alpha)
    assert model.alpha == 0.6
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        LoRADiffusion.from_pretrained("nowhere", alpha=alpha)


def test_an_inpainting_base_is_for_another_generator() -> None:
    with pytest.raises(ValueError, match=r"takes 9 channels.*LoRAInpaint"):
        LoRADiffusion(tiny_stable_diffusion(in_channels=9), PROMPTS, device="cpu")


def test_a_folder_needs_a_lora_and_a_base(tmp_path: Path, lora: LoRA) -> None:
    makers: list[Callable[[], LoRADiffusion]] = [generator, lambda: generator(lora=lora)]
    for make in makers:
        with pytest.raises(ValueError, match="has a LoRA and the name of its base"):
            make().save_pretrained(tmp_path)
