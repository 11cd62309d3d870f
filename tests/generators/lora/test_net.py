import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from inout_generators.lora.adapters import collect
from inout_generators.lora.net import LoRANet
from inout_generators.lora.prompts import encode
from inout_generators.lora.recipe import load_recipe
from inout_generators.lora.tiny import tiny_stable_diffusion

TEXT_LAYERS = 3


def net_of(pipeline, seed=0, **overrides):
    return LoRANet(pipeline.unet, pipeline.text_encoder, load_recipe("few", overrides), seed=seed)


def inputs(pipeline, prompts=("a scratch", "skt background", "a scratch")):
    tokens = pipeline.tokenizer(list(prompts), padding="max_length", max_length=77, return_tensors="pt").input_ids
    torch.manual_seed(0)
    return torch.randn(len(prompts), 4, 8, 4), torch.tensor([3, 500, 999]), tokens


def shake(net):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_stable_diffusion_1_5_has_278_and_72_layers_of_which_clip_skip_leaves_6_untrained():
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
        )
        net = LoRANet(unet, text_encoder, load_recipe("full"), seed=0)
    names = [name for name, _ in net.named_parameters()]
    assert len(names) == 2 * (278 + 66)
    # as the specs count them
    assert sum(p.numel() for name, p in net.named_parameters() if name.startswith("unet/")) / 1e6 == pytest.approx(
        18.39, abs=0.005
    )
    put_on = [name for name, _ in text_encoder.named_parameters() if "lora_" in name]
    assert len(put_on) == 2 * 72


def test_its_parameters_and_checkpoints_are_the_lora_alone():
    pipeline = tiny_stable_diffusion()
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    net = net_of(pipeline)
    lora = collect(pipeline.unet, pipeline.text_encoder)
    assert len(lora.unet) == 79
    assert len(lora.text_encoder) == 6 * TEXT_LAYERS
    assert len(list(net.parameters())) == 2 * (79 + 6 * (TEXT_LAYERS - 1))
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()} | {"taken"}
    shake(net)
    kept = {name.replace(".base_layer", ""): v for name, v in pipeline.unet.state_dict().items() if "lora_" not in name}
    assert all(torch.equal(kept[name], value) for name, value in before.items())
    update = next(iter(collect(pipeline.unet).unet.values()))
    assert update.up.abs().max() > 0


def test_at_first_it_is_the_base_and_it_asks_the_text_encoder_as_the_generator_does():
    pipeline = tiny_stable_diffusion()
    noised, t, tokens = inputs(pipeline)
    with torch.no_grad():
        embeddings = encode(
            pipeline.tokenizer, pipeline.text_encoder, ["a scratch", "skt background", "a scratch"], clip_skip=1
        )
        expected = pipeline.unet(noised, t, encoder_hidden_states=embeddings).sample
        predicted = net_of(pipeline)(noised, t, tokens)
    torch.testing.assert_close(predicted, expected)


@pytest.mark.parametrize("text", [True, False])
def test_every_parameter_is_trained(text):
    pipeline = tiny_stable_diffusion()
    net = net_of(pipeline, text_encoder=text).train()
    shake(net)
    net(*inputs(pipeline)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())
    assert any(name.startswith("text_encoder/") for name, _ in net.named_parameters()) == text
    assert all(p.grad is None for n, p in pipeline.unet.named_parameters() if "lora_" not in n)


def test_steps_are_counted_in_training_only():
    pipeline = tiny_stable_diffusion()
    net = net_of(pipeline)
    for mode in (True, True, False):
        net.train(mode)
        assert pipeline.unet.training == pipeline.text_encoder.training == mode
        net(*inputs(pipeline))
    assert int(net.taken) == 2


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        pipeline = tiny_stable_diffusion()
        net = net_of(pipeline).train()
        torch.manual_seed(1)
        shake(net)
        if checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        net(*inputs(pipeline)).square().mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_the_seed_decides_the_first_weights_and_no_random_state_is_used():
    weights = []
    for seed in (0, 0, 1):
        torch.rand(3)
        before = torch.get_rng_state()
        weights.append(torch.cat([p.detach().flatten() for p in net_of(tiny_stable_diffusion(), seed).parameters()]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_on_a_base_in_half_precision_the_lora_is_in_full():
    pipeline = tiny_stable_diffusion()
    for model in (pipeline.unet, pipeline.text_encoder):
        torch.nn.Module.to(model, torch.bfloat16)
    net = net_of(pipeline)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        predicted = net(*inputs(pipeline))
    assert predicted.isfinite().all()
