"""Lightning: a DataModule, trained by two processes on the CPU with DDP; each sees other samples, equally many.

python examples/lightning_ddp.py --quick
"""

import argparse

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces

TO_TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])


class SurfacesModule(L.LightningDataModule):
    """Parts to train on."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.count, self.size = count, size

    def setup(self, stage: str) -> None:
        """Open the parts, once on every rank."""
        train_set = Surfaces(self.count, size=self.size, binary=True)
        # the two lines
        augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
        self.train = augment(train_set, transform=TO_TENSOR)

    def train_dataloader(self) -> DataLoader:
        """Load them."""
        # it shares itself out to the ranks, and Lightning tells it the epoch
        return DataLoader(self.train, batch_size=8, sampler=self.train.sampler())


class Classifier(L.LightningModule):
    """A ResNet for good or defective."""

    def __init__(self) -> None:
        super().__init__()
        self.model = resnet18(num_classes=2)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        loss = nn.functional.cross_entropy(self.model(batch["image"]), batch["label"])
        self.log("loss", loss, on_epoch=True, on_step=False, sync_dist=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
    quick = parser.parse_args().quick
    L.seed_everything(0)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",  # in a script of your own: "ddp"
        max_epochs=1 if quick else 10,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=not quick,
    )
    data = SurfacesModule(32, (64, 64)) if quick else SurfacesModule(2000, (128, 128))
    trainer.fit(Classifier(), data)
    print(f"loss {trainer.callback_metrics['loss']:.3f}")
