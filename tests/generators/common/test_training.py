import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from inout_aug.seeding import stream
from inout_generators.common.checkpoints import CheckpointError, write_tensors
from inout_generators.common.losses import read_losses
from inout_generators.common.training import CHECKPOINT, LOSSES, Settings, TrainingDiverged, train
from support import kill_at

SETTINGS = Settings(steps=12, learning_rate=1e-2, warmup=2, schedule="cosine", ema=0.8, log_every=4, checkpoint_every=5)


def net(*, width=4, dropout=0.3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.Dropout(dropout), nn.Tanh(), nn.Linear(width, 1))


def objective(model, rng, device):
    x = torch.from_numpy(rng.standard_normal((8, 3)).astype(np.float32)).to(device)
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def fixed(model, *_):
    return (model(torch.eye(3)) - torch.arange(3.0)[:, None]).square().mean()


def run(folder, settings=SETTINGS, *, model=None, loss=objective, log=lambda line: None, **options):
    return train(model or net(), loss, settings, folder, device="cpu", log=log, **options)


def weights(model):
    return {name: value.tolist() for name, value in model.state_dict().items()}


class Stopped(Exception):
    pass


def until(step, then):
    """The objective, up to a step; from there on what `then` returns or raises."""
    calls = iter(range(step))
    return lambda *arguments: then(*arguments) if next(calls, None) is None else objective(*arguments)


def stop(*_):
    raise Stopped


def nan(model, *arguments):
    return objective(model, *arguments) * math.nan


def test_it_is_adamw_with_clipped_gradients_and_a_warmed_up_average(tmp_path):
    settings = replace(SETTINGS, clip=0.5, weight_decay=0.1)
    trained = run(tmp_path, settings, model=net(dropout=0), loss=fixed)
    plain = net(dropout=0)
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.1)
    average = [p.detach().clone() for p in plain.parameters()]
    for n in range(settings.steps):
        done = max(0, n - 2) / 10
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (n + 1) / 3) * (1 + math.cos(math.pi * done)) / 2
        fixed(plain).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(0.8, (1 + n) / (10 + n)) if n else 0
        for a, p in zip(average, plain.parameters(), strict=True):
            a.mul_(decay).add_(p.detach(), alpha=1 - decay)
    assert not trained.training
    for a, p in zip(average, trained.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), a)


def test_a_cosine_with_restarts_as_transformers_defines_it():
    schedules = pytest.importorskip("transformers.optimization")
    optimizer = torch.optim.SGD(net().parameters(), lr=0.5)
    expected = schedules.get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 0, 100, num_cycles=3)
    settings = Settings(steps=70, horizon=100, cycles=3, schedule="cosine", learning_rate=0.5)
    for n in range(100):
        assert settings.learning_rate_at(n) == pytest.approx(expected.get_last_lr()[0], abs=1e-12), n
        optimizer.step()
        expected.step()


def test_8_bits_are_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("inout_generators.common.training.has_8bit", lambda: False)
    monkeypatch.setattr("inout_generators.common.optimizers.has_8bit", lambda: False)
    said = []
    trained = run(tmp_path, replace(SETTINGS, optimizer="adamw8bit"), log=said.append)
    assert "bitsandbytes is not installed" in said[0]
    assert weights(trained) == weights(run(tmp_path / "plain"))


@pytest.mark.parametrize("at", [2, 6, 10, 11])
def test_it_resumes_to_the_same_losses_and_weights_bit_for_bit(tmp_path, at):
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "broken", loss=until(at, stop))
    resumed = run(tmp_path / "broken", resume=True)
    assert weights(resumed) == weights(whole)
    assert (tmp_path / "broken" / LOSSES).read_bytes() == (tmp_path / "whole" / LOSSES).read_bytes()
    assert [step.step for step in read_losses(tmp_path / "whole" / LOSSES)] == list(range(12))


def test_the_losses_depend_on_the_seed_and_not_on_the_global_random_state(tmp_path):
    for name, model, settings in (
        ("a", net(), SETTINGS),
        ("b", net(), SETTINGS),
        ("c", net(), replace(SETTINGS, seed=1)),
    ):
        torch.rand(5)
        before = torch.get_rng_state()
        run(tmp_path / name, settings, model=model)
        assert torch.equal(torch.get_rng_state(), before)
    first, second, other = ((tmp_path / name / LOSSES).read_text() for name in "abc")
    assert first == second != other


KILLED = """
import sys, time
import numpy, torch
from pathlib import Path
from torch import nn
from inout_generators.common.training import Settings, train
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Tanh(), nn.Linear(4, 1))
def loss(model, rng, device):
    time.sleep(0.02)
    x = torch.from_numpy(rng.standard_normal((8, 3)).astype(numpy.float32))
    return (model(x) - x.sum(1, keepdim=True)).square().mean()
train(model, loss, Settings(steps=2000, log_every=1, checkpoint_every=7), Path(sys.argv[1]), device="cpu")
"""


def test_a_killed_training_resumes_to_the_same_losses(tmp_path):
    kill_at("step 30 ", ["-c", KILLED, tmp_path / "killed"])
    reached = len(read_losses(tmp_path / "killed" / LOSSES))
    assert reached >= 30
    settings = Settings(steps=reached + 10, log_every=1, checkpoint_every=7)
    said = []
    resumed = run(tmp_path / "killed", settings, resume=True, log=said.append)
    whole = run(tmp_path / "whole", settings)
    # it may have been killed between a line and the checkpoint that was due
    assert int(said[0].split()[3]) in (reached // 7 * 7, reached // 7 * 7 - 7)
    assert (tmp_path / "killed" / LOSSES).read_bytes() == (tmp_path / "whole" / LOSSES).read_bytes()
    assert weights(resumed) == weights(whole)


def test_nan_stops_before_it_reaches_the_checkpoint_and_says_what_to_lower(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"at step 7\. The last good.*lower learning_rate \(now 0\.01\)"):
        run(tmp_path, loss=until(7, nan))
    with pytest.raises(TrainingDiverged, match=r"No checkpoint yet.*lower clip to 1 \(now 5\)"):
        run(tmp_path / "early", replace(SETTINGS, clip=5.0), loss=nan)
    said = []
    run(tmp_path, replace(SETTINGS, learning_rate=1e-3), resume=True, log=said.append)
    assert said[0] == "resumed at step 5 of 12, with other settings: learning_rate 0.01 -> 0.001"


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    def steep(model, rng, device):
        return (objective(model, rng, device) * 0).sqrt()  # 0, with a slope of inf * 0

    with pytest.raises(TrainingDiverged, match=r"loss was 0\.0 and its gradient's norm nan at step 0"):
        run(tmp_path, loss=steep)


def test_it_does_not_write_over_another_training(tmp_path):
    run(tmp_path)
    with pytest.raises(FileExistsError, match="--resume"):
        run(tmp_path)
    finished = run(tmp_path, resume=True, loss=stop)
    assert weights(finished) == weights(run(tmp_path / "again"))


def test_it_refuses_checkpoints_of_other_nets(tmp_path):
    run(tmp_path)
    with pytest.raises(CheckpointError, match="shape differs"):
        run(tmp_path, resume=True, model=net(width=5))
    write_tensors(tmp_path / CHECKPOINT, {"0.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        run(tmp_path, resume=True)


def test_previews_show_the_average_and_leave_the_training_as_it_is(tmp_path):
    shown = {}

    def preview(model, path):
        assert not model.training
        shown[path.name] = weights(model)
        torch.manual_seed(5)

    settings = replace(SETTINGS, preview_every=5)
    watched = run(tmp_path / "watched", settings, preview=preview)
    assert weights(watched) == weights(run(tmp_path / "blind"))
    assert list(shown) == ["preview_0000005", "preview_0000010", "preview_0000012"]
    assert shown["preview_0000012"] == weights(watched)
    pytest.importorskip("matplotlib")
    assert (tmp_path / "watched" / "losses.png").stat().st_size > 1000


def test_it_says_how_far_it_is_and_how_long_it_takes(tmp_path):
    said = []
    run(tmp_path, log=said.append)
    assert [line.split("  ")[0] for line in said] == ["step 4 of 12", "step 8 of 12", "step 12 of 12"]
    assert said[-1].endswith("0:00:00 left")


def test_bf16_trains(tmp_path):
    run(tmp_path, replace(SETTINGS, precision="bf16", steps=40))
    losses = [step.loss for step in read_losses(tmp_path / LOSSES)]
    run(tmp_path / "fp32", replace(SETTINGS, steps=40))
    exact = [step.loss for step in read_losses(tmp_path / "fp32" / LOSSES)]
    assert losses != exact
    np.testing.assert_allclose(losses, exact, rtol=0.1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
        ("clip", -1.0),
        ("ema", 1.0),
        ("warmup", -1),
        ("schedule", "linear"),
        ("precision", "fp16"),
        ("optimizer", "sgd"),
        ("cycles", 0),
        ("horizon", 11),
        ("log_every", 0),
        ("seed", -1),
    ],
)
def test_it_refuses_settings_out_of_range(option, value):
    with pytest.raises(ValueError, match=option):
        replace(SETTINGS, **{option: value})


LAUNCHED = """
import json, sys, numpy, torch
from pathlib import Path
from torch import nn
from accelerate import PartialState
from inout_generators.common.training import Settings, train
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Linear(3, 1)
seen = []
def loss(model, rng, device):
    x = torch.from_numpy(rng.standard_normal((4, 3)).astype(numpy.float32))
    seen.append(float(x.sum()))
    return (model(x) - 1).square().mean()
out = Path(sys.argv[1])
train(model, loss, Settings(steps=6, log_every=2, checkpoint_every=3, clip=0.0), out, device="cpu")
rank = PartialState().process_index
(out / f"rank{rank}.json").write_text(json.dumps({"weight": model.weight.tolist(), "seen": seen}))
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name")
def test_two_processes_train_one_net_on_twice_the_data(tmp_path):
    script = tmp_path / "launched.py"
    script.write_text(LAUNCHED)
    # what `accelerate launch` starts processes with
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local_addr",
        "127.0.0.1",
        "--nproc_per_node",
        "2",
    ]
    done = subprocess.run(
        [*launcher, str(script), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / "out" / f"rank{k}.json").read_text()) for k in (0, 1))
    assert first["weight"] == second["weight"]
    assert set(first["seen"]).isdisjoint(second["seen"])
    assert done.stdout.count("step 6 of 6") == 1

    steps = iter(range(6))

    def both(model, *_):
        step, parts = next(steps), []
        for rank in (0, 1):
            rng = stream(0, step, rank)
            rng.integers(2**63)  # which seeds dropout
            parts.append(rng.standard_normal((4, 3)).astype(np.float32))
        return (model(torch.from_numpy(np.concatenate(parts))) - 1).square().mean()

    torch.manual_seed(0)
    alone = run(
        tmp_path / "alone",
        Settings(steps=6, log_every=2, checkpoint_every=3, clip=0.0),
        model=nn.Linear(3, 1),
        loss=both,
    )
    torch.testing.assert_close(alone.weight.detach(), torch.tensor(first["weight"]))
    together = [step.loss for step in read_losses(tmp_path / "out" / LOSSES)]
    np.testing.assert_allclose(together, [step.loss for step in read_losses(tmp_path / "alone" / LOSSES)], rtol=1e-5)
