"""Five real defects: a LoRA learns them, as in In&Out; Stable Diffusion with it draws more.

python examples/lora_few_shot.py --quick        a random model of a thousandth of the size; it learns nothing
python examples/lora_few_shot.py                downloads the weights; wants a GPU

The same on the command line: inout-aug train lora, inout-aug prompts try, inout-aug cache fill
"""

import argparse
import os
import tempfile
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste
from inout_aug.datasets import Surfaces
from inout_generators.lora.data import Instance
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.recipe import load_recipe
from inout_generators.lora.tiny import tiny_stable_diffusion
from inout_generators.lora.train import train_lora

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
parser.add_argument("--base", default="stable-diffusion-v1-5/stable-diffusion-v1-5", help="folder or hub id")
parser.add_argument("--out", type=Path, default=Path("checkpoints/lora"), help="where the LoRA goes")
arguments = parser.parse_args()
quick, base, out = arguments.quick, arguments.base, arguments.out
torch.manual_seed(0)

size, count, epochs = ((64, 64), 24, 1) if quick else ((256, 256), 1000, 10)


class Parts(Dataset):
    """Your dataset: images and whether they are defective; whole drawn images have no masks."""

    def __init__(self, start, defect_share):
        self.surfaces = Surfaces(count, start=start, size=size, binary=True, defect_share=defect_share)
        self.targets = self.surfaces.targets

    def __len__(self):
        return len(self.surfaces)

    def __getitem__(self, index):
        item = self.surfaces[index]
        return item["image"], item["label"]


train_set, test_set = Parts(0, 0.25), Parts(count, 0.5)
transform = v2.Compose(
    [v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
)

recipe = load_recipe("few")
if quick:
    scratch = tempfile.TemporaryDirectory()
    base, out = Path(scratch.name, "base"), Path(scratch.name, "lora")
    # samples are drawn once, into a cache: here one that is thrown away, by default in the user's folder for caches
    os.environ["INOUT_CACHE"] = scratch.name
    tiny_stable_diffusion(base)
    shorter = {"epochs": 1, "repeats": 1, "batch": 4, "prior_images": 2, "previews": 0}
    recipe = load_recipe("few", shorter, {"precision": "fp32"})
shots = islice((image for image, label in train_set if label), recipe.positives)
instances = [Instance(image, recipe.caption, "defect") for image in shots]
train_lora(instances, recipe, base, out)
lora = LoRADiffusion.from_pretrained(out, steps=2 if quick else 50)

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), lora], ratio=0.5)
train = augment(train_set, transform=transform)

train.summary()
train_loader = DataLoader(train, batch_size=8, sampler=train.sampler())
to_test = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])

model = resnet18(num_classes=2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(epochs):
    model.train()
    total = 0.0
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()

    model.eval()
    with torch.inference_mode():
        correct = sum(int(model(to_test(image)[None]).argmax()) == label for image, label in test_set)
    print(f"epoch {epoch}: loss {total / len(train_loader):.3f}, accuracy {correct / len(test_set):.3f}")
