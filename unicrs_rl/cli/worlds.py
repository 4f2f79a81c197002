"""``unicrs-rl worlds``."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from unicrs_rl.cli.options import (
    Folder,
    Text,
    opt,
)


@dataclasses.dataclass(frozen=True)
class Worlds:
    """List the worlds with their sizes; with --world, read one; with --data alone, those in a folder."""

    world: Annotated[Text, opt("one world only: its name, or the PATH of a folder", "NAME|PATH")] = None
    data: Annotated[Folder, opt("folder with the world's data, or to look for worlds in", "DIR")] = None
    corpus: Annotated[Folder, opt("INSPIRED folder: how well its dialogues link to the world", "DIR")] = None
    json: Annotated[bool, opt("print one JSON object")] = False


def run(verb: Worlds) -> None:
    """Print them."""
    from unicrs_rl.experiments.inventory import world_sizes

    rows = world_sizes(verb.world, verb.data, verb.corpus)
    if verb.json:
        print(json.dumps({"worlds": rows}))
        return
    for row in rows:
        print(row.pop("name"))
        for name, value in row.items():
            print(f"  {name}: {'; '.join(value) if isinstance(value, list) else value}")
