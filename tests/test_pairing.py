"""Common random numbers: policies that act alike meet the same replies, whatever they do afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import override

from unicrs_rl.dialogue import Plan
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.traces import trace
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.policy.base import Policy

DIALOGUES = 16
KINDS: dict[str, dict[str, Any]] = {
    "mcr": {"user": "mcr"},
    "mcr, noisy": {"user": "mcr", "noise": 0.2, "reject": "noisy"},
    "latent": {"user": "latent"},
    "holistic": {"user": "latent", "seekers": {"population": "holistic"}},
    "strong": {"user": "latent", "seekers": {"effects": "strong"}},
    "lm-reference": {"user": "lm-reference"},
    "lm-free": {"user": "lm-free"},
    "lm-latent": {"user": "lm-latent"},
}


class Until(Policy):
    """Decides as one policy in the first turns, and as another from then on."""

    def __init__(self, first: Policy, then: Policy, turns: int) -> None:
        super().__init__(first.context)
        self.first, self.then, self.turns = first, then, turns

    @override
    def decide(self, states: States) -> list[Plan]:
        plans = zip(states.past.turn, self.first.decide(states), self.then.decide(states), strict=True)
        return [early if turn < self.turns else late for turn, early, late in plans]


@pytest.fixture(params=KINDS, scope="module")
def met(request: pytest.FixtureRequest, movies: World, movies_embeddings: Embeddings) -> Components:
    """Components with one kind of embedded seeker."""
    return build(resolve(KINDS[request.param]), movies, movies_embeddings)


def held(components: Components, policy: Policy, batch: int, backwards: bool = False) -> list[dict[str, Any]]:
    """Conversations as traces, by index, held in batches of a size and in an order."""
    sessions = components.world.sessions(Split.TEST, DIALOGUES, 3)
    if backwards:
        sessions.reverse()
    conversations = Conversations(components)
    episodes = [
        episode
        for start in range(0, DIALOGUES, batch)
        for episode in conversations.hold(policy, sessions[start : start + batch])
    ]
    lines = [trace(episode, "arm", 0, components) for episode in episodes]
    return sorted((json.loads(json.dumps(line)) for line in lines), key=lambda line: line["index"])


def alike(one: dict[str, Any], other: dict[str, Any]) -> int:
    """Turns until the decisions differ; fails if anything that followed an equal past is not equal."""
    for name in ("seeker", "target", "key", "opening", "latents", "goal"):
        assert one[name] == other[name]
    for number, (mine, theirs) in enumerate(zip(one["turns"], other["turns"], strict=False)):
        if mine["decision"] != theirs["decision"]:
            return number
        for name in ("utterance", "reply", "latents", "goal"):
            assert mine[name] == theirs[name], f"turn {number + 1}: {name}"
        assert mine.get("belief") == theirs.get("belief"), f"turn {number + 1}"
    assert len(one["turns"]) == len(other["turns"])
    return len(one["turns"])


def test_two_names_of_one_rule_hold_the_same_conversations(met: Components) -> None:
    ours = held(met, met.policy("max-entropy", 0), DIALOGUES)
    theirs = held(met, met.policy("weighted-entropy", 1), 5, backwards=True)
    for one, other in zip(ours, theirs, strict=True):
        assert alike(one, other) == len(one["turns"])
        assert one["metrics"] == other["metrics"]
        assert one["outcome"] == other["outcome"]


def test_replies_are_the_same_up_to_the_first_other_decision(met: Components) -> None:
    rule = met.policy("max-entropy", 0)
    ours = held(met, rule, DIALOGUES)
    parted: list[int] = []
    for then in ("random", "greedy"):
        other = Until(rule, met.policy(then, 0), 3)
        theirs = held(met, other, 7, backwards=True)
        parted += [alike(one, other) for one, other in zip(ours, theirs, strict=True)]
    assert min(parted) >= 1  # dialogues of fewer turns than three are shared whole
    late = [turns for turns in parted if turns >= 3]
    assert len(late) >= DIALOGUES / 2  # and enough is compared for this to mean something


def test_another_simulator_seed_is_another_conversation(movies: World, movies_embeddings: Embeddings) -> None:
    """The test above could not fail if nothing were random."""
    components = build(resolve({"user": "latent"}), movies, movies_embeddings)
    make: Callable[[int], list[Any]] = lambda seed: components.world.sessions(Split.TEST, 4, seed)  # noqa: E731
    keys = [{session.key for session in make(seed)} for seed in (3, 4)]
    assert not keys[0] & keys[1]
