"""The turn loop: what all arms share, and what it must never do."""

from __future__ import annotations

import numpy as np
import pytest

from unicrs_rl.dialogue import Act
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.timing import THRESHOLDS, fit_recommend_above
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.policy.base import Learner

ARMS = ("unified", "rso", "max-entropy", "greedy", "random")


def components_with(world: World, embeddings: Embeddings, **settings: object) -> Components:
    return build(resolve(settings), world, embeddings)


@pytest.mark.parametrize(
    "settings", [{"slate": 1}, {"slate": 5}, {"slate": 20}, {"arm": {"unified": {"k": 20}}}]
)
def test_every_arm_keeps_to_the_slate(
    movies: World, movies_embeddings: Embeddings, settings: dict[str, object]
) -> None:
    parts = components_with(movies, movies_embeddings, **settings)
    sessions = movies.sessions(Split.TRAIN, 4, 0)
    for arm in ARMS:
        policy = parts.policy(arm, 0, dialogues=4)
        for episode in Conversations(parts).hold(policy, sessions, learning=isinstance(policy, Learner)):
            for turn in episode.dialogue.turns:
                assert len(turn.decision.items) <= parts.config.slate
                assert (turn.decision.act is Act.RECOMMEND) == bool(turn.decision.items)


def test_heads_that_do_not_share_the_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"heads: 3 must divide dim, 32"):
        resolve({"arm": {"unified": {"heads": 3}}})


@pytest.mark.parametrize("arm", ["greedy", "max-entropy", "random"])
def test_nothing_of_the_history_is_recommended(components: Components, arm: str) -> None:
    sessions = components.world.sessions(Split.TEST, 60, 0)
    for episode in Conversations(components).hold(components.policy(arm, 0), sessions):
        for turn in episode.dialogue.turns:
            assert not set(turn.decision.items) & set(episode.session.history)


def test_facts_of_a_turn_are_those_that_were_said(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 30, 0)
    counted = 0
    for episode in Conversations(components).hold(components.policy("greedy", 0), sessions):
        for turn in episode.dialogue.turns:
            for fact in turn.facts:
                assert fact.value.casefold() in turn.utterance.casefold()
            counted += len(turn.facts)
    assert counted > 30


def test_facts_told_win_trust(components: Components) -> None:
    seekers = Conversations(components).seekers
    sessions = components.world.sessions(Split.TEST, 40, 0)
    from unicrs_rl.simulators.seekers import Actions

    trust = []
    for told in (0, 2):
        seekers.reset(sessions)
        lists = np.tile(np.arange(10), (40, 1))
        zeros = np.zeros(40, dtype=np.int64)
        actions = Actions(zeros + Act.RECOMMEND, zeros, np.full((40, 1), -1), lists, zeros + told)
        seekers.respond(np.arange(40), actions)
        trust.append([seekers.latents(row)["trust"] for row in range(40)])
    assert np.all(np.array(trust[1]) > np.array(trust[0]))


def test_when_to_recommend_is_fitted_on_the_validation_split(components: Components) -> None:
    fitted = fit_recommend_above(components)
    assert fitted in THRESHOLDS
    assert fitted == fit_recommend_above(components)
    hidden = components.world.targets.copy()
    try:
        components.world.targets[Split.TEST] = []
        assert fit_recommend_above(components) == fitted
    finally:
        components.world.targets.update(hidden)
