"""Kinds of simulated seekers by name: ``mcr`` and ``latent``."""

from collections.abc import Callable

from unicrs_rl.graphs.world import World
from unicrs_rl.registry import Registry
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.seekers import Seekers

populations: Registry[Callable[[World], Seekers]] = Registry("user simulator")
"""Makers of seekers: world -> seekers."""

populations.register("mcr")(McrSeekers)
populations.register("latent")(LatentSeekers)
