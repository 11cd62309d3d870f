"""Not one real defect: Stable Diffusion for inpainting draws them into good parts, by prompts, without any training.

python examples/lora_zero_shot.py --quick       a random model of a thousandth of the size; defects are grey blots
python examples/lora_zero_shot.py               downloads the weights; wants a GPU

The settings are DIAG's (arXiv 2407.03961). Find prompts for your parts first: inout-aug prompts try --help
"""

import argparse
import os
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste
from inout_aug.datasets import Surfaces
from inout_generators import LoRAInpaint
from inout_generators.lora.tiny import tiny_stable_diffusion

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
parser.add_argument("--base", default="stable-diffusion-v1-5/stable-diffusion-inpainting", help="folder or hub id")
arguments = parser.parse_args()
quick = arguments.quick
torch.manual_seed(0)

# your good parts, and a test set with defects
size, count, epochs = ((64, 64), 24, 1) if quick else ((256, 256), 1000, 10)
train_set = Surfaces(count, size=size, binary=True, defect_share=0)
test_set = Surfaces(count, start=count, size=size, binary=True, defect_share=0.5)
transform = v2.Compose(
    [v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
)

if quick:
    # defects are drawn once, into a cache: here one that is thrown away, by default in the user's folder for caches
    scratch = tempfile.TemporaryDirectory()
    os.environ["INOUT_CACHE"] = scratch.name
    inpaint = LoRAInpaint(tiny_stable_diffusion(in_channels=9), preset="diag", steps=2, strength=1, device="cpu")
else:
    inpaint = LoRAInpaint.from_pretrained(arguments.base, preset="diag", dtype="bfloat16")

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), inpaint], ratio=0.5)
train = augment(train_set, transform=transform)

train.summary()
train_loader = DataLoader(train, batch_size=8, sampler=train.sampler())
test_loader = DataLoader(test_set, batch_size=8)

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
