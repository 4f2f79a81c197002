"""``unicrs-rl report``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from unicrs_rl.cli.options import (
    opt,
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Rebuild report.html, and the tables of a comparison, from a run folder."""

    run: Positional[Annotated[Path, opt("run folder made by compare or train", "RUN")]]
    json: Annotated[bool, opt("print one JSON object")] = False


def run(verb: Report) -> None:
    """Rebuild the report, and print where it is."""
    from unicrs_rl.experiments.exports import write_exports
    from unicrs_rl.experiments.report import write_report
    from unicrs_rl.experiments.run_folder import RunFolder

    folder, _ = RunFolder.read(verb.run)
    write_report(folder)
    if folder.results.is_file():
        write_exports(folder)
    print(json.dumps({"report": str(folder.report)}) if verb.json else folder.report)
