"""``unicrs-rl doctor``."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from unicrs_rl.cli.options import (
    Folder,
    opt,
)


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Say which versions, optional extras and data are found."""

    data: Annotated[Folder, opt("folder to look for data in", "DIR")] = None
    json: Annotated[bool, opt("print one JSON object")] = False


def run(verb: Doctor) -> None:
    """Print what is found."""
    from unicrs_rl.experiments.inventory import examine

    found = examine(verb.data)
    if verb.json:
        print(json.dumps(found))
        return
    for section, entries in found.items():
        print(section)
        for name, value in entries.items():
            print(f"  {name}: {value}")
