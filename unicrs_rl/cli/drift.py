"""``unicrs-rl drift``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from unicrs_rl.cli.options import Backend, Folder, Limits, Text, given_budget, opt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift(Limits, Backend):
    """Measure how well drifting replies of seekers are detected, on replies that you have labelled."""

    file: Positional[Annotated[Path, opt("labelled replies, one JSON object a line", "FILE")]]
    world: Annotated[Text, opt("whose names they use: movies, redial, lastfm, or a PATH", "NAME|PATH")] = None
    data: Annotated[Folder, opt("folder with the data of redial or lastfm", "DIR")] = None
    config: Annotated[Folder, opt("TOML file with settings; what is given here wins over it", "FILE")] = None
    json: Annotated[bool, opt("print one JSON object instead of tables")] = False


def run(verb: Drift) -> None:
    """Look for drift in the replies, and print how well that went."""
    from unicrs_rl.experiments.config import resolve
    from unicrs_rl.experiments.drift_cases import measure_drift

    names = ("llm", "model", "base_url", "world", "data")
    found = {name: value for name in names if (value := getattr(verb, name)) is not None}
    model = {name: found.pop(name) for name in ("model", "base_url") if name in found}
    config = resolve(found | ({"language_model": model} if model else {}), verb.config)
    measured = measure_drift(config, verb.file, given_budget(verb, config))
    if verb.json:
        print(json.dumps(measured))
        return
    console = Console()
    table = Table(title=f"{measured['file']}: {measured['replies']} replies, {measured['drifting']} drifting")
    for column in ("", "labelled", "found", "precision", "recall"):
        table.add_column(column, justify="left" if not column else "right")
    whole = measured | {"labelled": measured["drifting"]}
    for name, row in {"any drift": whole, **measured["kinds"]}.items():
        ratios = ["-" if row[ratio] is None else f"{row[ratio]:.2f}" for ratio in ("precision", "recall")]
        table.add_row(name, str(row["labelled"]), str(row["found"]), *ratios)
    console.print(table)
    for wrong in measured["wrong"]:
        labelled, got = (", ".join(wrong[kind]) or "clean" for kind in ("labelled", "found"))
        console.print(f"line {wrong['line']}: {labelled}, found {got}: {escape(wrong['reply'])}")
    if measured["failures"]:
        console.print(f"{measured['failures']} readings failed: of these only what was done was compared")
