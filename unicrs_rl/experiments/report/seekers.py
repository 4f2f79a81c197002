"""The section on the seekers, and the page of a population that was met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.figures import Shown
from unicrs_rl.experiments.report.learned import Learned
from unicrs_rl.experiments.report.page import page
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.seeker_figures import Course, courses, seeker_figures
from unicrs_rl.experiments.seeker_tables import SeekerTable, seeker_tables
from unicrs_rl.experiments.verdict import seekers_named

POPULATION = "population.json"
"""The numbers of a population that was met, in a folder of its own."""
_CAPTIONS = {
    "latents": "Grey: shares of seekers at first; lines: after their dialogues with each arm.",
    "belief": (
        "Turns in which an item is recommended; dotted: what its title alone promises, line: after the turn, "
        "band: 95% interval of the mean. Only dialogues that get to a turn are in it."
    ),
}


@dataclass(frozen=True)
class SeekersShown:
    """The section on the seekers.

    Attributes:
        sentence: who they were set to be.
        verdict: what is found without dialogues that drifted, where any did.
    """

    sentence: str
    tables: Sequence[SeekerTable]
    figures: Mapping[str, Shown]
    verdict: str = ""


def seekers_shown(
    config: RunConfig, found: Mapping[str, Any], course: Mapping[str, Course]
) -> SeekersShown | None:
    """What is shown of the seekers; nothing of a run of a version that did not measure them.

    Args:
        found: with ``protocol``, ``arms`` and ``humans`` as in ``results.json``.
        course: what the traces say, by arm.
    """
    if "seekers" not in found["protocol"]:
        return None
    return SeekersShown(
        sentence=f"Simulated {seekers_named(config)}.",
        tables=seeker_tables(found["protocol"]["seekers"], found["arms"], found["humans"]),
        figures={name: Shown(figure, _CAPTIONS[name]) for name, figure in seeker_figures(course).items()},
        verdict=found.get("without_drift", {}).get("verdict", ""),
    )


def population(folder: RunFolder) -> str:
    """The page of a population that was met."""
    config = RunFolder.read(folder.path)[1]
    found = folder.read_json(folder.path / POPULATION)
    seekers = seekers_shown(config, found, courses(folder.read_traces(), found["arms"]))
    assert seekers is not None
    nothing = Learned([], {}, [])
    return page(
        "population.html.jinja", folder, config, seekers.figures, nothing, found=found, seekers=seekers
    )
