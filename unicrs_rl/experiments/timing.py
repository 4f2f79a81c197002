"""When to recommend: the one number of the best simple rule, fitted on the validation split.

How sure is sure enough depends on the world: where many items look alike, waiting for certainty
wastes turns. The threshold is shared: the ``max-entropy`` rule recommends above it, the Actor does
where timing is left to it, and the unified policy explores around it.
"""

from __future__ import annotations

import numpy as np

from unicrs_rl.experiments import rollout
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import Surface
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.training import Progress
from unicrs_rl.graphs.world import Session, Split

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)
_SESSIONS = 400
_BATCH = 100


def fit_recommend_above(components: Components, progress: Progress = lambda *_: None) -> float:
    """The posterior mass of the list above which to recommend: the one with the fewest mean turns.

    Failures count all turns allowed. The conversations are held without words, with seekers of the
    validation split; no test seeker has a part in it.
    """
    world, config = components.world, components.config
    if not world.targets[Split.VALID]:
        return components.recommend_above
    if config.surface is Surface.SEMANTIC:
        sessions = rollout.held_out(components, Split.VALID, rollout.TRIED_ON)
    else:
        sessions = world.sessions(Split.VALID, _SESSIONS, config.world_seed)
    turns = []
    for done, threshold in enumerate(THRESHOLDS, start=1):
        turns.append(_mean_turns(components, threshold, sessions))
        progress("when to recommend", done, len(THRESHOLDS))
    return THRESHOLDS[int(np.argmin(np.round(turns, 9)))]


def _mean_turns(components: Components, threshold: float, sessions: list[Session]) -> float:
    """AT of the max-entropy rule with a threshold."""
    rule = components.recommending_above(threshold).policy("max-entropy", seed=0)
    limit = components.config.limit
    if rollout.plays(rule, components):
        found = rollout.evaluate(components.engine(), rule, sessions)
        return float(found.metrics()["at"].mean())
    conversations = Conversations(components, words=False)
    turns = []
    for start in range(0, len(sessions), _BATCH):
        for episode in conversations.hold(rule, sessions[start : start + _BATCH]):
            outcome = episode.dialogue.outcome
            turns.append(outcome.turn if outcome and outcome.success else limit)
    return float(np.mean(turns))
