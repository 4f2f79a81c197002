"""How strongly the latent seeker's moods go with acceptance, against what human dialogues show.

Conversations of the max-entropy rule with strategies drawn at random; Spearman correlations over
dialogues between the final rapport, trust and pressure (as a seeker would rate them afterwards) and
whether the first list that holds the target is accepted, and between uses of a strategy and rapport.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Plan, Strategy
from unicrs_rl.experiments.components import build, read_world
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.rules import MaxEntropy

HUMAN = {"rapport": 0.148, "trust": 0.179, "pressure": -0.140}
HUMAN_WARMTH = {
    Strategy.PERSONAL_OPINION: 0.127,
    Strategy.PERSONAL_EXPERIENCE: 0.132,
    Strategy.ENCOURAGEMENT: 0.104,
    Strategy.SIMILARITY: 0.071,
    Strategy.OPINION_INQUIRY: -0.006,
    Strategy.CREDIBILITY: 0.014,
}


class AnyManner(MaxEntropy):
    """The max-entropy rule with strategies drawn uniformly."""

    def decide(self, states: States) -> list[Plan]:
        """The rule's plans, in any manner."""
        plans = super().decide(states)
        return [
            replace(plan, strategy=STRATEGIES[draws.pick(row.key, row.turn, "any manner", len(STRATEGIES))])
            for plan, row in zip(plans, states.rows, strict=True)
        ]


def first_offer(episode: Episode) -> tuple[bool, int] | None:
    """Whether the first list that held the target was accepted, and in which turn."""
    for turn, done in enumerate(episode.dialogue.turns):
        if episode.session.target in done.decision.items:
            return done.reply.accepted is not None, turn
    return None


def correlation(x: Sequence[float], y: Sequence[float]) -> str:
    found = spearmanr(x, y)
    return f"{found.statistic:+.3f} (p = {found.pvalue:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=4000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = resolve({"embeddings": {"epochs": 1}})
    world = read_world(config)
    components = build(config, world)
    policy = AnyManner(ArmContext(world.catalogue, components.embeddings, 0))
    conversations = Conversations(components, words=False)
    sessions = world.sessions(Split.TEST, options.dialogues, 0)
    episodes = [
        episode
        for start in range(0, len(sessions), 250)
        for episode in conversations.hold(policy, sessions[start : start + 250])
    ]
    offered = [(episode, *offer) for episode in episodes if (offer := first_offer(episode)) is not None]
    accepted = [float(taken) for _, taken, _ in offered]
    print(f"{len(offered)} dialogues in which the target was offered, accepted {np.mean(accepted):.3f}")
    for mood, human in HUMAN.items():
        felt = [episode.latents[turn + 1][mood] for episode, _, turn in offered]
        print(f"{mood:>10} against acceptance: {correlation(felt, accepted)}   human {human:+.3f}")
    final = [episode.latents[-1]["rapport"] for episode in episodes]
    for strategy, human in HUMAN_WARMTH.items():
        uses = [
            Counter(turn.decision.strategy for turn in episode.dialogue.turns)[strategy]
            for episode in episodes
        ]
        print(f"{strategy.value:>20} against rapport: {correlation(uses, final)}   human warmth {human:+.3f}")


if __name__ == "__main__":
    main()
