"""Defects in hosts: only the region changes, whatever the host, the base and the batch."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLInpaintPipeline, UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from inout_aug.plugin import Generator, Request
from inout_generators.common.checkpoints import CheckpointError
from inout_generators.lora.adapters import c3lier_text, c3lier_unet, collect, detach
from inout_generators.lora.drawing import torch_generator
from inout_generators.lora.filling import cells_of, drawn_size, resized, window_for
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.inpaint import LoRAInpaint
from inout_generators.lora.prompts import encode
from inout_generators.lora.tiny import tiny_stable_diffusion

PROMPTS = {"skt background scratched": "scratch", "skt background cracked": "crack"}


def inpaint(pipeline: Any = None, prompts: Any = PROMPTS, **settings: Any) -> LoRAInpaint:
    return LoRAInpaint(pipeline or tiny_stable_diffusion(), prompts, **{"steps": 2, "device": "cpu", **settings})


def host_of(height: int = 70, width: int = 50, channels: int = 3, dtype: Any = np.uint8) -> Any:
    rng = np.random.default_rng(0)
    white = np.iinfo(dtype).max
    return (rng.random((height, width, channels)) * 0.2 * white + 0.4 * white).astype(dtype)


def request(seed: int = 0, host: Any = None, **fields: Any) -> Request:
    host = host_of() if host is None else host
    height, width, channels = host.shape
    return Request(**{"seed": seed, "height": height, "width": width, "channels": channels, "host": host, **fields})


def tiny_sdxl(path: Path, in_channels: int = 9) -> Path:
    base = tiny_stable_diffusion()
    base.vae.register_to_config(force_upcast=False)
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(base.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=24,
        eos_token_id=base.tokenizer.eos_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        layers_per_block=1,
        block_out_channels=(32, 64),
        norm_num_groups=8,
        attention_head_dim=8,
        cross_attention_dim=64,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
    )
    pipeline = StableDiffusionXLInpaintPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=base.tokenizer,
        tokenizer_2=base.tokenizer,
        unet=unet,
        scheduler=base.scheduler,
        add_watermarker=False,
    )
    pipeline.save_pretrained(path)
    return path


@pytest.mark.parametrize("in_channels", [4, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(70, 51), (16, 133)])
def test_only_the_region_changes(in_channels: int, dtype: Any, channels: int, size: tuple[int, int]) -> None:
    model = inpaint(tiny_stable_diffusion(in_channels=in_channels), feather=1)
    assert isinstance(model, Generator)
    assert (model.hosts, model.masks, model.defect_classes) == (True, True, 2)
    host = host_of(*size, channels, dtype)
    before = host.copy()
    region = np.zeros(size, np.uint8)
    region[4:9, 10:40] = 255
    requests = [request(3, host, region=region, defect_class=2), request(4, host)]
    for sample, source in zip(model.generate(requests), ("given", "perlin"), strict=True):
        assert sample.mask is not None
        assert (sample.image.shape, sample.image.dtype) == (host.shape, host.dtype)
        changed = (sample.image != host).any(axis=2)
        assert not changed[sample.mask == 0].any()
        assert changed[sample.mask > 0].mean() > 0.9
        assert sample.origin.params["region"] == source
        assert np.array_equal(np.unique(sample.mask), [0, sample.label])
    assert np.array_equal(model.generate(requests)[0].mask, (region > 0) * np.uint8(2))
    assert np.array_equal(host, before)


def test_a_batch_gives_exactly_what_single_requests_give() -> None:
    model = inpaint(batch_size=3, steps=4)
    hosts = [host_of(), host_of(), host_of(40, 90, 1), host_of(), host_of()]
    requests = [request(k, host, strength=0.5 if k == 1 else 1, defect_class=1 + k % 2) for k, host in enumerate(hosts)]
    together = model.generate(requests)
    alone = [model.generate([each])[0] for each in requests]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(together, alone, strict=True))
    assert not np.array_equal(together[0].image, together[3].image)
    assert [sample.origin.params["strength"] for sample in together] == [1, 0.5, 1, 1, 1]
    again = pickle.loads(pickle.dumps(model))
    assert again.fingerprint == model.fingerprint
    assert np.array_equal(again.generate(requests[:1])[0].image, together[0].image)


@torch.no_grad()
def test_outside_the_region_latents_follow_the_host_at_every_step() -> None:
    """Blended latent diffusion, written out for a UNet that knows nothing of regions."""
    settings = {"negative_prompt": "white wall", "clip_skip": 1, "size": (64, 64), "max_share": 1}
    model = inpaint(steps=4, strength=0.8, guidance_scale=3, **settings)
    host = host_of(64, 64)
    region = np.zeros((64, 64), np.uint8)
    region[:32, :40] = 1
    made = model._draw([task := model._task(request(5, host, region=region))])[0][0]
    assert task.window.size == (40, 40)

    unet, vae, scheduler = model.pipeline.unet, model.pipeline.vae, model.pipeline.scheduler
    words = torch.cat(
        [
            encode(model.pipeline.tokenizer, model.pipeline.text_encoder, [text], clip_skip=1)
            for text in ("white wall", task.prompt)
        ]
    )
    rng = torch_generator(5)
    seen = torch.from_numpy(task.seen).permute(2, 0, 1)[None] * 2 - 1
    known = vae.encode(seen).latent_dist.sample(rng) * vae.config.scaling_factor
    noise = torch.randn(known.shape, generator=rng)
    inside = torch.from_numpy(task.redrawn[::8, ::8].astype(np.float32))
    scheduler.set_timesteps(4)
    steps = scheduler.timesteps[1:]
    x = scheduler.add_noise(known, noise, steps[:1])
    for k, t in enumerate(steps):
        plain, prompted = unet(torch.cat([x, x]), t, words).sample.chunk(2)
        x = scheduler.step(plain + 3 * (prompted - plain), t, x).prev_sample
        held = known if k == 2 else scheduler.add_noise(known, noise, steps[k + 1 : k + 2])
        x = inside * x + (1 - inside) * held
    expected = (vae.decode(x / vae.config.scaling_factor).sample[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1)
    assert np.abs(made - expected.numpy()).max() < 1e-5


@given(data=st.data())
def test_every_pixel_of_a_region_is_drawn_anew(data: Any) -> None:
    height, width = data.draw(st.integers(16, 90)), data.draw(st.integers(16, 90))
    size = 8 * data.draw(st.integers(1, 9)), 8 * data.draw(st.integers(1, 9))
    region = np.zeros((height, width), np.uint8)
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region[row, column] = 1
    redrawn = cells_of(region, size, 8)
    assert redrawn.shape == size
    middle = int((row + 0.5) / height * size[0]), int((column + 0.5) / width * size[1])
    assert redrawn[middle]
    # no more than the cells at the pixel, and their neighbours
    assert redrawn.sum() / 64 <= np.prod(
        [-(-side // whole) / 8 + 3 for side, whole in zip(size, region.shape, strict=True)]
    )


@given(data=st.data())
def test_a_window_holds_its_region_with_context_and_is_enlarged_within_bounds(data: Any) -> None:
    height, width = data.draw(st.integers(16, 300)), data.draw(st.integers(16, 300))
    rows, columns = (
        sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))) for n in (height, width)
    )
    region = np.zeros((height, width), np.uint8)
    region[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1
    window = window_for(region, (64, 48), max_share=0.5, max_zoom=4)
    assert region[window.slices].sum() == region.sum()
    for length, whole, (first, last), side in zip(window.size, region.shape, (rows, columns), (64, 48), strict=True):
        assert length == whole or length >= 2 * (last - first + 1)
        assert length == whole or length >= side / 4
    drawn = drawn_size(window, (64, 48), 8)
    assert drawn[0] % 8 == drawn[1] % 8 == 0


def test_masks_of_other_sizes_keep_thin_cracks() -> None:
    crack = np.zeros((100, 100), np.float32)
    crack[:, 51] = 1
    for size in ((400, 50), (50, 400), (30, 30), (333, 201)):
        assert (resized(crack, size, smooth=cv2.INTER_NEAREST) > 0).any(axis=1).all()


def test_small_regions_are_enlarged_and_a_part_drawn_whole_if_the_user_wants() -> None:
    host = host_of(120, 40)
    region = np.zeros((120, 40), np.uint8)
    region[60:64, 20:24] = 1
    near, whole = (
        inpaint(**settings).generate([request(0, host, region=region)])[0].origin.params
        for settings in ({}, {"size": (96, 32), "max_zoom": 1, "max_share": 0.2})
    )
    assert (near["window"], near["drawn_at"]) == ([54, 14, 16, 16], [64, 64])
    assert (whole["window"], whole["drawn_at"]) == ([14, 6, 96, 32], [96, 32])


def test_regions_from_masks_are_said_in_the_origin(tmp_path: Path) -> None:
    masks = [np.zeros((35, 25), np.uint8) for _ in range(2)]
    masks[0][3:6, 3:6] = masks[1][20, 2:20] = 255
    for name, mask in zip("ab", masks, strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    model = inpaint(regions=tmp_path, regions_are="drawn")
    samples = model.generate([request(seed) for seed in range(6)])
    assert {sample.origin.params["region"] for sample in samples} == {"drawn"}
    expected = [mask.repeat(2, axis=0).repeat(2, axis=1) > 0 for mask in masks]
    shown = [[k for k, mask in enumerate(expected) if np.array_equal(mask, sample.mask > 0)] for sample in samples]
    assert {tuple(each) for each in shown} == {(0,), (1,)}
    arrays = inpaint(regions=masks)
    assert arrays.generate([request()])[0].origin.params["region"] == "real"
    prints = {inpaint(regions=which).fingerprint for which in ("perlin", masks, masks[:1])}
    assert len(prints | {model.fingerprint, inpaint(strength=0.5).fingerprint, inpaint(feather=1).fingerprint}) == 6


def test_diag_is_the_published_setting_unless_told() -> None:
    model = inpaint(prompts=None, preset="diag", steps=30)
    assert (model.guidance_scale, model.strength, model.negative_prompt) == (
        20,
        0.99,
        "smooth, plain, black, dark, shadow",
    )
    assert [prompt.text for prompt in model.prompts] == ["white marks on the wall", "copper metal scratches"]
    assert model.defect_classes == 1
    assert LoRAInpaint(tiny_stable_diffusion(), preset="diag", device="cpu").steps == 30
    other = inpaint(preset="diag", strength=0.5, guidance_scale=3)
    assert (other.strength, other.guidance_scale, other.defect_classes) == (0.5, 3, 2)


@pytest.mark.parametrize("in_channels", [4, 9])
def test_sdxl_fills_regions_without_a_lora(tmp_path: Path, in_channels: int) -> None:
    folder = tiny_sdxl(tmp_path / "xl", in_channels)
    skip = {"clip_skip": 1} if in_channels == 4 else {}
    model = LoRAInpaint.from_pretrained(folder, preset="diag", steps=2, strength=1, device="cpu", **skip)
    host = host_of()
    first, other = model.generate([request(1, host, prompt=text) for text in ("a scratch", "a crack")])
    assert first.mask is not None
    assert (first.image == host)[first.mask == 0].all()
    assert not np.array_equal(first.image, other.image)
    assert any(name.startswith("text_encoder_2.") or name == "text_encoder_2" for name in model._nets())
    with pytest.raises(ValueError, match="the base is SDXL, which serves without"):
        model.load_lora("tile.safetensors")
    with pytest.raises(CheckpointError, match=r"is SDXL; .*LoRAInpaint takes SDXL"):
        LoRADiffusion.from_pretrained(folder)


def test_the_folder_of_a_training_serves_both(tmp_path: Path) -> None:
    base = tiny_stable_diffusion(tmp_path / "base")
    base.unet.add_adapter(c3lier_unet(rank=4, alpha=4), "trained")
    base.text_encoder.add_adapter(c3lier_text(rank=4, alpha=4), "trained")
    lora = collect(base.unet, base.text_encoder, clip_skip=1)
    detach(base.unet, base.text_encoder)
    whole = LoRADiffusion(tiny_stable_diffusion(), PROMPTS, lora=lora, size=(96, 32), device="cpu")
    whole.save_pretrained(tmp_path / "tile", base=tmp_path / "base")
    model = LoRAInpaint.from_pretrained(tmp_path / "tile", alpha=0.3, steps=1, device="cpu")
    assert (model.alpha, model.size, model.prompts) == (0.3, (96, 32), whole.prompts)
    assert model.generate([request()])[0].mask.any()


def test_what_a_broken_model_makes_is_no_sample() -> None:
    pipeline = tiny_stable_diffusion()
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        inpaint(pipeline).generate([request()])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "dig"}, "preset is one of diag; got 'dig'"),
        ({"strength": 1.5}, r"strength and max_share are in \(0, 1\]"),
        ({"max_zoom": 0.5}, "max_zoom is at least 1"),
        ({"regions_are": "mine"}, "regions_are real or drawn"),
        ({"regions": [np.zeros((20, 20), np.uint8)]}, "mask 0 is of shape .* with 0 pixels inside"),
        ({"regions": []}, "there are no masks"),
        ({"size": (60, 64)}, "multiples of 8"),
        ({"prompts": {"wall " * 80: "crack"}}, "at most 77 tokens"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inpaint(**settings)


def test_folders_without_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder of masks at"):
        inpaint(regions=tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("crack")
    with pytest.raises(ValueError, match=r"notes\.txt is no image"):
        inpaint(regions=tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": None}, "give each request a host"),
        ({"height": 64}, r"a host has the shape that is asked for, \(64, 50, 3\)"),
        ({"region": np.zeros((70, 50), np.uint8)}, "not empty"),
        ({"region": np.ones((64, 50), np.uint8)}, "has its host's size"),
        ({"strength": 0.0}, r"in \(0, 1\]"),
        ({"strength": 0.3}, "0.3 of 2 steps is none"),
        ({"defect_class": 3}, "defect classes are 1 to 2"),
        ({"prompt": "wall " * 80}, "at most 77 tokens"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(fields: dict[str, Any], message: str) -> None:
    wanted = Request(**{"seed": 0, "height": 70, "width": 50, "host": host_of(), **fields})
    with pytest.raises(ValueError, match=message):
        inpaint().generate([wanted])
