"""Running controls, and writing down what they found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2

import unicrs_rl
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.controls.aa import aa
from unicrs_rl.experiments.controls.finding import Finding, Size
from unicrs_rl.experiments.controls.leak import leak
from unicrs_rl.experiments.controls.repeated import shortcut
from unicrs_rl.experiments.controls.truths import planted
from unicrs_rl.experiments.run_folder import check_writable, writing
from unicrs_rl.experiments.training import Progress

SCHEMA_VERSION = 1
ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.experiments.controls", "."),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Sources:
    """What controls may look at besides the package, and where they write.

    Attributes:
        run: folder of a finished comparison.
        corpora: human dialogues, separated by commas.
        data: folder that holds data by their names.
        out: folder for ``controls.json`` and ``controls.html``.
        workers: processes.
    """

    run: Path | None = None
    corpora: str | None = None
    data: Path | None = None
    out: Path | None = None
    workers: int = 1


Control = Callable[[Size, Sources, Progress], list[Finding]]

CONTROLS: Mapping[str, Control] = {
    "aa": lambda size, given, progress: aa(size, given.out, given.workers, progress),
    "planted": lambda size, given, progress: planted(size, given.workers, progress),
    "leak": lambda size, given, progress: leak(size, given.data, progress),
    "shortcut": lambda size, given, progress: shortcut(size, given.run, given.corpora, given.data, progress),
}
"""The controls by name, in the order in which they are run."""


def run_controls(
    which: Sequence[str], size: Size, sources: Sources, progress: Progress = lambda *_: None
) -> list[Finding]:
    """Run controls, and write ``controls.json`` and ``controls.html`` if there is a folder for them.

    Raises:
        InputError: if something is wrong with the input; before anything else is done if it is the folder.
    """
    if sources.out is not None:
        place = sources.out
        check_writable(place)
        writing(place, lambda: place.mkdir(parents=True, exist_ok=True))
    found = [
        finding for name in CONTROLS if name in which for finding in CONTROLS[name](size, sources, progress)
    ]
    if sources.out is not None:
        written = told(found, size)
        write_atomically(sources.out / "controls.json", json.dumps(written, indent=1, allow_nan=False) + "\n")
        page = ENVIRONMENT.get_template("controls.html.jinja").render(told=written)
        write_atomically(sources.out / "controls.html", page)
    return found


def failed(found: Sequence[Finding]) -> list[Finding]:
    """The checks that did not find what they have to."""
    return [finding for finding in found if finding.passed is False]


def told(found: Sequence[Finding], size: Size) -> dict[str, Any]:
    """The content of ``controls.json``: nothing in it differs between two runs of the same controls."""
    return {
        "schema_version": SCHEMA_VERSION,
        "unicrs_rl": unicrs_rl.__version__,
        "size": size.value,
        "passed": not failed(found),
        "findings": [asdict(finding) for finding in found],
    }
