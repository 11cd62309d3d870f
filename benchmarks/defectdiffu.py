"""What DefectDiffu learns of procedural surfaces: the dial of strength, masks, transfer to a product seen only good.

Metal and fabric with three kinds of defects, cast iron without any, 32 pixels a side, by the `tiny` recipe on one CPU
core. Trains first if CKPT is not there, and goes on if that was broken off:

    python benchmarks/defectdiffu.py --checkpoint CKPT

Three questions, after the paper's claims (Liu et al., 2024, sections 3.3 to 3.6):

- strength: does the mean mask area rise with w_defect? Spearman's correlation over the five strengths;
- masks: does the mask agree with the difference of two images from the same noise, with and without the defect? The
  difference is blurred and cut at Otsu's threshold, and knows nothing of the net's attention; IoU, 0 where the mask is
  empty;
- transfer: does a classifier that learned real good and defective cast iron call the drawn ones defective?
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from common import RESULTS, machine, versions, write_report
from torch import Tensor, nn

from inout_aug import Sample
from inout_aug.datasets import Surfaces
from inout_aug.sample import Image, Mask
from inout_generators.common.training import has_checkpoint
from inout_generators.defectdiffu.data import Named, name_samples
from inout_generators.defectdiffu.drawing import Drawn
from inout_generators.defectdiffu.folder import FILE
from inout_generators.defectdiffu.generator import STRENGTHS, DefectDiffu
from inout_generators.defectdiffu.recipe import load_recipe
from inout_generators.defectdiffu.reports import attention_grid, strength_grid, write_picture, zero_shot_grid
from inout_generators.defectdiffu.train import TRAINING, train_defectdiffu

VERSIONS = ("inout-aug", "torch", "diffusers", "numpy", "opencv-python-headless")
SIZE = (32, 32)
PRODUCTS, HELD_OUT = ("metal", "fabric", "cast"), "cast"
DEFECTS = ("scratch", "spot", "crack")
CONTRAST = (1.2, 2.0)  # clear at a glance, since 32 pixels hide much
# number of images, and of the first one, so that no two parts overlap
LEARNED, REAL, TEST = (1500, 0), (4000, 100_000), (1000, 200_000)
DEFECT_SHARE = 0.8
EPOCHS = 6

Row = dict[str, Any]


def surfaces(material: str, part: tuple[int, int], share: float) -> list[Sample]:
    """Parts of one product, of which a share is defective."""
    length, start = part
    items = Surfaces(
        length,
        start=start,
        size=SIZE,
        materials=(material,),
        defects=DEFECTS,
        defect_share=share,
        contrast=CONTRAST,
    )
    return [Sample(item["image"], item["mask"], item["label"]) for item in items]


def lessons() -> Iterator[Named]:
    """What is learned: the held-out product is good always."""
    for product in PRODUCTS:
        share = 0.0 if product == HELD_OUT else DEFECT_SHARE
        yield from name_samples(product, surfaces(product, LEARNED, share), DEFECTS)


def train(out: Path, recipe: str) -> float | None:
    """Train, or go on with it; return the CPU seconds that this took, None if it was broken off in between."""
    begun, whole = time.process_time(), not has_checkpoint(out / TRAINING, resume=True)
    train_defectdiffu(lessons(), load_recipe(recipe), out, size=SIZE, resume=True, device="cpu")
    return time.process_time() - begun if whole else None


def difference(image: Image, plain: Image) -> Mask:
    """Where two images differ: blurred by a pixel, cut at Otsu's threshold."""
    change = np.abs(image.astype(np.float32) - plain).mean(-1)
    grey = np.clip(cv2.GaussianBlur(change, (0, 0), 1.0), 0, 255).astype(np.uint8)
    return np.asarray(cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1], np.uint8)


def iou(mask: Mask, other: Mask) -> float:
    """Intersection over union of two masks; 0 if either is empty."""
    return float(((mask > 0) & (other > 0)).sum() / max(1, ((mask > 0) | (other > 0)).sum()))


def spearman(values: Sequence[float]) -> float:
    """Rank correlation of values with their places; 0 if all are the same."""
    array = np.asarray(values)
    # equal values share their mean rank
    ranks = (array[:, None] > array).sum(1) + (array[:, None] == array).sum(1) / 2
    return 0.0 if np.ptp(ranks) == 0 else float(np.corrcoef(ranks, np.arange(len(array)))[0, 1])


def measure_strengths(generator: DefectDiffu, seeds: int) -> Iterator[Row]:
    """Mask areas and their agreement with differences, by product and over all, at each strength."""
    drawn: dict[str, list[list[Drawn]]] = {
        product: [
            generator.series(product, defect, strengths=(0.0, *STRENGTHS), seed=1000 * seed + number)
            for number, defect in enumerate(DEFECTS)
            for seed in range(seeds)
        ]
        for product in PRODUCTS
    }
    for what, series in {"all": [row for rows in drawn.values() for row in rows], **drawn}.items():
        # (series, strengths), the first of which is 0
        areas = np.array([[each.mask.mean() for each in row] for row in series])
        agreement = np.array([[iou(each.mask, difference(each.image, row[0].image)) for each in row] for row in series])
        yield {
            "section": "strength and masks",
            "what": what + (", never seen with a defect" if what == HELD_OUT else ""),
            "series": len(series),
            "strengths": list(STRENGTHS),
            "mean_mask_area": areas[:, 1:].mean(0).tolist(),
            "spearman_of_mean_area": spearman(areas[:, 1:].mean(0)),
            "spearman_of_each_series": float(np.mean([spearman(row) for row in areas[:, 1:]])),
            "empty_masks": (areas[:, 1:] == 0).sum(0).tolist(),
            "iou_with_difference": agreement[:, 1:].mean(0).tolist(),
        }


class Classifier(nn.Sequential):
    """A small convolutional net: one logit for "defective"."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, pool in ((3, 32, 1), (32, 32, 2), (32, 64, 2), (64, 96, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(pool)] if pool > 1 else []
        super().__init__(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(outputs, 1))

    def learn(self, images: Tensor, defective: Tensor) -> None:
        """Train on images (N, 3, H, W), turned and mirrored at random."""
        optimizer = torch.optim.AdamW(self.parameters(), 2e-3)
        batches = EPOCHS * (len(images) // 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=batches)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(images))[: len(images) // 64 * 64].split(64):
                flips = [axis for axis in (2, 3) if torch.rand(()) < 0.5]
                logits = self(images[chosen].flip(flips))[:, 0]
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(logits, defective[chosen]).backward()
                optimizer.step()
                schedule.step()
        self.eval()

    @torch.no_grad()
    def calls(self, images: Tensor) -> float:
        """Share of images that are called defective."""
        return float((self(images)[:, 0] > 0).float().mean())


def tensor(images: Sequence[Image]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def measure_transfer(generator: DefectDiffu, seeds: int) -> Iterator[Row]:
    """What a classifier of real parts of the held-out product says of drawn ones."""
    torch.manual_seed(0)
    classifier = Classifier()
    real, test = surfaces(HELD_OUT, REAL, 0.5), surfaces(HELD_OUT, TEST, 0.5)
    classifier.learn(tensor([s.image for s in real]), torch.tensor([float(s.label > 0) for s in real]))
    for what, wanted in (("real good", False), ("real defective", True)):
        chosen = [s.image for s in test if (s.label > 0) == wanted]
        yield {"section": "transfer", "what": what, "images": len(chosen), "called": classifier.calls(tensor(chosen))}
    rows = [
        generator.series(HELD_OUT, defect, strengths=(0.0, *STRENGTHS), seed=5000 + 100 * number + seed)
        for number, defect in enumerate(DEFECTS)
        for seed in range(seeds)
    ]
    for k, strength in enumerate((0.0, *STRENGTHS)):
        drawn = [row[k] for row in rows]
        by_defect = [tensor([each.image for each in drawn[n * seeds : (n + 1) * seeds]]) for n in range(len(DEFECTS))]
        yield {
            "section": "transfer",
            "what": "drawn good" if not strength else f"drawn defective, w_defect {strength:g}",
            "images": len(drawn),
            "called": classifier.calls(tensor([each.image for each in drawn])),
            "called_by_defect": {
                name: classifier.calls(images) for name, images in zip(DEFECTS, by_defect, strict=True)
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--seeds", type=int, default=10, help="series of each product and defect")
    parser.add_argument("--transferred", type=int, default=30, help="series of each defect on the held-out product")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = machine()
    seconds = None if (arguments.checkpoint / FILE).exists() else train(arguments.checkpoint, arguments.recipe)
    generator = DefectDiffu.from_pretrained(arguments.checkpoint, device="cpu")
    pairs = [(product, defect) for product in PRODUCTS for defect in DEFECTS]
    write_picture(RESULTS / "defectdiffu_strength.jpg", strength_grid(generator, pairs=pairs))
    write_picture(RESULTS / "defectdiffu_zero_shot.jpg", zero_shot_grid(generator, seeds=range(5)))
    write_picture(RESULTS / "defectdiffu_attention.jpg", attention_grid(generator, pairs=pairs))
    measured = []
    for rows in (
        measure_strengths(generator, arguments.seeds),
        measure_transfer(generator, arguments.transferred),
    ):
        for row in rows:
            measured.append(row)
            print(row, flush=True)
    write_report(
        RESULTS / "defectdiffu.json",
        measured,
        machine=before,
        threads=1,
        versions=versions(VERSIONS),
        training_cpu_seconds=seconds,
        provenance={name: value for name, value in generator.provenance.items() if name != "data"},
        settings=repr(generator),
    )


if __name__ == "__main__":
    main()
