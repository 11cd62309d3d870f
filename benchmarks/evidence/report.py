"""A folder of runs as markdown, figures and one JSON file."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence import figures, paper
from evidence.findings import Arm, Estimates, Findings, title
from evidence.intervals import Estimate
from evidence.metrics import METRICS
from evidence.protocol import SYNTHETIC, scenario
from evidence.runs import Runs

_BASELINE = "oversample"
_STORY = ("precision_at_half", "recall_at_half", "precision_at_best_f1", "recall_at_best_f1")


def write_report(runs: Runs, out: Path) -> None:
    """Write `out.md`, `out.json`, and a figure for each scenario beside them."""
    findings = Findings(runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    for shots in findings.shots:
        figures.draw(findings, shots).savefig(f"{out}_{scenario(shots)}.png", dpi=110)
    Path(f"{out}.md").write_text("\n".join(_page(findings, out.name)) + "\n", encoding="utf-8")
    Path(f"{out}.json").write_text(json.dumps(_summary(findings), indent=1) + "\n", encoding="utf-8")


def _page(findings: Findings, name: str) -> Iterator[str]:
    yield f"# Synthetic defects on {findings.settings['data']}"
    yield ""
    yield from _setting(findings)
    for shots in findings.shots:
        yield f"\n## {title(shots)}\n"
        yield from _measured(findings, shots)
        yield f"\n![Precision, recall and average precision]({name}_{scenario(shots)}.png)\n"
        yield from _gains(findings, shots)
        if len(findings.defects) > 1:
            yield from _by_kind(findings, shots)
    yield from _story(findings)
    yield from _beside_the_paper(findings)


def _setting(findings: Findings) -> Iterator[str]:
    known, recipe = findings.settings, findings.settings["recipe"]
    height, width = known["size"]
    seconds, computing = (
        statistics.median(getattr(run, name) for run in findings.runs) for name in ("seconds", "cpu_seconds")
    )
    weights = f"ImageNet weights ({known['weights']})" if known["weights"] else "from scratch"
    part = "held-out third of the training part" if known["score"] == "validation" else "test part"
    positives = sum(findings.labels)
    yield (
        f"{known['model']}, {weights}, images of {width}×{height}; protocol “{known['protocol']}”: "
        f"{recipe['optimizer']}, batches of {recipe['batch']}, {recipe['epochs']} rounds. Trained with "
        f"{known['training']['normal']} normal images and up to {known['training']['defective']} defective ones, "
        f"scored once, after the last round, on the {part}: {len(findings.labels)} images, {positives} of them "
        f"defective, so that chance is an AP of {findings.chance:.3f}; {known['not_scored']} more were left out, for "
        f"they are near-duplicates of training images. {len(findings.runs)} trainings, {seconds:.0f} s each, of "
        f"which a core computed {computing:.0f} s (medians)."
    )
    yield ""
    if known["cache"]:
        yield (
            f"In-distribution samples come from the cache {known['cache']}. The real defects that its generator "
            "learned from do not count as shots: an arm with it has seen them too.\n"
        )
    yield (
        "Each figure is the mean over seeds ± their standard deviation; in brackets a 95 % interval, of 1000 bootstrap "
        "resamples of seeds and of scored images. AP is the area under steps; the trapezoid one is the paper's. “none” "
        "draws real samples as they come, “oversample” as many positives as the synthetic arms, all real: what an arm "
        "gains over it is not due to the balance of the classes."
    )


def _measured(findings: Findings, shots: int | None) -> Iterator[str]:
    rows = []
    for arm in findings.arms(shots):
        found = findings.estimates[arm]
        others = (_short(found[metric]) for metric in METRICS if metric != "ap")
        rows.append([arm.name, str(len(findings.seeds(arm))), _value(found["ap"]), *others])
    yield from _table(["", "seeds", *METRICS.values()], rows)


def _gains(findings: Findings, shots: int | None) -> Iterator[str]:
    rows = []
    for arm in findings.arms(shots):
        against = [findings.gain(arm, other) for other in (_BASELINE, "none")]
        if any(against):
            rows.append([arm.name, *(text for gain in against for text in _difference(gain, "ap"))])
    if rows:
        yield from _table(["AP gained", f"over {_BASELINE}", "p", "over none", "p"], rows)
        yield "\np: paired t-test over seeds."


def _by_kind(findings: Findings, shots: int | None) -> Iterator[str]:
    rows = [
        [arm.name, *(_value(findings.of_kind(arm, kind)) for kind in findings.defects)] for arm in findings.arms(shots)
    ]
    yield "\nAP where one kind of defect alone is to be told from the normal images:\n"
    yield from _table(["", *findings.defects], rows)


def _story(findings: Findings) -> Iterator[str]:
    rows = []
    for shots in findings.shots:
        for arm in findings.arms(shots):
            gain = findings.gain(arm, _BASELINE) if arm.method in SYNTHETIC else None
            if gain is not None:
                rows.append([scenario(shots), arm.name, *(_signed(gain[metric]) for metric in _STORY)])
    if rows:
        yield "\n## Precision and recall\n"
        yield (
            "In&Out reports that out-of-distribution pastes (memseg) raise precision, and in-distribution samples "
            f"(ddpm) recall. Differences to {_BASELINE}; a claim holds where the interval excludes 0:\n"
        )
        yield from _table(["", "", *(METRICS[metric] for metric in _STORY)], rows)


def _beside_the_paper(findings: Findings) -> Iterator[str]:
    tables = []
    for number, printed in sorted(paper.read_tables().items()):
        rows = []
        for row in printed:
            here = findings.estimates.get(Arm(row.shots, row.method, row.n_aug))
            if here is not None:
                rows.append([Arm(row.shots, row.method, row.n_aug).name, *_beside(here, row)])
        if rows:
            tables.append((number, rows))
    if tables:
        yield "\n## Beside the paper\n"
        yield (
            "The paper's figures are for KSDD2 and a ResNet-50 at 200×600; they compare only with such runs. AP by the "
            "trapezoid rule; precision and recall here at 0.5, the paper does not name its threshold."
        )
    heads = ["", "AP", "paper", "precision", "paper", "recall", "paper"]
    for number, rows in tables:
        yield f"\n**{paper.title(number)}**\n"
        yield from _table(heads, rows)


def _beside(here: Estimates, row: paper.Row) -> list[str]:
    metrics = ("ap_trapezoid", "precision_at_half", "recall_at_half")
    pairs = zip(metrics, (row.ap, row.precision, row.recall), strict=True)
    return [text for metric, (mean, spread) in pairs for text in (_short(here[metric]), f"{mean:.3f} ± {spread:.3f}")]


def _summary(findings: Findings) -> dict[str, Any]:
    settings = {name: value for name, value in findings.settings.items() if name != "scored"}
    rows = []
    for shots in findings.shots:
        for arm in findings.arms(shots):
            gains = {other: findings.gain(arm, other) for other in (_BASELINE, "none")}  # type: ignore[arg-type]
            rows.append(
                {
                    **asdict(arm),
                    "seeds": findings.seeds(arm),
                    "metrics": _plain(findings.estimates[arm]),
                    "gains": {other: _plain(gain) for other, gain in gains.items() if gain is not None},
                }
            )
    return {"settings": settings, "chance": findings.chance, "rows": rows}


def _plain(estimates: Estimates) -> dict[str, Any]:
    """Return numbers that JSON knows."""
    return {
        metric: {name: None if math.isnan(value) else round(value, 4) for name, value in asdict(estimate).items()}
        for metric, estimate in estimates.items()
    }


def _value(found: Estimate) -> str:
    return f"{_short(found)} [{found.low:.3f}, {found.high:.3f}]"


def _short(found: Estimate) -> str:
    return f"{found.mean:.3f}" if math.isnan(found.deviation) else f"{found.mean:.3f} ± {found.deviation:.3f}"


def _signed(found: Estimate) -> str:
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _difference(gain: Estimates | None, metric: str) -> list[str]:
    if gain is None:
        return ["", ""]
    return [_signed(gain[metric]), "" if math.isnan(gain[metric].p) else f"{gain[metric].p:.3f}"]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
