"""Kinds of simulated seekers by name: ``mcr`` and ``latent``."""

from unicrs_rl.graphs.world import World
from unicrs_rl.registry import Registry
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.seekers import Seekers

populations: Registry[type[Seekers]] = Registry("user simulator")
"""Classes of seekers."""

populations.register("mcr")(McrSeekers)
populations.register("latent")(LatentSeekers)


def make_seekers(user: str, world: World, noise: float = 0.0) -> Seekers:
    """Seekers of a kind.

    Args:
        noise: chance that an answer is flipped; only ``mcr`` seekers know it.

    Raises:
        InputError: if there is no such kind.
        ValueError: if there is noise and the kind knows none.
    """
    kind = populations[user]
    if issubclass(kind, McrSeekers):
        return kind(world, noise)
    if noise:
        raise ValueError(f"{user} seekers do not answer with noise")
    return kind(world)
