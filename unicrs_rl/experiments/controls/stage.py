"""Where audits are held: the embedded films, with every kind of seekers that needs no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unicrs_rl.experiments.components import Components, build, read_world
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.jobs import shared_components
from unicrs_rl.experiments.planted import settings as settings_of_planted
from unicrs_rl.graphs.embeddings import pretrain
from unicrs_rl.graphs.world import World
from unicrs_rl.graphs.worlds import make_world

KINDS: Mapping[str, Mapping[str, Any]] = {
    "mcr": {"user": "mcr"},
    "latent": {"user": "latent"},
    "latent, holistic": {"user": "latent", "seekers": {"population": "holistic"}},
    "lm-reference": {"user": "lm-reference"},
    "lm-free": {"user": "lm-free"},
    "lm-latent": {"user": "lm-latent"},
}
"""Kinds of seekers, with their settings."""


PLANTED = "planted"
"""The seekers of planted worlds, half of whom are reserved in this one."""
PLANTED_WORLD = "planted-strategic"


def planted_stage(dialogues: int) -> Components:
    """The components of a run in a planted world, with so many training conversations."""
    own = {"train_dialogues": dialogues, "judge_when": "end"}
    config = resolve({**settings_of_planted(PLANTED_WORLD), **own})
    return shared_components(config, read_world(config), None, keep=False)


def stages(
    settings: Mapping[str, Any], kinds: Sequence[str] = tuple(KINDS), world: World | None = None
) -> dict[str, Components]:
    """The components of a run for each kind of seekers.

    Args:
        settings: of a run, for all kinds; embeddings are trained for one epoch, because nothing depends
            on how good they are.
        world: ``movies`` if ``None``.
    """
    world = world or make_world("movies")
    own = {"recommend_above": 0.3, "judge_when": "end", "embeddings": {"epochs": 1}, **settings}
    # one policy meets all kinds that heed strategies: it was made for latent seekers
    trained_on = {kind: {} if kind == "mcr" else {"trained_on": "latent"} for kind in kinds}
    configs = {kind: resolve({**own, **KINDS[kind], **trained_on[kind]}) for kind in kinds}
    embeddings = pretrain(world, next(iter(configs.values())).embeddings, 0)
    built: dict[str, Components] = {}  # all else that differs between kinds is in the settings
    found = {}
    for kind, config in configs.items():
        if config.met not in built:
            built[config.met] = build(config, world, embeddings)
        found[kind] = replace(built[config.met], config=config)
    return found
