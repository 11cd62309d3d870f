import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inout_aug.sample import Sample
from inout_aug.seeding import stream
from inout_generators.common.pictures import Windows
from inout_generators.common.schedule import LinearSchedule
from inout_generators.defectdiffu.conditions import DoubleFree
from inout_generators.defectdiffu.data import Named, Products
from inout_generators.defectdiffu.diffusion import variational_bound
from inout_generators.defectdiffu.model import DefectDiffuTransformer, Prediction
from inout_generators.defectdiffu.objective import DefectDenoising, Learner, Weights
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

CPU = torch.device("cpu")


def products(background=0.5):
    rng = np.random.default_rng(0)
    named = []
    for product in ("tile", "wood"):
        for top in (2, 9):
            mask = np.zeros((16, 24), np.uint8)
            mask[top : top + 5, 6:11] = 1
            image = rng.integers(0, 256, (16, 24, 1), dtype=np.uint8)
            named += [Named(Sample(image, mask, 1), product, "crack"), Named(Sample(image), product, "good")]
    return Products(named, Windows(size=(16, 24), crop=False, symmetry="none", shift=0, background=background))


def learner():
    torch.manual_seed(0)
    text = NamedEmbedding(products=["tile", "wood"], defects=["crack"], dim=16)
    net = DefectDiffuTransformer(channels=1, text_dim=16, patch=4, width=32, depths=(1, 2, 1), heads=4)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)
    return Learner(net, text)


class Recorder(nn.Module):
    """Stands for the learner: keeps what it is given and what it answered."""

    def __init__(self, blocks=2):
        super().__init__()
        self.blocks = blocks

    def forward(self, z, t, told, schedule):
        self.z, self.t, self.told = z, t, told
        torch.manual_seed(1)
        b, c, h, w = z.shape
        maps = torch.rand(b, (h // 4) * (w // 4)).softmax(1).reshape(b, h // 4, w // 4)
        self.said = Prediction(torch.randn(b, 2 * c, h, w), torch.randn(b, c, h, w), self.blocks * maps)
        return self.said


def test_the_ratio_is_what_is_seen_beside_the_defect_to_what_is_seen_of_it():
    inside = torch.zeros(3, 2, 5)
    inside[:, 0, :2] = 1
    masses = torch.tensor([0.01, 0.2, 0.9])
    attention = inside * masses[:, None, None] / 2 + (1 - inside) * (1 - masses[:, None, None]) / 8
    alpha = 1e-3
    ratio = Weights(alpha=alpha).ratio(attention, inside)
    # 99, (1 - 0.2) / (0.2 + alpha), 0.1
    torch.testing.assert_close(ratio, torch.tensor([8.0, 0.8 / (0.2 + alpha), 2.0]))


@pytest.mark.parametrize("mass", [0.0, 0.05, 0.12, 0.25, 0.5, 1.0])
def test_the_ratio_stays_between_2_and_8(mass):
    inside = torch.tensor([[[1.0, 0.0]]])
    ratio = Weights().ratio(torch.tensor([[[mass, 1 - mass]]]), inside).item()
    assert 2 <= ratio <= 8
    assert ratio == pytest.approx(min(8, max(2, (1 - mass) / (mass + 1e-3))), rel=1e-6)


def test_the_gradient_reaches_the_attention_through_the_ratio_unless_it_is_detached():
    inside = torch.tensor([[[1.0, 0.0]]])
    for detach in (False, True):
        attention = torch.tensor([[[0.2, 0.8]]], requires_grad=True)
        ratio = Weights(detach_ratio=detach).ratio(attention, inside)
        assert ratio.requires_grad is not detach
    attention = torch.tensor([[[0.2, 0.8]]], requires_grad=True)
    Weights().ratio(attention, inside).sum().backward()
    # more attention on the defect, less weight
    assert attention.grad[0, 0, 0] < 0 < attention.grad[0, 0, 1]


@pytest.mark.parametrize("faithful", [False, True])
def test_all_parts_are_those_of_the_equations(faithful):
    shown = products()
    weights = Weights(mask=0.2, faithful_mask_loss=faithful)
    loss = DefectDenoising(products=shown, space=PixelSpace(1), batch=16, drop=DoubleFree(defect=0.5), weights=weights)
    recorder = Recorder()
    losses = loss.losses(recorder, stream(5), CPU)

    rng = stream(5)
    batch = shown.draw(16, rng)
    told = loss.drop(batch.products, batch.defects, rng)
    assert recorder.told == [each.prompts for each in told]
    x0 = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    image, rest = (part.float()[:, None, None, None] for part in LinearSchedule().coefficients(recorder.t))
    noise = (recorder.z - image * x0) / rest
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    guess, v = recorder.said.out.chunk(2, 1)
    mask = torch.from_numpy(batch.masks).float()[:, None]
    error = (noise - guess) ** 2
    torch.testing.assert_close(losses.noise, error.mean(), rtol=1e-3, atol=1e-4)

    mean_map = recorder.said.attention / recorder.blocks
    inside = F.max_pool2d(mask, 4)[:, 0]
    seen = (mean_map * inside).sum((1, 2))
    ratio = ((1 - seen) / (seen + 1e-3)).clip(2, 8)
    torch.testing.assert_close(losses.defect, (ratio[:, None, None, None] * mask * error).mean(), rtol=1e-3, atol=1e-4)

    bound = variational_bound(LinearSchedule(), x0, recorder.z, recorder.t, guess, v).mean()
    torch.testing.assert_close(losses.bound, bound, rtol=1e-3, atol=1e-4)

    kept = torch.tensor([faithful or not each.hidden for each in told]).float()
    assert kept.all() == faithful
    wrong = ((recorder.said.mask_latent - (2 * mask - 1)) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(losses.mask, (wrong * kept).mean())
    total = loss(recorder, stream(5), CPU)
    torch.testing.assert_close(total, losses.noise + losses.defect + losses.bound + 0.2 * losses.mask)


def test_good_pictures_have_no_loss_of_a_defect():
    shown = products(background=0.999)
    losses = DefectDenoising(products=shown, space=PixelSpace(1), batch=4).losses(Recorder(), stream(0), CPU)
    assert losses.defect == 0
    assert losses.noise > 0


def test_the_bound_teaches_the_variance_alone():
    module = learner()
    loss = DefectDenoising(products=products(), space=PixelSpace(1), batch=8)
    loss.losses(module, stream(0), CPU).bound.backward()
    patch = 16
    gradient = module.net.final_layer.linear.weight.grad.reshape(patch, 2, -1)
    # the first half of the channels of each patch is the noise
    assert gradient[:, 0].abs().max() == 0
    assert gradient[:, 1].abs().max() > 0


def test_names_are_learned_with_the_net_but_a_frozen_encoder_is_not():
    module = learner()
    loss = DefectDenoising(products=products(), space=PixelSpace(1), batch=8)
    loss(module, stream(0), CPU).backward()
    assert module.text.defect_vectors.weight.grad.abs().sum() > 0
    frozen = Learner(module.net, module.text.requires_grad_(False))
    assert set(frozen.state_dict()) == {f"net.{name}" for name in module.net.state_dict()}
    torch.testing.assert_close(loss(frozen, stream(0), CPU), loss(module, stream(0), CPU))


def test_a_frozen_encoder_is_asked_once_for_each_prompt():
    module = learner()
    module.text.requires_grad_(False)
    frozen, asked = Learner(module.net, module.text), []
    encode = frozen.encoder.encode

    def spy(texts):
        asked.extend(texts)
        return encode(texts)

    frozen.encoder.encode = spy
    loss = DefectDenoising(products=products(), space=PixelSpace(1), batch=16)
    values = [loss(frozen, stream(k), CPU) for k in range(4)]
    assert len(asked) == len(set(asked))
    torch.testing.assert_close(values[3], loss(module, stream(3), CPU))


def test_it_learns_what_four_pictures_look_like():
    torch.manual_seed(0)
    text = NamedEmbedding(products=["tile", "wood"], defects=["crack"], dim=16)
    net = DefectDiffuTransformer(channels=1, text_dim=16, patch=4, width=32, depths=(1, 1, 1), heads=4)
    module = Learner(net, text)
    loss = DefectDenoising(products=products(), space=PixelSpace(1), batch=16, drop=DoubleFree(defect=0))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    values = []
    for step in range(60):
        value = loss(module, stream(step), CPU)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.mean(values[-10:]) < 0.6 * np.mean(values[:5])


def test_errors_may_count_as_those_of_the_velocity_do():
    """v = sqrt(ᾱ) ε - sqrt(1 - ᾱ) x0, so that at a given x_t an error of the noise is sqrt(ᾱ) times that of v."""
    shown, schedule = products(), LinearSchedule()
    weights = Weights(timesteps="velocity")
    loss = DefectDenoising(products=shown, space=PixelSpace(1), batch=8, weights=weights)
    recorder = Recorder()
    losses = loss.losses(recorder, stream(5), CPU)
    x0 = torch.from_numpy(shown.draw(8, stream(5)).images).permute(0, 3, 1, 2).double() / 127.5 - 1
    image, rest = (part[:, None, None, None] for part in schedule.coefficients(recorder.t))
    x, guess = recorder.z.double(), recorder.said.out.chunk(2, 1)[0].double()
    noise = (x - image * x0) / rest
    guessed_x0 = (x - rest * guess) / image
    velocity, guessed = image * noise - rest * x0, image * guess - rest * guessed_x0
    torch.testing.assert_close(losses.noise.double(), (velocity - guessed).square().mean(), rtol=1e-3, atol=1e-4)
    assert (Weights().of_timesteps(recorder.t, schedule) == 1).all()


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"least": 3.0, "most": 2.0}, {"mask": -1.0}])
def test_weights_that_are_none(wrong):
    with pytest.raises(ValueError, match="alpha is above 0"):
        Weights(**wrong)
    with pytest.raises(ValueError, match="timesteps is 'even' or 'velocity'"):
        Weights(timesteps="late")
