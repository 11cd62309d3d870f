"""Plain PyTorch: a ResNet that tells defective parts from good ones, torchvision's own loop.

python examples/classification.py --quick
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
quick = parser.parse_args().quick
torch.manual_seed(0)

size, count, epochs = ((64, 64), 60, 1) if quick else ((128, 128), 2000, 10)
train_set = Surfaces(count, size=size, binary=True)  # your dataset, without its transform
test_set = Surfaces(count, start=count, size=size, binary=True)
transform = v2.Compose(
    [v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
)

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
train = augment(train_set, transform=transform)

train.summary()
train_loader = DataLoader(train, batch_size=16, sampler=train.sampler(), num_workers=2)
test_loader = DataLoader(test_set, batch_size=16)

model = resnet18(num_classes=2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
to_test = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])

for epoch in range(epochs):
    model.train()
    total = 0.0
    for batch in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(batch["image"]), batch["label"])
        loss.backward()
        optimizer.step()
        total += loss.item()

    model.eval()
    correct = 0
    with torch.inference_mode():
        for batch in test_loader:
            images = to_test(batch["image"].permute(0, 3, 1, 2))
            correct += int((model(images).argmax(1) == batch["label"]).sum())
    print(f"epoch {epoch}: loss {total / len(train_loader):.3f}, accuracy {correct / len(test_set):.3f}")
