import pytest
import torch

from inout_aug.cli._network import SmallNet, predict, train


def batches(count, *, channels=1, size=(32, 48), seed=0):
    """Noise; the positives have a bright patch somewhere."""
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        images, labels = torch.randn(16, channels, *size, generator=rng), torch.arange(16.0) % 2
        for image in images[1::2]:
            y, x = (int(torch.randint(side - 6, (), generator=rng)) for side in size)
            image[:, y : y + 6, x : x + 6] += 3
        yield images, labels


def trained(seed=0, steps=60, channels=1):
    return train(batches(steps, channels=channels), channels=channels, steps=steps, seed=seed, tick=lambda: None)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_what_is_plain_to_see_and_finds_it_in_images_of_another_size(channels):
    network = trained(channels=channels)
    for size in ((32, 48), (64, 40)):
        logits, labels = predict(network, batches(4, channels=channels, size=size, seed=9))
        assert ((logits > 0) == (labels > 0)).float().mean() > 0.9


def test_the_seed_decides_everything_and_the_global_generator_nothing():
    logits = []
    for seed, disturbance in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(disturbance)
        logits.append(predict(trained(seed=seed, steps=3), batches(1))[0])
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_each_step_is_told_of():
    seen = []
    train(batches(5), channels=1, steps=5, seed=0, tick=lambda: seen.append(1))
    assert len(seen) == 5


def test_it_is_compact():
    assert sum(weights.numel() for weights in SmallNet(3, torch.Generator()).parameters()) < 100_000
