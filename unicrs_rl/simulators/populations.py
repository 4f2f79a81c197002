"""Kinds of simulated seekers by name: ``mcr``, ``latent`` and those that speak through a language model.

A kind may take an argument after a colon: ``interplay:RUN``.
"""

from __future__ import annotations

from unicrs_rl.errors import InputError
from unicrs_rl.registry import Registry
from unicrs_rl.simulators.interplay import InterplaySeekers
from unicrs_rl.simulators.language_seekers import FreeSeekers, ReferenceSeekers, SpokenLatentSeekers
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.planted import PlantedSeekers
from unicrs_rl.simulators.seekers import SeekerContext, Seekers

populations: Registry[type[Seekers]] = Registry("user simulator")
"""Classes of seekers."""

populations.register("mcr")(McrSeekers)
populations.register("latent")(LatentSeekers)
populations.register("lm-reference")(ReferenceSeekers)
populations.register("lm-free")(FreeSeekers)
populations.register("lm-latent")(SpokenLatentSeekers)
populations.register("interplay")(InterplaySeekers)
populations.register("planted")(PlantedSeekers)


def seeker_kind(user: str) -> type[Seekers]:
    """The class of a kind of seeker, with or without an argument.

    Raises:
        InputError: if there is no such kind, or it takes no argument, or lacks one.
    """
    name, colon, argument = user.partition(":")
    kind = populations[name]
    if kind.takes and not argument:
        raise InputError(f"{name!r} needs an argument: {name}:{kind.takes}")
    if colon and not kind.takes:
        raise InputError(f"{user!r}: seekers of kind {name!r} take no argument")
    return kind


def make_seekers(user: str, context: SeekerContext) -> Seekers:
    """Seekers of a kind.

    Raises:
        InputError: if there is no such kind, or it cannot be had.
        ValueError: if there is noise and the kind knows none.
    """
    kind = seeker_kind(user)
    if context.noise and kind is not McrSeekers:
        raise ValueError(f"{user} seekers do not answer with noise")
    return kind(context, user.partition(":")[2])
