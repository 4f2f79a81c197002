"""``unicrs-rl population``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console

from unicrs_rl.cli.options import (
    Folder,
    Limits,
    Number,
    Settings,
    given_budget,
    given_settings,
    opt,
    progress_bars,
)
from unicrs_rl.errors import InputError

_WITH_DATA = ("redial", "lastfm")
"""Named worlds that are read from a folder."""


@dataclasses.dataclass(frozen=True)
class Population(Limits, Settings):
    """Meet a population of seekers with a simple rule, and say what it was, beside human dialogues."""

    data: Annotated[Folder, opt("folder with the data of the world or of --corpus", "DIR")] = None
    corpus: Annotated[
        Folder, opt("human dialogues to measure afresh: inspired, redial", "LIST", "as measured once")
    ] = None
    arm: Annotated[str, opt("rule that talks to them", "NAME", "max-entropy")] = "max-entropy"
    dialogues: Annotated[Number, opt("conversations", "N", "200")] = None
    out: Annotated[Folder, opt("folder to write numbers, traces and a report to", "DIR", "none")] = None
    force: Annotated[bool, opt("replace what an earlier population wrote to --out")] = False
    json: Annotated[bool, opt("print one JSON object instead of tables")] = False


def run(verb: Population) -> None:
    """Meet the population, print what it was and write it."""
    from unicrs_rl.experiments.config import resolve
    from unicrs_rl.experiments.population import DIALOGUES, check_out, meet
    from unicrs_rl.experiments.tables import print_population

    if verb.train_dialogues is not None:
        raise InputError("--train-dialogues: population trains nothing")
    settings = given_settings(verb, arms=verb.arm, dialogues=verb.dialogues)
    for name in ("corpus", "data"):
        settings.pop(name, None)
    where = _world_data(verb)
    config = resolve(
        settings | ({"data": where} if where else {}),
        verb.config,
        {"dialogues": DIALOGUES, "seeds": (0,)},
        called={"arms": "--arm"},
    )
    if verb.out is not None:
        check_out(verb.out, verb.force)
    with progress_bars(quiet=verb.json) as progress:
        met = meet(config, _humans(verb), progress, given_budget(verb, config))
    if verb.out is not None:
        met.write(verb.out)
    if verb.json:
        print(json.dumps(met.found))
        return
    console = Console()
    print_population(met.found, console if console.is_terminal else Console(width=200))
    if verb.out is not None:
        console.print(
            f"\nThe report: {verb.out / 'report.html'}", highlight=False, soft_wrap=True, markup=False
        )


def _world_data(verb: Population) -> Path | None:
    """Where the world's data are; where human dialogues are in --data, too, the folder of its name wins."""
    if verb.corpus is None or verb.data is None:
        return verb.data
    if verb.world not in _WITH_DATA:
        return None
    own = verb.data / verb.world
    return own if own.is_dir() else verb.data


def _humans(verb: Population) -> dict[str, Any] | None:
    """The diversity of the human dialogues that are to be measured afresh, if any."""
    if verb.corpus is None:
        return None
    from unicrs_rl.experiments.calibration.calibrate import human_diversity

    found = human_diversity(str(verb.corpus), verb.data)
    return {name: diversity.model_dump(mode="json") for name, diversity in found.items()}
