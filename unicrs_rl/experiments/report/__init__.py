"""``report.html``: one file that opens without network, made from a run folder.

There is one for a comparison, one for a run that only trained, one for a population that was met, and
studies make theirs with :func:`render`. Each figure is a file of its own, each template a page.
"""

from __future__ import annotations

from unicrs_rl.experiments.report.heat_map import GridCell, grid_heat_map
from unicrs_rl.experiments.report.page import ENVIRONMENT, render
from unicrs_rl.experiments.report.seekers import POPULATION
from unicrs_rl.experiments.report.warnings import warnings
from unicrs_rl.experiments.report.write import write_report

__all__ = ["ENVIRONMENT", "POPULATION", "GridCell", "grid_heat_map", "render", "warnings", "write_report"]
