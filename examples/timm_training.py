"""timm: its own models, loaders, optimiser and schedule, as its train.py puts them together.

python examples/timm_training.py --quick
"""

import argparse
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter
from torch.utils.data import Dataset

from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces


class Parts(Dataset):
    """(PIL image, label), as timm's own datasets and torchvision's ImageFolder give them."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.items = Surfaces(count, size=size, binary=True)
        self.targets = self.items.targets

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        item = self.items[index]
        return Image.fromarray(item["image"]), item["label"]


parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
quick = parser.parse_args().quick
torch.manual_seed(0)

count, epochs = (48, 1) if quick else (2000, 10)
model = timm.create_model("resnet18", num_classes=2, pretrained=False)
data_config = resolve_data_config({"input_size": (3, 64, 64)}, model=model)
train_set = Parts(count, (80, 80))

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
train = augment(train_set)

# create_loader sets its transform on the wrapped set: it runs after the defects are in
loader = create_loader(
    train,
    input_size=data_config["input_size"],
    batch_size=16,
    is_training=True,
    scale=(0.7, 1.0),
    num_workers=2,
    persistent_workers=False,
    use_prefetcher=False,
    device=torch.device("cpu"),
)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
scheduler, epochs = create_scheduler_v2(optimizer, num_epochs=epochs, warmup_epochs=0)
loss_fn = LabelSmoothingCrossEntropy(0.1)

for epoch in range(epochs):
    train.set_epoch(epoch)
    model.train()
    losses = AverageMeter()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(labels))
    scheduler.step(epoch + 1)
    print(f"epoch {epoch}: loss {losses.avg:.3f}")
