"""(Re)building the report of a run folder."""

from __future__ import annotations

from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.report.comparison import comparison
from unicrs_rl.experiments.report.seekers import POPULATION, population
from unicrs_rl.experiments.report.training import training
from unicrs_rl.experiments.run_folder import RunFolder


def write_report(folder: RunFolder) -> None:
    """(Re)build the report of a comparison, or of what was trained, or of a population that was met.

    Raises:
        InputError: if the folder holds neither, or its files are broken.
    """
    if (folder.path / POPULATION).is_file():
        made = population(folder)
    elif folder.traces.is_file() or folder.results.is_file():
        made = comparison(folder)
    else:
        made = training(folder)
    write_atomically(folder.report, made)
