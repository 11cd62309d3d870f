"""segmentation-models-pytorch: a U-Net that outlines defects; albumentations moves image and mask together.

python examples/segmentation.py --quick
"""

import argparse

import albumentations as A
import segmentation_models_pytorch as smp
import torch
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader

from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
quick = parser.parse_args().quick
torch.manual_seed(0)

size, count, epochs = ((64, 64), 40, 1) if quick else ((256, 256), 1000, 10)
train_set = Surfaces(count, size=size, binary=True)  # gives image and mask
valid_set = Surfaces(count // 2, start=count, size=size, binary=True, defect_share=0.5)
normalise = [A.Normalize(), ToTensorV2()]
transform = A.Compose([A.HorizontalFlip(), A.RandomBrightnessContrast(), *normalise])

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
train = augment(train_set, transform=transform)

train_loader = DataLoader(train, batch_size=8, sampler=train.sampler(), num_workers=2)
# a ratio of nothing adds nothing: the same transform on real samples alone
valid = InOutAugment(generators=[MemSegPaste()], ratio=0)(valid_set, transform=A.Compose(normalise))
valid_loader = DataLoader(valid, batch_size=8)

model = smp.Unet("resnet18", encoder_weights=None, classes=1)
loss_fn = smp.losses.DiceLoss(mode="binary")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(epochs):
    model.train()
    for batch in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(batch["image"]), batch["mask"].float().unsqueeze(1))
        loss.backward()
        optimizer.step()

    model.eval()
    counts = []
    with torch.inference_mode():
        for batch in valid_loader:
            masks = model(batch["image"]).sigmoid()
            counts.append(smp.metrics.get_stats(masks, batch["mask"].unsqueeze(1).long(), mode="binary", threshold=0.5))
    iou = smp.metrics.iou_score(*(torch.cat(part) for part in zip(*counts, strict=True)), reduction="micro")
    print(f"epoch {epoch}: loss {loss.item():.3f}, IoU {iou:.3f}")
