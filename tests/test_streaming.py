"""Webdataset and Hugging Face streams, shared out to ranks and workers: nothing twice, nothing left out."""

import hashlib
import io
import itertools
import tarfile

import numpy as np
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from PIL import Image as Pillow
from torch.utils.data import DataLoader

from datasets import Dataset as HuggingFaceDataset
from inout_aug.augment import InOutAugment
from support import Parts, Square

LENGTH, SHARDS, RATIO = 240, 8, 0.5
PARTS = Parts(LENGTH, height=64, width=64)

# webdataset leaves the file open that it was reading when an iteration ends early
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    pytest.importorskip("webdataset", reason="webdataset is not installed: it is no part of the test group")
    folder = tmp_path_factory.mktemp("tars")
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for index in range(shard, LENGTH, SHARDS):
                image, label = PARTS[index]
                picture = io.BytesIO()
                Pillow.fromarray(image).save(picture, "png")
                for ending, data in (("png", picture.getvalue()), ("cls", str(label).encode())):
                    entry = tarfile.TarInfo(f"{index:06d}.{ending}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    return [str(folder / f"{shard}.tar") for shard in range(SHARDS)]


def webdataset_of(tars):
    import webdataset

    made = webdataset.WebDataset(tars, shardshuffle=False, nodesplitter=webdataset.split_by_node)
    return made.decode("rgb8").to_tuple("png", "cls")


@pytest.fixture(scope="module")
def table():
    items = [PARTS[index] for index in range(LENGTH)]
    columns = {"image": [Pillow.fromarray(image) for image, _ in items], "label": [label for _, label in items]}
    return HuggingFaceDataset.from_dict(columns)


def wrap(dataset):
    return InOutAugment(generators=[Square()], ratio=RATIO)(dataset)


def read(train, workers):
    """Return what a loop sees: digests of the real samples, and of the synthetic ones."""
    real = {hashlib.sha256(PARTS[index][0].tobytes()).digest() for index in range(LENGTH)}
    seen = []
    for item in DataLoader(train, batch_size=None, num_workers=workers, collate_fn=lambda item: item):
        image, _ = item.values() if isinstance(item, dict) else item
        seen.append(hashlib.sha256(np.asarray(image).tobytes()).digest())
    return [digest for digest in seen if digest in real], [digest for digest in seen if digest not in real]


def check(shares):
    real, synthetic = (list(itertools.chain(*parts)) for parts in zip(*shares, strict=True))
    assert len(real) == len(set(real)) == LENGTH
    assert len(synthetic) == len(set(synthetic)) == RATIO * LENGTH
    for part in shares:
        assert abs(len(part[1]) - RATIO * len(part[0])) <= 1


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 2)])
def test_webdataset_is_shared_out_to_ranks_and_workers(tars, ranks, workers, monkeypatch):
    shares = []
    for rank in range(ranks):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        shares.append(read(wrap(webdataset_of(tars)), workers))
    check(shares)


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 2)])
def test_a_hugging_face_stream_is_shared_out_to_ranks_and_workers(table, ranks, workers, monkeypatch):
    shares = []
    for rank in range(ranks):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        stream = split_dataset_by_node(table.to_iterable_dataset(num_shards=SHARDS), rank, ranks)
        shares.append(read(wrap(stream), workers))
    check(shares)


def rank_of_two(rank, path, tars, queue):
    torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(path, 2), rank=rank, world_size=2)
    queue.put(read(wrap(webdataset_of(tars)), 2))
    torch.distributed.destroy_process_group()


def test_a_process_group_tells_the_ranks(tars, tmp_path):
    context = torch.multiprocessing.get_context("fork")
    queue = context.Queue()
    ranks = [context.Process(target=rank_of_two, args=(r, str(tmp_path / "store"), tars, queue)) for r in range(2)]
    for process in ranks:
        process.start()
    shares = [queue.get(timeout=120) for _ in ranks]
    for process in ranks:
        process.join()
    check(shares)


def test_any_thousand_samples_of_a_loader_hold_the_ratio():
    workers = 2
    image = Pillow.fromarray(np.full((16, 16), 7, np.uint8))
    stream = HuggingFaceDataset.from_dict({"image": [image] * 1600, "label": [0] * 1600}).to_iterable_dataset(4)
    train = InOutAugment(generators=[Square()], ratio=0.37)(stream)
    loader = DataLoader(train, batch_size=None, num_workers=workers, collate_fn=lambda item: item)
    flags = np.cumsum([0, *(int(item["label"]) for item in loader)])
    windows = flags[1000:] - flags[:-1000]
    # each worker's own share is exact to one
    assert np.abs(windows - 1000 * 0.37 / 1.37).max() <= workers


def test_a_hugging_face_table_is_wrapped_as_any_dataset(table):
    train = wrap(table)
    assert len(train) == LENGTH * (1 + RATIO)
    assert train.targets.tolist() == table["label"][:] + [1] * int(RATIO * LENGTH)
    real, synthetic = read(train, 2)
    assert len(set(real)) == LENGTH
    assert len(set(synthetic)) == RATIO * LENGTH
