import copy

import pytest
import torch
from torch import nn

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.common.optimizers import build_optimizer, has_8bit, load_moments, moments_of


def make(name, net):
    return build_optimizer(name, net.parameters(), learning_rate=0.01, weight_decay=0.1)


def step(net, optimizer, seed):
    torch.manual_seed(seed)
    net(torch.randn(4, 96)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


# with fewer numbers than 4096 the second one stays in 32 bits
NAMES = ["0.weight", "0.bias"]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 64))


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_it_goes_on_from_its_moments_bit_for_bit(name):
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    first = net()
    optimizer = make(name, first)
    assert (type(optimizer) is torch.optim.AdamW) == (name == "adamw")
    step(first, optimizer, 1)
    second = copy.deepcopy(first)
    resumed = make(name, second)
    load_moments(resumed, NAMES, {key: value.clone() for key, value in moments_of(optimizer, NAMES).items()})
    for seed in (2, 3):
        step(first, optimizer, seed)
        step(second, resumed, seed)
    assert torch.equal(first[0].weight, second[0].weight)
    assert torch.equal(first[0].bias, second[0].bias)
    assert not torch.equal(first[0].bias, net()[0].bias)


def test_a_parameter_without_a_gradient_has_no_moments():
    trained = net()
    trained[0].bias.requires_grad_(False)
    optimizer = make("adamw", trained)
    step(trained, optimizer, 0)
    moments = moments_of(optimizer, NAMES)
    assert sorted(moments) == ["exp_avg.0.weight", "exp_avg_sq.0.weight", "step.0.weight"]
    load_moments(make("adamw", trained), NAMES, moments)


def test_without_bitsandbytes_it_is_adamw(monkeypatch):
    monkeypatch.setattr("inout_generators.common.optimizers.find_spec", lambda name: None)
    assert not has_8bit()
    assert type(make("adamw8bit", net())) is torch.optim.AdamW


def test_moments_of_another_optimiser_or_net_are_refused():
    trained = net()
    optimizer = make("adamw", trained)
    step(trained, optimizer, 0)
    moments = moments_of(optimizer, NAMES)
    with pytest.raises(CheckpointError, match=r"knows 0\.weight, which is no parameter"):
        load_moments(optimizer, ["a", "b"], moments)
    eight_bit = {
        key.replace("exp_avg_sq", "state2").replace("exp_avg", "state1"): value for key, value in moments.items()
    }
    with pytest.raises(CheckpointError, match=r"made with another optimiser.*bitsandbytes"):
        load_moments(optimizer, NAMES, eight_bit)
