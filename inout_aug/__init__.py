"""Synthetic defects inside any PyTorch training loop: one line around any dataset."""

from inout_aug.augment import InOutAugment
from inout_aug.batch_sampler import InOutBatchSampler
from inout_aug.collate import BatchCollate
from inout_aug.dataset import InOutDataset
from inout_aug.detection import Detection
from inout_aug.layout import AmbiguousLayout, Fields, Layout
from inout_aug.mixer import InOutMixer
from inout_aug.paste import NSA, BatchPaste, CopyPaste, CutPaste, MemSegPaste, StrokePaste
from inout_aug.plugin import Generator, HostRefused, Paster, Request, SampleSource
from inout_aug.sample import Origin, Sample
from inout_aug.sampler import PositivesSampler
from inout_aug.stream import InOutIterableDataset

__all__ = [
    "NSA",
    "AmbiguousLayout",
    "BatchCollate",
    "BatchPaste",
    "CopyPaste",
    "CutPaste",
    "Detection",
    "Fields",
    "Generator",
    "HostRefused",
    "InOutAugment",
    "InOutBatchSampler",
    "InOutDataset",
    "InOutIterableDataset",
    "InOutMixer",
    "Layout",
    "MemSegPaste",
    "Origin",
    "Paster",
    "PositivesSampler",
    "Request",
    "Sample",
    "SampleSource",
    "StrokePaste",
]
