"""anomalib: a one-class model learns from good parts alone; synthetic defects are its validation set.

python examples/anomalib_validation.py --quick
"""

import argparse
import tempfile
from pathlib import Path

from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.metrics import AUROC, Evaluator
from anomalib.models import Padim
from PIL import Image
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste, StrokePaste
from inout_aug.datasets import Surfaces

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a few seconds on a CPU")
quick = parser.parse_args().quick
count, size = (32, (64, 64)) if quick else (400, (256, 256))

with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    good = root / "good"  # your folder of good parts
    good.mkdir()
    for index, item in enumerate(Surfaces(count, size=size, defect_share=0)):
        Image.fromarray(item["image"]).save(good / f"{index:04d}.png")

    data = Folder(
        "parts",
        root=root,
        normal_dir="good",
        test_split_mode="none",
        val_split_mode="none",
        augmentations=v2.Resize(size),
        train_batch_size=8,
        eval_batch_size=8,
        num_workers=0,
    )
    data.setup()
    data.train_data, held_out = data.train_data.subsample(range(8, count)), data.train_data.subsample(range(8))

    # the two lines
    augment = InOutAugment(generators=[MemSegPaste(), StrokePaste()], balance=0.5, resample=False)
    data.val_data = augment(held_out)

    evaluator = Evaluator(val_metrics=[AUROC(fields=["pred_score", "gt_label"], prefix="image_")])
    model = Padim("resnet18", layers=["layer1", "layer2"], pre_trained=False, n_features=40, evaluator=evaluator)
    engine = Engine(default_root_dir=root / "results", accelerator="cpu", logger=False)
    engine.fit(model, datamodule=data)
    print({name: round(float(value), 3) for name, value in engine.trainer.callback_metrics.items()})
