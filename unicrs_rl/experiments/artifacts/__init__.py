"""Tables and figures of studies: one file for each kind, made from run folders alone."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from unicrs_rl.experiments.artifacts.ablation import Ablation
from unicrs_rl.experiments.artifacts.base import Artifact, Cell, Finished, Made, Picture, Table
from unicrs_rl.experiments.artifacts.case import Case
from unicrs_rl.experiments.artifacts.drawing import house_style
from unicrs_rl.experiments.artifacts.frontier import Frontier
from unicrs_rl.experiments.artifacts.grid import Grid
from unicrs_rl.experiments.artifacts.numbers import Numbers
from unicrs_rl.experiments.artifacts.scale import Scale
from unicrs_rl.experiments.artifacts.strategies import Strategies
from unicrs_rl.experiments.artifacts.transfer import Transfer, crossing

AnyArtifact: TypeAlias = Annotated[
    Numbers | Strategies | Scale | Ablation | Case | Transfer | Grid | Frontier, Field(discriminator="kind")
]
KINDS: dict[str, type[Artifact]] = {
    "numbers": Numbers,
    "strategies": Strategies,
    "scale": Scale,
    "ablation": Ablation,
    "case": Case,
    "transfer": Transfer,
    "grid": Grid,
    "frontier": Frontier,
}

__all__ = [
    "KINDS",
    "AnyArtifact",
    "Artifact",
    "Cell",
    "Finished",
    "Made",
    "Picture",
    "Table",
    "crossing",
    "house_style",
]
