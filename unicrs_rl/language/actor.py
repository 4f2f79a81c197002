"""The Actor: commits to a structured action and words it; the same for every arm that asks for no other.

What a policy planned is fixed; what it left open (``None``) the Actor chooses among the candidates
that the Fact Retriever laid on the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from unicrs_rl.dialogue import Act, Call, Decision, Fact, Grounding, Plan, State, Strategy
from unicrs_rl.language.boundary import LanguageModel, Task
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.tasks import ACT_NAMES, ACTOR, ACTS, ActorInput, ActorOutput
from unicrs_rl.language.wording import STRATEGY_DESCRIPTIONS
from unicrs_rl.registry import Registry

actors: Registry[type[Actor]] = Registry("actor")
"""Actors by name. The embedded language model imports them all, since it has a rule for each."""

LOST_FOR_WORDS = "Sorry, I lost the thread. Please tell me a little more."
"""Said where the model gave no valid answer; the failure is recorded in the turn's calls."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the Actor did and said in a turn.

    Attributes:
        invented: names it gave that the catalogue does not have; they are not in the decision.
    """

    decision: Decision
    utterance: str
    calls: tuple[Call, ...]
    invented: tuple[str, ...] = ()


@actors.register("actor")
class Actor:
    """Expert that acts and speaks through a language model.

    Args:
        model: who words it.
        lexicon: names of items and attributes.
        recommend_above: confidence for recommending, where timing is the Actor's.
        slate: items it may list, at most.
        facts_about: looks up all that the knowledge graph says of an item; only who checks itself asks.
    """

    task: ClassVar[Task[ActorInput, ActorOutput]] = ACTOR

    def __init__(
        self,
        model: LanguageModel,
        lexicon: Lexicon,
        recommend_above: float,
        slate: int = 10,
        facts_about: Callable[[int], Sequence[Fact]] = lambda _item: (),
    ) -> None:
        self.model = model
        self.lexicon = lexicon
        self.recommend_above = recommend_above
        self.slate = slate
        self.facts_about = facts_about

    def speak(
        self, states: Sequence[State], plans: Sequence[Plan], groundings: Sequence[Grounding]
    ) -> list[Spoken]:
        """Act and speak in a batch of conversations, in order."""
        inputs = [self._inputs(*row) for row in zip(states, plans, groundings, strict=True)]
        answers = self.model.complete(self.task, inputs)
        return [
            self._spoken(plan, answer.output, answer.call)
            for plan, answer in zip(plans, answers, strict=True)
        ]

    def _inputs(self, state: State, plan: Plan, grounding: Grounding) -> ActorInput:
        items, attributes = self.lexicon.items, self.lexicon.attributes
        candidates = tuple(dict.fromkeys((*(plan.attributes or ()), *grounding.attributes)))
        known = state.preferences
        return ActorInput(
            noun=self.lexicon.noun,
            dialogue=list(state.utterances),
            turn=state.turn,
            limit=state.limit,
            strategy=plan.strategy and plan.strategy.value,
            strategies={
                strategy.value: about
                for strategy, about in STRATEGY_DESCRIPTIONS.items()
                if plan.strategy in (None, strategy)
            },
            preferences=known.summary,
            liked=[attributes[attribute] for attribute in known.liked],
            act=None if plan.act is None else ACT_NAMES[plan.act],
            items=None if plan.items is None else [items[item] for item in plan.items],
            attributes=None if plan.attributes is None else [attributes[a] for a in plan.attributes],
            candidate_items=[items[item] for item in grounding.items],
            candidate_attributes=[attributes[attribute] for attribute in candidates],
            attribute_kinds=[self.lexicon.kinds[attribute] for attribute in candidates],
            confidence=min(max(grounding.confidence, 0.0), 1.0),
            recommend_above=self.recommend_above,
            facts=None
            if grounding.facts is None
            else [(items[fact.item], fact.relation, fact.value) for fact in grounding.facts],
            variant=state.key % 1_000_003,
        )

    def _spoken(self, plan: Plan, output: ActorOutput | None, call: Call) -> Spoken:
        if output is None:
            return Spoken(Decision(Act.CHAT, plan.strategy or Strategy.NO_STRATEGY), LOST_FOR_WORDS, (call,))
        act = ACTS[output.act]
        items, no_items = _link(self.lexicon.item_id, output.items if act is Act.RECOMMEND else ())
        asked, no_attributes = _link(self.lexicon.attribute_id, output.attributes if act is Act.ASK else ())
        decision = Decision(
            act if items or asked else Act.CHAT,  # words about nothing there is are chat
            plan.strategy or Strategy.parse(output.strategy or ""),
            attributes=asked,
            items=items[: self.slate],
        )
        return Spoken(decision, output.utterance, (call,), no_items + no_attributes)


def _link(
    resolve: Callable[[str], int | None], names: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The ids of names, each once and in order, and the names that are none."""
    found = {name: resolve(name) for name in names}
    ids = tuple(dict.fromkeys(index for index in found.values() if index is not None))
    return ids, tuple(name for name, index in found.items() if index is None)
