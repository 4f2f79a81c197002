"""``unicrs-rl read``."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Literal

from rich.console import Console

from unicrs_rl.cli.options import (
    Backend,
    Folder,
    Limits,
    Number,
    given_budget,
    opt,
    progress_bars,
)


@dataclasses.dataclass(frozen=True)
class Read(Limits, Backend):
    """Measure how well a language model reads people: titles, and likes, in human dialogues."""

    corpus: Annotated[str, opt("human dialogues that say what the seeker liked", "NAME", "redial")] = "redial"
    data: Annotated[Folder, opt("folder with them", "DIR")] = None
    split: Annotated[
        Literal["train", "valid", "test"], opt("which file of dialogues is read", "", "valid")
    ] = "valid"
    dialogues: Annotated[Number, opt("how many of them, from the first on", "N", "all")] = None
    config: Annotated[Folder, opt("TOML file with settings; what is given here wins over it", "FILE")] = None
    json: Annotated[bool, opt("print one JSON object instead of tables")] = False


def run(verb: Read) -> None:
    """Read the dialogues, and print how well."""
    from unicrs_rl.experiments.config import resolve
    from unicrs_rl.experiments.reading import read_people
    from unicrs_rl.experiments.tables import print_reading

    given = {f.name: getattr(verb, f.name) for f in dataclasses.fields(Backend)} | {"data": verb.data}
    found = {name: value for name, value in given.items() if value is not None}
    model = {name: found.pop(name) for name in ("model", "base_url") if name in found}
    config = resolve(
        found | {"world": verb.corpus} | ({"language_model": model} if model else {}), verb.config
    )
    with progress_bars(quiet=verb.json) as progress:
        measured = read_people(config, verb.split, verb.dialogues, given_budget(verb, config), progress)
    if verb.json:
        print(json.dumps(measured))
    else:
        console = Console()
        print_reading(measured, console if console.is_terminal else Console(width=200))
