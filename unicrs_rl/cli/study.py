"""``unicrs-rl study``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from unicrs_rl.cli.options import (
    Folder,
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
from unicrs_rl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Study(Limits, Output, Settings):
    """Run one of the RSO paper's experiments, or your own, with its tables and figures."""

    name: Positional[
        Annotated[Text, opt("study to run, or a TOML file; without one, list them", "NAME|PATH.toml")]
    ] = None
    list: Annotated[bool, opt("list the studies there are")] = False
    dialogues: Annotated[
        Number, opt("held-out conversations per arm and training seed", "N", "as the study says")
    ] = None
    out: Annotated[Folder, opt("folder to write", "DIR", "runs/NAME")] = None


def run(verb: Study) -> None:
    """Run the study, and print its tables; or print the studies there are."""
    from unicrs_rl.experiments.results import check_judged
    from unicrs_rl.experiments.study import list_studies, plan_study, run_study
    from unicrs_rl.experiments.tables import print_tables

    if verb.name is None or verb.list:
        _print_studies(list_studies(), verb.json)
        return
    plan = plan_study(verb.name, given_settings(verb, dialogues=verb.dialogues), verb.config)
    out = verb.out or Path("runs") / plan.name
    existing = on_existing(verb, out)
    if existing == "force" and Path(verb.name).resolve().is_relative_to(out.resolve()):
        raise InputError(f"{verb.name}: lies in the folder that --force replaces; choose another --out")
    with progress_bars(quiet=verb.json) as progress:
        budget = given_budget(verb, *plan.configs.values())
        done = run_study(plan, out, existing, worker_count(verb), progress, budget)
    if verb.json:
        print(json.dumps(done.results))
    else:
        console = Console()
        print_tables(done.tables, console if console.is_terminal else Console(width=200))
        console.print(f"\nThe report: {escape(str(out / 'report.html'))}", highlight=False, soft_wrap=True)
    for run in done.runs.values():
        check_judged(run.found["arms"])


def _print_studies(studies: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"studies": studies}))
        return
    for study in studies:
        print(f"{study['name']:>15}  {study['title']}")
