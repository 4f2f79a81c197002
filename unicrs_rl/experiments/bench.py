"""How fast and how large: the batched engine with a rule, and with the learned graph policy."""

from __future__ import annotations

import resource
import statistics
import sys
from typing import Any

import torch

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import rollout
from unicrs_rl.experiments.components import Components, build, read_world
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Session, Split
from unicrs_rl.policy.base import Policy

BATCHES = (1, 64, 256, 1024)
RUNS = 3
_DIALOGUES = {1: 100}
_MANY = 1024


def bench(
    config: RunConfig,
    arms: tuple[str, ...] = ("max-entropy", "unified"),
    threads: int = 1,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Turns and episodes a second of each arm at each batch size, and the peak memory of this process.

    The learned policy is untrained: what it decides costs the same. The first run of each is not
    counted, because the loops are compiled in it.

    Raises:
        InputError: if an arm leaves columns to others.
    """
    torch.set_num_threads(threads)
    world = read_world(config)
    components = build(config, world, progress=lambda done, all_: progress("node embeddings", done, all_))
    sessions = world.sessions(Split.VALID, _MANY, config.evaluation_seed)
    found: dict[str, Any] = {}
    for arm in arms:
        policy = components.policy(arm, config.seeds[0])
        if not policy.complete:
            raise InputError(f"arm {arm!r} leaves columns to others; the engine cannot lead it")
        speeds = {}
        for done, batch in enumerate(BATCHES, start=1):
            speeds[str(batch)] = _speed(components, policy, sessions[: _DIALOGUES.get(batch, _MANY)], batch)
            progress(f"bench {arm}", done, len(BATCHES))
        found[arm] = speeds
    return {
        "world": world.name,
        "items": world.catalogue.n_items,
        "attributes": world.catalogue.n_attributes,
        "threads": threads,
        "runs": RUNS,
        "arms": found,
        "peak_memory_mib": round(peak_memory_mib(), 1),
    }


def _speed(components: Components, policy: Policy, sessions: list[Session], batch: int) -> dict[str, float]:
    turns, episodes = [], []
    for run in range(RUNS + 1):
        held = rollout.evaluate(components.engine(), policy, sessions, batch)
        if run:
            turns.append(int(held.turn.sum()) / held.seconds)
            episodes.append(len(sessions) / held.seconds)
    return {
        "turns_per_second": round(statistics.median(turns), 1),
        "episodes_per_second": round(statistics.median(episodes), 1),
    }


def peak_memory_mib() -> float:
    """The most memory this process ever held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
