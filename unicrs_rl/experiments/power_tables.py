"""What ``unicrs-rl power`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unicrs_rl.experiments.statistics.power import MOST
from unicrs_rl.judging.metrics import METRIC_BY_NAME


def print_power(pilots: Sequence[Mapping[str, Any]], console: Console) -> None:
    """What pilots say about the sizes that detect a difference."""
    for found in pilots:
        console.print(
            escape(
                f"{found['pilot']}: {found['dialogues']} dialogues, {_trainings(found)}; power "
                f"{found['power']:g} at level {found['level']:g} over all comparisons "
                f"({found['level_of_each']:.4f} each, by Holm's first step)"
            ),
            highlight=False,
            soft_wrap=True,
        )
        console.print(_variation(found))
        console.print(_detectable(found))
        if any(row["differences"] for row in found["comparisons"]):
            console.print(_needed(found))


def _variation(found: Mapping[str, Any]) -> Table:
    table = Table(title="How it varies (standard deviations)", title_justify="left")
    for title in ("comparison", "metric", "between dialogues", "between training seeds", "rest"):
        table.add_column(title)
    for row in found["comparisons"]:
        seeds = (
            f"{arm} {'unknown' if sd is None else f'{sd:.3f}'}" for arm, sd in row["sd"]["seeds"].items()
        )
        rest = (f"{arm} {sd:.3f}" for arm, sd in row["sd"]["rest"].items())
        table.add_row(
            f"{row['a']} minus {row['b']}",
            METRIC_BY_NAME[row["metric"]].title,
            f"{row['sd']['dialogues']:.3f}",
            ", ".join(seeds) or "nothing is trained",
            ", ".join(rest) or "–",
        )
    known = [sd is not None for row in found["comparisons"] for sd in row["sd"]["seeds"].values()]
    said = []
    if any(known):
        said.append("from two or three seeds the variation between seeds is known only roughly")
    if not all(known):
        said.append(
            "unknown: one training tells nothing of others, and what follows is about these trainings alone"
        )
    table.caption = ";\n".join(said) or None
    return table


def _learned(found: Mapping[str, Any]) -> bool:
    """Whether any arm that is compared is trained."""
    return any(row["sd"]["seeds"] for row in found["comparisons"])


def _trainings(found: Mapping[str, Any]) -> str:
    """How many training seeds there were."""
    number = found["seeds"]
    return f"{number} training seed{'s' if number > 1 else ''}" if _learned(found) else "nothing is trained"


def _detectable(found: Mapping[str, Any]) -> Table:
    title = f"Smallest detectable difference with {found['dialogues']} dialogues"
    table = Table(title=title, title_justify="left")
    trainings = sorted({int(seeds) for row in found["comparisons"] for seeds in row["detectable"]})
    learned = _learned(found)
    for head in ("comparison", "metric", *(map(_seeds, trainings) if learned else ["difference"])):
        table.add_column(head)
    for row in found["comparisons"]:
        cells = (_number(row["detectable"].get(str(seeds))) for seeds in trainings)
        table.add_row(f"{row['a']} minus {row['b']}", METRIC_BY_NAME[row["metric"]].title, *cells)
    if learned:
        table.caption = "1 seed: between these very trainings, not between the methods"
    return table


def _needed(found: Mapping[str, Any]) -> Table:
    table = Table(title="Dialogues needed", title_justify="left")
    rows = [(row, wanted) for row in found["comparisons"] for wanted in row["differences"]]
    trainings = sorted({int(seeds) for _, wanted in rows for seeds in wanted["dialogues"]})
    learned = _learned(found)
    sizes_of = map(_seeds, trainings) if learned else ["dialogues"]
    for head in ("comparison", "metric", "difference", "power now", *sizes_of):
        table.add_column(head)
    for row, wanted in rows:
        sizes = wanted["dialogues"]
        cells = (
            "–"
            if str(seeds) not in sizes
            else "never"
            if sizes[str(seeds)] is None
            else f"{sizes[str(seeds)]:,}"
            for seeds in trainings
        )
        table.add_row(
            f"{row['a']} minus {row['b']}",
            METRIC_BY_NAME[row["metric"]].title,
            f"{wanted['difference']:g}",
            f"{wanted['power']:.0%}",
            *cells,
        )
    table.caption = (
        "never: training seeds vary too much for that; more dialogues do not help, more seeds do"
        if learned
        else f"never: not with {MOST:,} dialogues"
    )
    return table


def _seeds(number: int) -> str:
    return f"{number} seed{'s' if number > 1 else ''}"


def _number(value: float | None, missing: str = "–") -> str:
    return missing if value is None else f"{value:.3f}"
