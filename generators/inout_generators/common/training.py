"""A training loop on accelerate: EMA, resume to the same loss curve, and a stop at the first NaN.

Everything random in step n is a function of (seed, n, process), so that a killed training goes on as if nothing had
happened: on a CPU bit for bit, on a GPU up to the order of its sums.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from inout_aug.seeding import check_seed, stream
from inout_generators.common.checkpoints import (
    CheckpointError,
    load_exactly,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from inout_generators.common.losses import LossLog, Step, plot_losses
from inout_generators.common.optimizers import OptimizerName, build_optimizer, has_8bit, load_moments, moments_of

Objective: TypeAlias = Callable[[nn.Module, np.random.Generator, torch.device], Tensor]
Preview: TypeAlias = Callable[[nn.Module, Path], None]

CHECKPOINT = "checkpoint.safetensors"
SETTINGS = "settings.json"
LOSSES = "losses.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a net is trained.

    Attributes:
        steps: Number of updates.
        learning_rate: Of AdamW, at its highest.
        weight_decay: Of AdamW.
        optimizer: "adamw", or "adamw8bit" keeps its moments in 8 bits where bitsandbytes is installed.
        warmup: Steps in which the learning rate rises linearly from 0.
        schedule: What the learning rate does afterwards: "constant", or "cosine" falls to 0.
        cycles: Times that the cosine falls, each time from the top.
        horizon: Steps that the schedule is laid out for; a training of fewer steps ends on the way. None for `steps`.
        clip: Largest norm of the gradient; 0 = no clipping.
        ema: Most that the moving average of the weights keeps per step; (1 + n) / (10 + n) before that is reached.
        precision: Of the net's arithmetic; weights are float32 always.
        seed: Of everything random.
        log_every: Steps between two lines of progress; so often the losses are looked at and written too.
        checkpoint_every: Steps between two checkpoints, of which the last one is kept.
        preview_every: Steps between two previews; 0 = none.

    Raises:
        ValueError: A value is out of its range.
    """

    steps: int
    learning_rate: float = 1e-4
    weight_decay: float = 2e-3
    optimizer: OptimizerName = "adamw"
    warmup: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    cycles: int = 1
    horizon: int | None = None
    clip: float = 1.0
    ema: float = 0.9999
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    preview_every: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        least = {"steps": 1, "warmup": 0, "cycles": 1, "log_every": 1, "checkpoint_every": 1, "preview_every": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is at least {low}; got {getattr(self, name)}")
        if self.horizon is not None and self.horizon < self.steps:
            raise ValueError(f"horizon is at least the number of steps, {self.steps}; got {self.horizon}")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.clip < 0 or not 0 <= self.ema < 1:
            raise ValueError(
                "learning_rate is above 0, weight_decay and clip are not below 0, ema is in [0, 1); got "
                f"{self.learning_rate}, {self.weight_decay}, {self.clip} and {self.ema}"
            )
        for name, known in (
            ("schedule", ("constant", "cosine")),
            ("precision", ("fp32", "bf16")),
            ("optimizer", get_args(OptimizerName)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {' or '.join(map(repr, known))}; got {getattr(self, name)!r}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return self.learning_rate * rise
        done = max(0, step - self.warmup) / max(1, (self.horizon or self.steps) - self.warmup)
        fallen = 1.0 if done >= 1 else self.cycles * done % 1
        return self.learning_rate * rise * (1 + math.cos(math.pi * fallen)) / 2


class TrainingDiverged(ValueError):
    """The loss or its gradient became NaN or infinite."""


def train(
    model: nn.Module,
    objective: Objective,
    settings: Settings,
    folder: Path,
    *,
    resume: bool = False,
    preview: Preview | None = None,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> nn.Module:
    """Train a net, in as many processes as `accelerate launch` started.

    Args:
        model: Trained in place.
        objective: Given the net, the random stream of this step and process, and the device, returns the loss of a
            batch that it draws from that stream.
        settings: How.
        folder: For the checkpoint, `losses.jsonl`, `losses.png`, and previews.
        resume: Go on from the checkpoint in `folder`, from the start if there is none.
        preview: Given the averaged net and a path without suffix, writes a picture there.
        device: "cpu" keeps off the GPU; None takes what accelerate finds.
        log: Takes lines of progress; called in the main process only.

    Returns:
        The net with the averaged weights, in evaluation mode.

    Raises:
        FileExistsError: `folder` has a checkpoint, and `resume` is not set.
        TrainingDiverged: The loss became NaN or infinite; the last checkpoint is from before that.
        ValueError: The checkpoint is of another net.
    """
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    say = log if accelerator.is_main_process else _silent
    state = _State(model, settings)
    if has_checkpoint(folder, resume=resume):
        state.load(folder / CHECKPOINT)
        say(f"resumed at step {state.step} of {settings.steps}{_changes(folder / SETTINGS, settings)}")
    if settings.optimizer == "adamw8bit" and not has_8bit():
        say("bitsandbytes is not installed, so AdamW keeps its moments in 32 bits")
    accelerator.wait_for_everyone()
    record = _Record(folder, state.step, settings, say) if accelerator.is_main_process else None
    state.ema.to(accelerator.device)
    net, optimizer = accelerator.prepare(model, state.optimizer)
    # dropout draws from the global stream, which is the user's outside of this function
    with torch.random.fork_rng(devices=[accelerator.device] if accelerator.device.type == "cuda" else []):
        for steps in _windows(accelerator, net, objective, optimizer, state, settings):
            _check(steps, settings, folder)
            if record is None:
                continue
            record.add(steps)
            last = state.step == settings.steps
            if last or not state.step % settings.checkpoint_every:
                state.save(folder / CHECKPOINT)
            if preview is not None and settings.preview_every and (last or not state.step % settings.preview_every):
                record.plot()
                with state.averaged():
                    preview(model, folder / f"preview_{state.step:07d}")
    if record is not None:
        record.plot()
    accelerator.wait_for_everyone()
    state.ema.copy_to(model.parameters())
    return model.eval()


def has_checkpoint(folder: Path, *, resume: bool) -> bool:
    """Return whether there is a training in a folder to go on with.

    Raises:
        FileExistsError: There is one, and `resume` is not set.
    """
    found = (folder / CHECKPOINT).exists()
    if found and not resume:
        raise FileExistsError(
            f"{folder} has a training already; --resume goes on with it, or choose another folder with --out"
        )
    return found


def _windows(
    accelerator: Accelerator,
    net: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    state: _State,
    settings: Settings,
) -> Iterator[list[Step]]:
    """Take the steps that are left; yield what came of them whenever something is due.

    Losses stay on the device until then, so that a GPU need not wait after every step.
    """
    due = [n for n in (settings.log_every, settings.checkpoint_every, settings.preview_every) if n]
    losses: list[Tensor] = []
    for step in range(state.step, settings.steps):
        rng = stream(settings.seed, step, accelerator.process_index)
        torch.manual_seed(int(rng.integers(2**63)))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(step)
        net.train()
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            loss = objective(net, rng, accelerator.device)
        accelerator.backward(loss)
        gradient = accelerator.clip_grad_norm_(net.parameters(), settings.clip or math.inf)
        optimizer.step()
        optimizer.zero_grad()
        state.advance()
        losses.append(torch.stack([loss.detach().float(), gradient.detach().float()]))
        if state.step == settings.steps or not all(state.step % n for n in due):
            means = accelerator.reduce(torch.stack(losses), "mean").tolist()
            first = state.step - len(losses)
            losses = []
            yield [
                Step(step=n, loss=mean, gradient=norm, learning_rate=settings.learning_rate_at(n))
                for n, (mean, norm) in enumerate(means, start=first)
            ]


_KEPT = ("step", "model", "average", "optimizer")


class _State:
    """All that a training needs to go on: weights, their average, the optimiser's moments, and the step."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.step = 0
        self._model = model
        self._names = [name for name, _ in model.named_parameters()]
        self.optimizer = build_optimizer(
            settings.optimizer,
            model.parameters(),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.ema = EMAModel(model.parameters(), decay=settings.ema, foreach=True)

    def advance(self) -> None:
        """Count a step, and average the weights after it."""
        self.ema.step(self._model.parameters())
        self.step += 1

    def save(self, path: Path) -> None:
        """Write a checkpoint in place of the last one: one file, so that its parts are of one step."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= {f"model.{name}": value for name, value in self._model.state_dict().items()}
        tensors |= {f"average.{name}": self.ema.shadow_params[k] for k, name in enumerate(self._names)}
        moments = moments_of(self.optimizer, self._names)
        write_tensors(path, tensors | {f"optimizer.{name}": value for name, value in moments.items()})

    def load(self, path: Path) -> None:
        """Go back to a checkpoint."""
        tensors = read_tensors(path)
        if missing := [part for part in _KEPT if not any(name.startswith(part) for name in tensors)]:
            raise CheckpointError(f"{path} is no checkpoint of a training: it has no {', '.join(missing)}")
        load_exactly(self._model, _part(tensors, "model"), source=path)
        self.step = self.ema.optimization_step = int(tensors["step"])
        averages = _part(tensors, "average")
        self.ema.shadow_params = [averages[name] for name in self._names]
        load_moments(self.optimizer, self._names, _part(tensors, "optimizer"))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the net its averaged weights for a while."""
        self.ema.store(self._model.parameters())
        self.ema.copy_to(self._model.parameters())
        self._model.eval()
        try:
            yield
        finally:
            self.ema.restore(self._model.parameters())
            self._model.train()


class _Record:
    """What the main process writes down and says."""

    def __init__(self, folder: Path, step: int, settings: Settings, say: Callable[[str], None]) -> None:
        self._folder, self._settings, self._say = folder, settings, say
        self._log = LossLog(folder / LOSSES, step)
        write_json(folder / SETTINGS, asdict(settings))
        self._start, self._begun, self._said = step, time.monotonic(), step

    def add(self, steps: Sequence[Step]) -> None:
        """Write steps down, and say how far it is."""
        self._log.append(steps)
        done, total = steps[-1].step + 1, self._settings.steps
        if done - self._said < self._settings.log_every and done != total:
            return
        pace = (time.monotonic() - self._begun) / (done - self._start)
        loss = sum(step.loss for step in steps) / len(steps)
        left = timedelta(seconds=round(pace * (total - done)))
        self._say(f"step {done} of {total}  loss {loss:.4f}  {pace * 1000:.0f} ms a step  {left} left")
        self._said = done

    def plot(self) -> None:
        """Draw the curve."""
        if not plot_losses(self._folder / LOSSES, self._folder / "losses.png"):
            self._say("no picture of the losses: that takes matplotlib, pip install 'inout-aug[demo]'")


def _check(steps: Sequence[Step], settings: Settings, folder: Path) -> None:
    """Raise if a step was not finite."""
    bad = next((step for step in steps if not step.finite), None)
    if bad is None:
        return
    kept = (
        f"The last good checkpoint is {folder / CHECKPOINT}" if (folder / CHECKPOINT).exists() else "No checkpoint yet"
    )
    remedies = [f"lower learning_rate (now {settings.learning_rate:g})", "raise warmup"]
    if settings.clip == 0 or settings.clip > 1:
        remedies.append(f"lower clip to 1 (now {settings.clip:g})")
    if settings.precision != "fp32":
        remedies.append("use precision fp32")
    raise TrainingDiverged(
        f"the loss was {bad.loss} and its gradient's norm {bad.gradient} at step {bad.step}. {kept}. To go on from "
        f"there, {', '.join(remedies)}, and resume"
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _changes(path: Path, settings: Settings) -> str:
    """Return in words what was set otherwise before."""
    before, now = read_json(path) if path.exists() else {}, asdict(settings)
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if name in before and before[name] != now[name]]
    return f", with other settings: {', '.join(changed)}" if changed else ""


def _silent(line: str) -> None:
    """Say nothing: another process does."""
