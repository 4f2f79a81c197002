"""``unicrs-rl interplay``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from unicrs_rl.cli.options import Folder, opt, progress_bars

_TITLES = {
    "success": "success rate",
    "recall@1": "Recall@1",
    "match": "Match Score",
    "turns": "turns",
    "dist4": "Dist-4 of the seeker, per dialogue",
    "role_swap": "role-swap rate of the seeker's replies",
}


@dataclasses.dataclass(frozen=True)
class Interplay:
    """Let a trained seeker and a trained recommender talk over held-out goals, and measure it."""

    seeker: Positional[Annotated[Path, opt("run of train-simulator --role seeker", "SEEKER")]]
    recommender: Positional[Annotated[Path, opt("run of train-simulator --role recommender", "RECOMMENDER")]]
    dialogues: Annotated[int, opt("how many dialogues", "N", "100")] = 100
    data: Annotated[Folder, opt("folder of the corpora", "DIR", "where the seeker was trained")] = None
    seed: Annotated[int, opt("of the goals' order and of the draws", "N", "0")] = 0
    out: Annotated[Folder, opt("folder for traces.jsonl and results.json", "DIR", "none")] = None
    json: Annotated[bool, opt("print one JSON object instead of a table")] = False


def run(verb: Interplay) -> None:
    """Do it."""
    from unicrs_rl.experiments.interplay.talk import interplay

    with progress_bars(quiet=verb.json) as progress:
        found = interplay(
            verb.seeker, verb.recommender, verb.dialogues, verb.data, verb.out, verb.seed, progress
        )
    if verb.json:
        print(json.dumps(found))
        return
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    console.print(_table(found))
    console.print(f"{found['dialogues']} dialogues, {found['protocol']}", highlight=False)
    if verb.out is not None:
        console.print(str(verb.out / "traces.jsonl"), highlight=False, soft_wrap=True)


def _table(found: dict[str, Any]) -> Table:
    table = Table(title=f"{found['seeker']} and {found['recommender']}", title_justify="left")
    for column in ("", "mean", "95% interval"):
        table.add_column(column, justify="right" if column else "left")
    for name, title in _TITLES.items():
        table.add_row(title, _number(found[name]), _interval(found["ci95"][name]))
    for role, value in found["dist4_corpus"].items():
        table.add_row(f"Dist-4 of the {role}, all dialogues", _number(value), "")
    if found["bertscore"] is None:
        table.add_row("BERTScore", "-", "needs the extra 'simulators': pip install 'unicrs-rl[simulators]'")
        return table
    for role, score in found["bertscore"].items():
        table.add_row(f"BERTScore F1 of the {role}", _number(score["f1"]), _interval(score["ci95"]))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"
