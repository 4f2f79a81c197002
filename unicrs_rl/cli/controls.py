"""``unicrs-rl controls``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from unicrs_rl.cli.options import Folder, Number, Text, opt, progress_bars
from unicrs_rl.errors import Failed, InputError

if TYPE_CHECKING:
    from unicrs_rl.experiments.controls.finding import Finding


@dataclasses.dataclass(frozen=True)
class Controls:
    """Check what a verdict rests on: A/A, planted truths, leaks, shortcuts. Exit code 1 if one fails."""

    which: Positional[
        Annotated[
            tuple[Literal["aa", "planted", "leak", "shortcut"], ...],
            opt("controls to run", "aa|planted|leak|shortcut", "all"),
        ]
    ] = ()
    size: Annotated[Literal["small", "full"], opt("how much is looked at", "", "small")] = "small"
    run: Annotated[Folder, opt("finished comparison whose successes shortcut looks at", "RUN")] = None
    corpus: Annotated[
        Text, opt("human dialogues in which copying is compared with arms: redial, inspired", "LIST")
    ] = None
    data: Annotated[Folder, opt("folder that holds redial, inspired or lastfm by their names", "DIR")] = None
    out: Annotated[
        Folder, opt("folder to write controls.json and controls.html to; A/A goes on from there", "DIR")
    ] = None
    workers: Annotated[Number, opt("processes; no effect on results", "N", "2, or 1 on one core")] = None
    json: Annotated[bool, opt("print one JSON object instead of a table")] = False


def run(verb: Controls) -> None:
    """Run the controls, and print what they found."""
    from unicrs_rl.experiments.compare import default_workers
    from unicrs_rl.experiments.controls.finding import Size
    from unicrs_rl.experiments.controls.run import CONTROLS, Sources, failed, run_controls, told

    if verb.workers is not None and verb.workers < 1:
        raise InputError("--workers: at least 1 is needed")
    sources = Sources(verb.run, verb.corpus, verb.data, verb.out, verb.workers or default_workers())
    which: tuple[str, ...] = tuple(dict.fromkeys(verb.which)) or tuple(CONTROLS)
    with progress_bars(quiet=verb.json) as progress:
        found = run_controls(which, Size(verb.size), sources, progress)
    if verb.json:
        print(json.dumps(told(found, Size(verb.size))))
    else:
        console = Console()
        _print(found, console if console.is_terminal else Console(width=200))
    if unmet := failed(found):
        checks = "; ".join(finding.check for finding in unmet)
        raise Failed(f"{len(unmet)} of {len(found)} checks failed: {checks}")


def _print(found: Sequence[Finding], console: Console) -> None:
    table = Table(title="controls", title_justify="left")
    for head in ("control", "check", "expected", "found", ""):
        table.add_column(head)
    for finding in found:
        outcome = {True: "passed", False: "FAILED", None: "-"}[finding.passed]
        table.add_row(
            finding.control, escape(finding.check), escape(finding.expected), escape(finding.found), outcome
        )
    console.print(table)
