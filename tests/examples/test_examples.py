"""Every example runs as its first lines say; each is short enough to read, and marks the lines that are ours."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "accelerate_training": ["accelerate"],
    "anomalib_validation": ["anomalib"],
    "classification": [],
    "detection": [],
    "hugging_face_trainer": ["datasets", "transformers", "accelerate"],
    "lightning_ddp": ["lightning"],
    "segmentation": ["segmentation_models_pytorch", "albumentations"],
    "timm_training": ["timm"],
}


def run(*command):
    # one thread: several of them would fight over the cores of a small machine
    offline = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=os.environ | offline, capture_output=True, text=True, cwd=EXAMPLES, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def needs(name):
    if missing := [package for package in NEEDS[name] if find_spec(package) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: uv run --group examples pytest {Path(__file__).name}")


def test_every_example_is_listed():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_is_short_and_marks_the_lines_that_are_ours(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) < 120
    ours = re.search(r"# the two lines\n *augment = InOutAugment\(.*\)\n *[\w.]+ = augment\(\w+.*\)\n", text)
    assert ours


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs(name):
    needs(name)
    said = run(f"{name}.py", "--quick")
    figures = [float(figure) for figure in re.findall(r"(?:loss|AUROC'?:) (\d+\.\d+)", said)]
    assert figures, said


def test_accelerate_gives_each_process_its_own_batches():
    needs("accelerate_training")
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_cpu_threads_per_process", "1", "--num_processes")
    alone = run("accelerate_training.py", "--quick")
    two = run(*launch, "2", "accelerate_training.py", "--quick")
    assert re.findall(r"(\d+) batches", alone) == ["9", "9"]
    assert re.findall(r"(\d+) batches", two) == ["5", "5"]
