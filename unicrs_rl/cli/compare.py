"""Train arms on the same seekers, evaluate them, and say who wins: ``unicrs-rl compare``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from unicrs_rl.cli.options import (
    Limits,
    Number,
    Output,
    Settings,
    Text,
    given_budget,
    given_settings,
    on_existing,
    opt,
    progress_bars,
    worker_count,
)


@dataclasses.dataclass(frozen=True)
class Compare(Limits, Output, Settings):
    """Train arms on the same seekers, evaluate them on the same held-out ones, and say who wins."""

    arms: Annotated[
        Text, opt("arms to run, separated by commas", "LIST", "unified,rso,max-entropy,greedy,random")
    ] = None
    dialogues: Annotated[Number, opt("held-out conversations per arm and training seed", "N", "400")] = None
    out: Annotated[Path, opt("run folder to write", "DIR", "runs/compare")] = Path("runs/compare")


def run(verb: Compare) -> None:
    """Compare, and print who wins."""
    from unicrs_rl.experiments.compare import compare
    from unicrs_rl.experiments.config import resolve
    from unicrs_rl.experiments.costs import with_timings
    from unicrs_rl.experiments.results import check_judged
    from unicrs_rl.experiments.tables import print_results

    config = resolve(given_settings(verb, arms=verb.arms, dialogues=verb.dialogues), verb.config)
    with progress_bars(quiet=verb.json) as progress:
        found, timings = compare(
            config,
            verb.out,
            on_existing(verb, verb.out),
            workers=worker_count(verb),
            progress=progress,
            budget=given_budget(verb, config),
        )
    merged = with_timings(found, timings)
    if verb.json:
        print(json.dumps(merged))
    else:
        console = Console()
        report = escape(str(verb.out / "report.html"))
        console.print(f"The report: {report}\n", highlight=False, soft_wrap=True)
        print_results(merged, console if console.is_terminal else Console(width=200))
    check_judged(found["arms"])
