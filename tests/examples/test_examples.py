"""Every example runs, is short, and marks the lines that are ours; the links of the cookbook lead somewhere."""

import re
import runpy
import socket
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "accelerate_training": ["accelerate"],
    "anomalib_validation": ["anomalib"],
    "classification": [],
    "detection": [],
    "hugging_face_trainer": ["datasets", "transformers", "accelerate"],
    "lightning_ddp": ["lightning"],
    "lora_few_shot": ["accelerate", "diffusers", "peft", "transformers"],
    "lora_zero_shot": ["diffusers", "transformers"],
    "segmentation": ["segmentation_models_pytorch", "albumentations"],
    "timm_training": ["timm"],
}

# an example's warnings are those of its library
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name, value in {"HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)


def needs(name):
    if missing := [package for package in NEEDS[name] if find_spec(package) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: uv run --group examples pytest tests/examples")


def test_every_example_is_listed():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_is_short_and_marks_the_lines_that_are_ours(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) < 120
    ours = re.search(r"# the two lines\n *augment = InOutAugment\(.*\)\n *[\w.]+ = augment\(\w+.*\)\n", text)
    assert ours


def execute(path):
    if "accelerate" in sys.modules:  # another test has used it in this process, which was alone
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
    if not torch.cuda.is_available():  # another test has counted no GPU, which torch takes for having used one
        torch.cuda._is_in_bad_fork = lambda: False
    runpy.run_path(path, run_name="__main__")


def start(name, monkeypatch):
    needs(name)
    for package in ("torchvision.models", "inout_aug.datasets", *NEEDS[name]):
        import_module(package)
    path = str(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, "--quick"])
    # forked: what is imported above is there for later ones too, and nothing else is left behind
    context = torch.multiprocessing.get_context("fork")
    process = context.Process(target=execute, args=(path,))
    process.start()
    return process


def output(processes, capfd):
    for process in processes:
        process.join()
    said = capfd.readouterr()
    assert [process.exitcode for process in processes] == [0] * len(processes), said.err[-3000:]
    return said.out


@pytest.mark.parametrize("name", sorted(NEEDS.keys() - {"accelerate_training"}))
def test_an_example_runs(name, monkeypatch, capfd):
    said = output([start(name, monkeypatch)], capfd)
    assert re.search(r"(?:loss|AUROC'?:) \d+\.\d+", said), said


def test_accelerate_gives_each_of_two_processes_its_own_batches(monkeypatch, capfd):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        # as torchrun does
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        for key, value in told.items():
            monkeypatch.setenv(key, str(value))
        ranks.append(start("accelerate_training", monkeypatch))
    said = output(ranks, capfd)
    # nine batches of eight hold all 72 samples
    assert re.findall(r"(\d+) batches on each process, loss \d", said) == ["5", "5"]


def test_the_links_of_the_cookbook_lead_somewhere():
    links = re.findall(r"\[(`?)([^\]`]+)`?\]\(([^)#]+)\)", (EXAMPLES / "README.md").read_text())
    assert len(links) > 50
    for code, name, target in links:
        path = EXAMPLES / target
        assert path.is_file(), f"{target} does not exist"
        if code:
            assert name in path.name or re.search(rf"\b{name}\b", path.read_text()), f"{target} has no {name}"
