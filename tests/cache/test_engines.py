"""Every engine writes the bytes that the local one writes, whatever becomes of its workers."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inout_aug.cache import (
    EngineError,
    FillIncomplete,
    LocalEngine,
    Plan,
    ProcessEngine,
    RayEngine,
    SampleCache,
    fill_cache,
)
from inout_aug.cache.engines import engine_of
from inout_aug.cache.folder import LocalFolder
from standin import Brightness, Noise, Stumbling, contents

OPTIONS: dict[str, Any] = {
    "shape": (16, 24, 3),
    "shard_size": 5,
    "gates": [Brightness(128)],
    "conditions": [{"defect_class": 1}, {"defect_class": 2, "prompt": "a dent"}],
    "progress": False,
}


def fill(path: Path, generator: Any = None, n: int = 32, **options: Any) -> SampleCache:
    return fill_cache(generator or Noise(), path, n, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("local")
    fill(path, engine=LocalEngine())
    return contents(path)


def seed_of(index: int) -> int:
    return Plan(shape=OPTIONS["shape"]).request(index).seed


def test_two_processes_write_the_same_bytes_though_one_dies(tmp_path: Path, local: dict[str, bytes]) -> None:
    flag = tmp_path / "died"
    dying = Stumbling(seeds=(seed_of(12),), kill_once=str(flag))
    fill(tmp_path / "cache", dying, engine=ProcessEngine(workers=2), batch_size=3)
    assert flag.exists()
    assert contents(tmp_path / "cache") == local


def test_an_engine_whose_shards_do_not_arrive_is_reported(tmp_path: Path) -> None:
    class Elsewhere(LocalEngine):
        def run(self, source: Any, jobs: Any, settings: Any, watch: Any, done: Any) -> None:
            settings = dataclasses.replace(settings, folder=LocalFolder(tmp_path / "elsewhere"))
            super().run(source, jobs, settings, watch, done)

    with pytest.raises(EngineError, match=r"0 of 32 samples are stored .* write to another disk"):
        fill(tmp_path / "here", engine=Elsewhere())


def test_processes_that_keep_dying_are_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="exit code 7"):
        fill(tmp_path, functools.partial(Exiting, seconds=0.0), engine=ProcessEngine(workers=1))


class Exiting(Noise):
    def generate(self, requests: Any) -> Any:
        os._exit(7)


def test_what_cannot_be_sent_is_refused_with_the_remedy(tmp_path: Path) -> None:
    class Local(Noise):
        pass

    with pytest.raises(EngineError, match="function that builds the generator"):
        fill(tmp_path, Local(), engine=ProcessEngine(workers=1))


def test_a_function_builds_the_generator_in_each_process_and_failures_come_back(tmp_path: Path) -> None:
    build = functools.partial(Stumbling, seeds=(seed_of(12),))
    with pytest.raises(FillIncomplete, match="31 of 32") as caught:
        fill(tmp_path, build, engine=ProcessEngine(workers=1))
    assert [failure.index for failure in caught.value.failures] == [12]


SCRIPT = """
import sys
from standin import Noise
from inout_aug.cache import ProcessEngine, fill_cache

if __name__ == "__main__":
    fill_cache(Noise(seconds=0.05), sys.argv[1], 4000, shape=(16, 24, 3), shard_size=2000, batch_size=2,
               engine=ProcessEngine(workers=2), checkpoint_seconds=0.2, progress=False)
"""


def test_ctrl_c_reaches_the_workers_and_loses_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    cache = tmp_path / "cache"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, script, cache], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 200
    while not list(cache.glob("*.safetensors")):
        assert time.monotonic() < limit
        time.sleep(0.05)
    # as a terminal does it: to the whole process group
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Run the same fill again" in err
    assert "stopping after the batch at hand" in err
    stored = len(SampleCache(cache))
    assert f"{stored} of 4000" in err
    assert stored > 0


def test_engines_have_names() -> None:
    assert engine_of("local") == LocalEngine()
    assert engine_of("process") == ProcessEngine()
    assert engine_of("ray") == RayEngine()
    assert engine_of(ProcessEngine(workers=3)) == ProcessEngine(workers=3)


@pytest.mark.parametrize("workers", [0, 1.5, True])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: Any) -> None:
    with pytest.raises(ValueError, match="workers must be"):
        ProcessEngine(workers=workers)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"num_cpus": 0}, {"num_gpus": -1}])
def test_bad_settings_of_ray_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RayEngine(**wrong)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    found_by_workers = {"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=found_by_workers)
    yield
    ray.shutdown()


# Ray opens pipes and files that it leaves to the garbage collector
ray_leaves = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")


@ray_leaves
@pytest.mark.usefixtures("cluster")
def test_two_ray_workers_write_the_same_bytes_though_one_dies(tmp_path: Path, local: dict[str, bytes]) -> None:
    flag = tmp_path / "died"
    dying = Stumbling(seeds=(seed_of(12),), kill_once=str(flag))
    fill(tmp_path / "cache", dying, engine=RayEngine(workers=2), batch_size=3)
    assert flag.exists()
    assert contents(tmp_path / "cache") == local


@ray_leaves
@pytest.mark.usefixtures("cluster")
def test_an_error_in_ray_keeps_its_type(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="returned int"):
        fill(tmp_path, Fickle(), engine=RayEngine(workers=1))


class Fickle:
    """A function that builds a generator in this process, and something else in others."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __call__(self) -> Any:
        return Noise() if os.getpid() == self.home else 3


@ray_leaves
@pytest.mark.usefixtures("cluster")
def test_what_the_cluster_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="0 GPUs; a worker needs 1 and 1"):
        fill(tmp_path, engine=RayEngine(num_gpus=1))
