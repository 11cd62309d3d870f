"""The figures of In&Out's tables, measured on KSDD2 with a ResNet-50."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from evidence.protocol import Method

_SCENARIOS = {"zero_shot": 0, "few_shot_5": 5, "full_shot_246": None}
_TITLES = {
    1: "zero-shot, one kind of synthetic data",
    2: "zero-shot, In&Out",
    3: "5 real defects, one kind of synthetic data",
    4: "5 real defects, In&Out",
    5: "all real defects, In&Out",
    6: "all real defects, one kind of synthetic data",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: means over four seeds.

    Attributes:
        table: Its number.
        shots: Real defects; None for all 246.
        method: As here.
        n_aug: Synthetic samples.
        ap: Average precision, by the trapezoid rule, and its standard deviation.
        precision: At a threshold that the paper does not name.
        recall: Likewise.
    """

    table: int
    shots: int | None
    method: Method
    n_aug: int
    ap: tuple[float, float]
    precision: tuple[float, float]
    recall: tuple[float, float]


def read_tables() -> dict[int, list[Row]]:
    """Return the rows of the paper's Tables 1 to 6, without the averages."""
    tables: dict[int, list[Row]] = {}
    methods: dict[str, Method] = {"memseg": "memseg", "ddpm": "ddpm", "in_out": "inout"}
    with Path(__file__).with_name("paper.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["n_aug"] == "avg" or row["method"] not in methods:
                continue
            number, amount = int(row["table"]), int(row["n_aug"])
            tables.setdefault(number, []).append(
                Row(
                    table=number,
                    shots=_SCENARIOS[row["scenario"]],
                    # of none of its own: real data alone
                    method=methods[row["method"]] if amount else "none",
                    n_aug=amount,
                    ap=(float(row["ap"]), float(row["ap_std"])),
                    precision=(float(row["precision"]), float(row["precision_std"])),
                    recall=(float(row["recall"]), float(row["recall_std"])),
                )
            )
    return tables


def title(table: int) -> str:
    """Return what a table holds."""
    return f"Table {table}: {_TITLES[table]}"
