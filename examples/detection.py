"""torchvision detection: a Faster R-CNN; new defects bring their boxes.

python examples/detection.py --quick
"""

import argparse
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces


class Parts(Dataset):
    """(image, {"boxes", "labels"}), as torchvision's detection models want it; a good part has no box."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.items = Surfaces(count, size=size, binary=True)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        item = self.items[index]
        mask = torch.from_numpy(item["mask"])
        defects = mask[None] if mask.any() else mask[None][:0]
        edges = masks_to_boxes(defects) + torch.tensor([0, 0, 1, 1])
        boxes = tv_tensors.BoundingBoxes(edges, format="XYXY", canvas_size=mask.shape)
        image = tv_tensors.Image(torch.from_numpy(item["image"]).permute(2, 0, 1))
        return image, {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}


parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
quick = parser.parse_args().quick
torch.manual_seed(0)

size, count, epochs = ((64, 64), 6, 1) if quick else ((256, 256), 1000, 10)
train_set = Parts(count, size)
transform = v2.Compose([v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
train = augment(train_set, transform=transform)

loader = DataLoader(train, batch_size=4, sampler=train.sampler(), collate_fn=lambda batch: zip(*batch, strict=True))
backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
model = FasterRCNN(backbone, num_classes=2, min_size=size[0], max_size=size[1])
optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)

for epoch in range(epochs):
    model.train()
    boxes = 0
    for images, targets in loader:
        losses = model(images, targets)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        boxes += sum(len(target["boxes"]) for target in targets)
    print(f"epoch {epoch}: loss {loss.item():.3f}, {boxes} boxes")
