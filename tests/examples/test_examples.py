"""Every example runs, is short, and marks the lines that are ours; the links of the cookbook lead somewhere."""

import re
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

from fresh import fresh_process, run_forked

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


@pytest.fixture(scope="module")
def fresh():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        with fresh_process() as process:
            yield process


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


def run(fresh, name, environments=({},)):
    needs(name)
    packages = ["torchvision.models", "inout_aug.datasets", *NEEDS[name]]
    script = [str(EXAMPLES / f"{name}.py"), "--quick"]
    ended = fresh.submit(run_forked, script, environments, packages).result()
    said = "".join(each.said for each in ended)
    assert [each.exit_code for each in ended] == [0] * len(ended), said[-3000:]
    return said


@pytest.mark.parametrize("name", sorted(NEEDS.keys() - {"accelerate_training"}))
def test_an_example_runs(name, fresh):
    said = run(fresh, name)
    assert re.search(r"(?:loss|AUROC'?:) \d+\.\d+", said), said


def test_accelerate_gives_each_of_two_processes_its_own_batches(fresh):
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    # as torchrun does
    alike = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    said = run(fresh, "accelerate_training", [{"RANK": rank, "LOCAL_RANK": rank, **alike} for rank in "01"])
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
