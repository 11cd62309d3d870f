"""What is compared, and how every network is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

# pastes: MemSeg and strokes; copy: the real shots, moved; ddpm: from a cache; inout: half ddpm, without a cache copy,
# and half MemSeg; mix: half copy and half pastes
Method: TypeAlias = Literal[
    "none", "oversample", "standard", "memseg", "stroke", "pastes", "copy", "ddpm", "inout", "mix"
]
METHODS: tuple[Method, ...] = get_args(Method)
SYNTHETIC: tuple[Method, ...] = METHODS[METHODS.index("memseg") :]
# those that take real defects: without shots there are none
COPYING: tuple[Method, ...] = ("copy", "mix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained, whatever it is shown.

    Attributes:
        optimizer: "sgd", without momentum, or "adamw".
        learning_rate: The highest, from scratch.
        fine_tuning_rate: The highest, from pretrained weights.
        cosine: Whether the rate rises over a tenth of the steps, and then falls to zero as a cosine; else it is fixed.
        weight_decay: Of AdamW.
        batch: Images of a step.
        epochs: Rounds.
        draws: Images of a round; None for twice as many as there are positives, real and synthetic ones pooled.
        ema: Decay of the moving average of the weights that is scored; None to score the last weights.
        bf16: Whether to train and score in bfloat16, where it is sensible.
        flips: Whether to mirror images along either axis, at random, in every arm.
        real: Share of real ones among the positives that are drawn; None for the sampler's default. Without meaning in
            pooled rounds.
        resample: Whether synthetic samples are drawn anew whenever they are shown, as `InOutAugment` does by default.
    """

    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    fine_tuning_rate: float
    batch: int
    epochs: int
    draws: int | None
    cosine: bool = False
    weight_decay: float = 0.0
    ema: float | None = None
    bf16: bool = False
    flips: bool = False
    real: float | None = None
    resample: bool = True

    @property
    def pooled(self) -> bool:
        """Whether each positive, real or synthetic, is shown once in a round."""
        return self.draws is None


# In&Out, section 4.3, what it leaves open as in the code that it modifies (mixed-segdec-net-comind2021)
PAPER = Recipe(
    optimizer="sgd", learning_rate=0.01, fine_tuning_rate=0.01, batch=5, epochs=50, draws=None, resample=False
)
# whoever changes it looks at validation parts alone
STRONG = Recipe(
    optimizer="adamw",
    learning_rate=1e-3,
    fine_tuning_rate=2e-4,
    cosine=True,
    weight_decay=0.02,
    batch=16,
    epochs=10,
    draws=320,
    ema=0.98,
    bf16=True,
    flips=True,
)
RECIPES = {"paper": PAPER, "strong": STRONG}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """One training.

    Attributes:
        shots: Real defects to train with; 0 is zero-shot, None all there are.
        method: What the positives are.
        n_aug: Synthetic samples in the training set, or, of the control, real ones in their place.
        seed: Chooses the shots, the draws and the initial weights.
    """

    shots: int | None
    method: Method
    n_aug: int
    seed: int

    @property
    def name(self) -> str:
        """A file name."""
        return f"{scenario(self.shots)}-{self.method}-{self.n_aug}-{self.seed}"


def scenario(shots: int | None) -> str:
    """Return "zero", "few5" for five shots and the like, or "full"."""
    return "full" if shots is None else f"few{shots}" if shots else "zero"


def grid(
    shots: Sequence[int | None],
    methods: Iterable[Method],
    n_aug: Sequence[int],
    seeds: Iterable[int],
    recipe: Recipe,
    *,
    cache: bool,
) -> Iterator[Cell]:
    """Yield the cells to run, seed by seed, so that a stopped run has something of all; none that learns nothing.

    Without a cache there is no `ddpm`, and, where there are no shots to copy either, no `inout`.

    A network trained on real samples alone depends on `n_aug` only where rounds are as long as there are positives.
    """
    wanted = list(methods)
    for seed in seeds:
        for number in shots:
            for method in wanted:
                if number == 0 and (method not in SYNTHETIC or method in COPYING):
                    continue
                if not cache and (method == "ddpm" or (method == "inout" and number == 0)):
                    continue
                depends = method in SYNTHETIC or (method != "none" and recipe.pooled)
                for amount in n_aug if depends else (0,):
                    yield Cell(shots=number, method=method, n_aug=amount, seed=seed)


def parse_shots(text: str) -> int | None:
    """Return the number of shots that a command line asks for.

    Raises:
        ValueError: It is neither a number nor "full".
    """
    if text == "full":
        return None
    if not text.isdecimal():
        raise ValueError(f"shots are 0, 1, 2, ... or full; got {text!r}")
    return int(text)
