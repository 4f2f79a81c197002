"""Turns per second of the simulators, one core, at the semantic and at the text surface.

Semantic: random valid actions in the vector environment. Text: full conversations of the max-entropy
rule, with everything said, read, grounded and judged by the embedded language model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from unicrs_rl.experiments.components import build, read_world
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.simulators.environment import ConversationVectorEnv


def semantic(world: World, user: str, batch: int, turns: int) -> float:
    env = ConversationVectorEnv(world, batch, user=user)
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    n_strategies = 14
    started = time.perf_counter()
    for _ in range(turns):
        mask = info["action_mask"][:, : env.world.catalogue.n_attributes + 2]
        codes = (rng.random(mask.shape) * mask).argmax(axis=1)
        codes = np.where(rng.random(batch) < 0.3, 1, codes)
        actions = np.stack([codes, rng.integers(n_strategies, size=batch)], 1) if user == "latent" else codes
        _, _, _, _, info = env.step(actions)
    return batch * turns / (time.perf_counter() - started)


def text(world: World, config: dict[str, object], batch: int) -> float:
    settings = resolve(config)
    components = build(settings, world)
    conversations = Conversations(components)
    policy = components.policy("max-entropy", 0)
    sessions = world.sessions(Split.TEST, batch, 0)
    conversations.hold(policy, sessions[:16])
    started = time.perf_counter()
    episodes = conversations.hold(policy, sessions)
    turns = sum(len(episode.dialogue.turns) for episode in episodes)
    return turns / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="movies")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config: dict[str, object] = {"world": options.world, "embeddings": {"epochs": 1}}
    if options.data:
        config["data"] = options.data
    world = read_world(resolve(config))
    for user in ("latent", "mcr"):
        speeds = [semantic(world, user, options.batch, 40) for _ in range(options.runs)]
        print(f"{user:>7} semantic, batch {options.batch}: {statistics.median(speeds):10,.0f} turns/s")
    for user in ("latent", "mcr"):
        speeds = [text(world, config | {"user": user}, options.batch) for _ in range(options.runs)]
        print(f"{user:>7} text,     batch {options.batch}: {statistics.median(speeds):10,.0f} turns/s")


if __name__ == "__main__":
    main()
