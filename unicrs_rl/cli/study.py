"""``unicrs-rl study``."""

from __future__ import annotations

import dataclasses
import json
import tomllib
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
    """Run an experiment of several comparisons, or your own, with its tables and figures."""

    words: Positional[
        Annotated[
            tuple[str, ...],
            opt(
                "run NAME, resume NAME or show NAME (NAME alone runs it); list, or nothing, lists them; "
                "NAME may be the PATH of a TOML file, and of resume the study's folder, or nothing: then the "
                "only unfinished one in runs is meant",
                "[VERB] NAME|PATH.toml|DIR",
            ),
        ]
    ] = ()
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

    what, name = _asked(verb)
    if what == "list":
        _print_studies(list_studies(), verb.json)
        return
    there = _folder(what, name)
    which = name if there is None else str(there / "study.toml")
    plan = plan_study(which, given_settings(verb, dialogues=verb.dialogues), verb.config)
    if what == "show":
        print(
            json.dumps(tomllib.loads(plan.toml())) if verb.json else plan.toml(),
            end="\n" if verb.json else "",
        )
        return
    out = verb.out or there or Path("runs") / plan.name
    existing = on_existing(dataclasses.replace(verb, resume=verb.resume or what == "resume"), out)
    if existing == "force" and Path(name).resolve().is_relative_to(out.resolve()):
        raise InputError(f"{name}: lies in the folder that --force replaces; choose another --out")
    with progress_bars(quiet=verb.json) as progress:
        budget = given_budget(verb, *plan.configs.values())
        done = run_study(plan, out, existing, worker_count(verb), progress, budget)
    if verb.json:
        print(json.dumps(done.results))
    else:
        console = Console()
        print_tables(done.tables, console if console.is_terminal else Console(width=200))
        for finding in done.findings:
            console.print(f"\n[bold]{escape(finding)}[/bold]", highlight=False, soft_wrap=True)
        console.print(f"\nThe report: {escape(str(out / 'report.html'))}", highlight=False, soft_wrap=True)
    for run in done.runs.values():
        check_judged(run.found["arms"])


_DOING = ("list", "show", "run", "resume")


def _asked(verb: Study) -> tuple[str, str]:
    """What is to be done, and with which study.

    Raises:
        InputError: if no study is named, or more than one.
    """
    what, *names = verb.words if verb.words[:1] and verb.words[0] in _DOING else ("run", *verb.words)
    if verb.list or what == "list" or not verb.words:
        return "list", ""
    if not names and what != "resume":
        raise InputError(f"study {what}: name a study; unicrs-rl study lists them")
    if len(names) > 1:
        raise InputError(
            f"study {' '.join(verb.words)}: one study at a time, or {', '.join(_DOING)} and its name"
        )
    return what, "".join(names)


def _folder(what: str, name: str) -> Path | None:
    """The folder of the study that is to go on, where it is not called by its name."""
    from unicrs_rl.experiments.study import unfinished

    if what != "resume" or name.endswith(".toml"):
        return None
    if not name:
        return unfinished(Path("runs"))
    return Path(name) if (Path(name) / "study.toml").is_file() else None


def _print_studies(studies: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"studies": studies}))
        return
    for study in studies:
        print(f"{study['name']:>15}  {study['title']}")
