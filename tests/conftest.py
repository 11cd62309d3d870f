"""Fixtures of the whole suite."""

from __future__ import annotations

import multiprocessing
import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
from hypothesis import settings

# a machine may be slow or busy: time is no reason to fail
settings.register_profile("inout", deadline=None)
settings.load_profile("inout")

# workers of the loader tests share two cores
torch.set_num_threads(1)
cv2.setNumThreads(1)
# a server that has imported torch forks workers in no time, else each of them imports it
multiprocessing.set_forkserver_preload(["inout_aug.augment", "torch.utils.data"])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: INOUT_DATA, else ../shared/data beside the checkout."""
    root = Path(os.environ.get("INOUT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real images: {root} does not exist; set INOUT_DATA")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the one docstring example that needs a package compiled from source, where that is absent."""
    if find_spec("noise") is None:
        for item in items:
            if item.name == "inout_aug.paste.simplex.Simplex":
                item.add_marker(pytest.mark.skip(reason="needs the noise package: pip install 'inout-aug[noise]'"))
