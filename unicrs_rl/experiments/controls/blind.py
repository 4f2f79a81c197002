"""The judge is blind: it scores what was said and done, not who did it.

Dialogues of several arms are put before a judge as they are, and again under other names, in another
order, stripped of everything but words, decisions, told facts and replies: no plan, no scores of options,
no calls, no views. Each score has to be the same to the last digit. And an arm that is held once more
under another name has to leave the very same dialogues, whose judge never gets to read the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import Dialogue, Reply, Turn
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.evaluation import evaluate
from unicrs_rl.graphs.world import Session
from unicrs_rl.judging.judge import Judge, Judgement
from unicrs_rl.policy.arms import kind
from unicrs_rl.policy.base import Policy

ALIAS = "xq7zv"
"""A name that no word, title or prompt has in it."""


def stripped(dialogue: Dialogue, name: str = "") -> Dialogue:
    """The same with nothing in it that a judge may not know."""
    return Dialogue(name, _said(dialogue.opening), [_bare(turn) for turn in dialogue.turns])


def _bare(turn: Turn) -> Turn:
    return Turn(turn.decision, turn.utterance, _said(turn.reply), turn.facts)


def _said(reply: Reply) -> Reply:
    """The words, and what became of an offer: all else that a reply holds is hidden."""
    return Reply(reply.text, accepted=reply.accepted, rejected=reply.rejected)


def seen_through(judge: Judge, dialogues: Sequence[Dialogue], seed: int = 0) -> list[int]:
    """The places of dialogues that a judge scores otherwise once it cannot know whose they are."""
    order = np.random.default_rng(draws.key("judged blind", seed)).permutation(len(dialogues)).tolist()
    shown = judge.judge(dialogues)
    hidden = judge.judge([stripped(dialogues[place]) for place in order])
    found = [
        place for place, judgement in zip(order, hidden, strict=True) if judgement.score != shown[place].score
    ]
    return sorted(found)


class Eavesdropper(Judge):
    """Passes on what a judge says, and keeps all that the judge was handed."""

    def __init__(self, judge: Judge) -> None:
        self.judge_itself = judge
        self.name, self.version = judge.name, judge.version
        self.handed: list[str] = []

    @override
    def judge(self, dialogues: Sequence[Dialogue]) -> list[Judgement]:
        self.handed += [repr(dialogue) for dialogue in dialogues]
        return self.judge_itself.judge(dialogues)


def renamed(
    policy: Policy, arm: str, seed: int, components: Components, sessions: Sequence[Session]
) -> tuple[list[int], bool]:
    """Hold an arm's dialogues under its own name and under another.

    Returns:
        The dialogues that then differ, and whether its judge was handed the name.
    """
    alias = f"{kind(arm)}@{ALIAS}"
    own = {**components.config.arm.get(kind(arm), {}), **components.config.arm.get(arm, {})}
    listening = Eavesdropper(components.judge)
    under_alias = replace(
        components,
        judge=listening,
        config=components.config.model_copy(update={"arm": {**components.config.arm, alias: own}}),
    )
    before = _held(policy, arm, seed, components, sessions)
    after = _held(policy, alias, seed, under_alias, sessions)
    differing = [
        one["index"]
        for one, other in zip(before, after, strict=True)
        if _timeless(one) != _timeless(other | {"arm": arm})
    ]
    return differing, any(ALIAS in text for text in listening.handed)


def _held(
    policy: Policy, arm: str, seed: int, components: Components, sessions: Sequence[Session]
) -> list[dict[str, Any]]:
    return [line for batch in evaluate(policy, arm, seed, components, sessions) for line in batch]


def _timeless(value: Any) -> Any:
    """A trace without seconds, which are never the same twice."""
    if isinstance(value, dict):
        return {name: _timeless(entry) for name, entry in _lasting(value)}
    return [_timeless(entry) for entry in value] if isinstance(value, list | tuple) else value


def _lasting(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, entry) for name, entry in value.items() if name != "seconds")
