"""Hugging Face: a `datasets` dataset, a transformers model and the Trainer.

python examples/hugging_face_trainer.py --quick
"""

import argparse
import tempfile
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import v2
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
quick = parser.parse_args().quick

count, size = (40, (64, 64)) if quick else (2000, (128, 128))
surfaces = Surfaces(count, size=size, binary=True)
parts = [surfaces[index] for index in range(count)]
features = Features({"image": ImageFeature(), "label": ClassLabel(names=["normal", "defect"])})
columns = {"image": [Image.fromarray(part["image"]) for part in parts], "label": [part["label"] for part in parts]}
train_set = Dataset.from_dict(columns, features)  # or load_dataset("imagefolder", ...)["train"]
transform = v2.Compose(
    [v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
)

# the two lines
augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], ratio=0.5)
train = augment(train_set, transform=transform)


def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stack what the model takes."""
    return {
        "pixel_values": torch.stack([item["image"] for item in items]),
        "labels": torch.tensor([item["label"] for item in items]),
    }


config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=2)
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        num_train_epochs=1 if quick else 10,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        logging_strategy="epoch",
        save_strategy="no",
        remove_unused_columns=False,  # or the collator would not see "image"
        report_to="none",
        use_cpu=True,
        seed=0,
        disable_tqdm=quick,
    )
    trainer = Trainer(ResNetForImageClassification(config), arguments, data_collator=collate, train_dataset=train)
    result = trainer.train()
print(f"{result.global_step} steps: loss {result.training_loss:.3f}")
