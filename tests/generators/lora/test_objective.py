from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.training_utils import compute_snr
from torch import nn

from inout_aug.seeding import stream
from inout_generators.common.checkpoints import CheckpointError
from inout_generators.lora.base import scheduler_named
from inout_generators.lora.data import Latents
from inout_generators.lora.objective import DreamBooth, min_snr_weights
from inout_generators.lora.tiny import tiny_stable_diffusion

PRODUCT, PRIOR = 7, 9


def latents(count, token, value=0.0):
    torch.manual_seed(count)
    mean = torch.randn(count, 4, 4, 2) + value
    return Latents(mean, torch.full_like(mean, 0.1), torch.full((count, 77), token))


def scheduler(prediction_type="epsilon"):
    like = tiny_stable_diffusion().scheduler
    like.register_to_config(prediction_type=prediction_type)
    return scheduler_named("ddpm", like)


def objective(**overrides):
    settings = {
        "instances": latents(5, PRODUCT),
        "prior": latents(3, PRIOR, 5.0),
        "scheduler": scheduler(),
        "batch": 4,
        "shown": 2,
        "repeats": 1,
        "prior_weight": 0.5,
        "snr_gamma": 5.0,
        "seed": 0,
    }
    return DreamBooth(**{**settings, **overrides})


class Recorder(nn.Module):
    """Predicts a constant for the product and another for prior images; remembers what it was asked."""

    def __init__(self, taken=0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.3, -0.2]))
        self.register_buffer("taken", torch.tensor(taken))
        self.asked = []

    def forward(self, noised, t, tokens):
        self.asked.append(SimpleNamespace(noised=noised, t=t, tokens=tokens))
        which = (tokens[:, 0] == PRIOR).long()
        return self.scale[which][:, None, None, None] * noised


def loss_of(loss, taken=0, seed=0):
    net = Recorder(taken)
    value = loss(net, stream(seed, taken), torch.device("cpu"))
    value.backward()
    return value.item(), net


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_as_defined(kind):
    noise = scheduler()
    t = torch.arange(1000)
    ratio = compute_snr(noise, t).double()
    least = torch.minimum(ratio, torch.tensor(5.0).double())
    expected = least / ratio if kind == "epsilon" else least / (ratio + 1)
    torch.testing.assert_close(
        min_snr_weights(noise.alphas_cumprod[t], 5.0, kind).double(), expected, rtol=1e-4, atol=1e-6
    )
    assert (min_snr_weights(noise.alphas_cumprod, 0.0, kind) == 1).all()
    # no signal is left at the last step of a schedule with zero terminal SNR
    assert min_snr_weights(torch.zeros(1), 5.0, kind).item() == (1 if kind == "epsilon" else 0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [0.0, 5.0])
def test_the_loss_is_the_weighted_mean_over_the_batch(kind, gamma):
    loss = objective(scheduler=scheduler(kind), snr_gamma=gamma)
    value, net = loss_of(loss)
    asked = net.asked[0]
    assert asked.tokens[:, 0].tolist() == [PRODUCT, PRODUCT, PRIOR, PRIOR]
    rng = stream(0, 0)
    clean, _, weights = loss._batch(0, rng)
    assert weights.tolist() == [1, 1, 0.5, 0.5]
    rng.integers(1000, size=4)
    noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
    expected = 0.0
    for k, t in enumerate(asked.t.tolist()):
        left = loss.scheduler.alphas_cumprod[t].item()
        noised = left**0.5 * clean[k] + (1 - left) ** 0.5 * noise[k]
        torch.testing.assert_close(asked.noised[k], noised)
        target = noise[k] if kind == "epsilon" else left**0.5 * noise[k] - (1 - left) ** 0.5 * clean[k]
        error = (([0.3, -0.2][k // 2] * noised - target) ** 2).mean().item()
        ratio = left / (1 - left)
        share = 1.0 if not gamma else min(ratio, 5) / (ratio if kind == "epsilon" else ratio + 1)
        expected += weights[k].item() * share * error / 4
    assert value == pytest.approx(expected, rel=1e-4)


def test_without_weight_the_prior_images_have_no_gradient():
    for weight in (0.0, 0.5):
        _, net = loss_of(objective(prior_weight=weight))
        assert net.scale.grad[0] != 0
        assert (net.scale.grad[1] == 0) == (weight == 0)


def test_without_prior_images_the_batch_is_of_the_product():
    _, net = loss_of(objective(prior=None, shown=4))
    assert set(net.asked[0].tokens.flatten().tolist()) == {PRODUCT}
    assert len(net.asked[0].t) == 4


def test_an_epoch_shows_every_image_of_the_product():
    loss = objective(batch=2, shown=1)
    seen = [loss._batch(step, stream(9))[0][0, 0, 0, 0].item() for step in range(10)]
    means = loss.instances.mean[:, 0, 0, 0].tolist()
    nearest = [min(range(5), key=lambda k: abs(means[k] - value)) for value in seen]
    assert sorted(nearest[:5]) == sorted(nearest[5:]) == [0, 1, 2, 3, 4]


def test_timesteps_are_uniform_and_the_draw_is_the_streams():
    loss = objective(batch=200, shown=100)
    first, again, other = (loss_of(loss, seed=seed) for seed in (0, 0, 1))
    assert first[0] == again[0] != other[0]
    t = np.concatenate([net.asked[0].t.numpy() for _, net in (first, other)])
    assert abs(np.mean(t) - 499.5) < 60
    assert t.min() < 50
    assert t.max() > 950


def test_a_base_that_predicts_something_else():
    with pytest.raises(CheckpointError, match="the base predicts sample"):
        objective(scheduler=scheduler("sample"))
