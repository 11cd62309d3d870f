"""accelerate: its loop, on one process or many.

torchrun --standalone --nproc-per-node 2 examples/accelerate_training.py --quick
"""

import argparse

import torch
from accelerate import Accelerator
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

accelerator = Accelerator(cpu=True)  # on GPUs `Accelerator()`, and `accelerate launch` in place of torchrun
count, size, epochs = (48, (64, 64), 2) if quick else (2000, (128, 128), 10)
train_set = Surfaces(count, size=size, binary=True)
transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
train = augment(train_set, transform=transform)

# one rank of one: accelerate itself gives each process other batches
loader = DataLoader(train, batch_size=8, sampler=train.sampler(num_replicas=1, rank=0))
model = resnet18(num_classes=2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

for epoch in range(epochs):
    model.train()
    for batch in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch["image"]), batch["label"])
        accelerator.backward(loss)
        optimizer.step()
    losses = accelerator.gather(loss.detach())
    accelerator.print(f"epoch {epoch}: {len(loader)} batches on each process, loss {losses.mean():.3f}")
