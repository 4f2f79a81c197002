"""The Actor: commits to a structured action and words it; the same for every arm.

What a policy planned is fixed; what it left open (``None``) the Actor chooses among the candidates
that the Fact Retriever laid on the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unicrs_rl.dialogue import Act, Call, Decision, Grounding, Plan, State
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.tasks import ACT_NAMES, ACTOR, ACTS, ActorInput, ActorOutput
from unicrs_rl.language.wording import STRATEGY_DESCRIPTIONS

LOST_FOR_WORDS = "Sorry, I lost the thread. Please tell me a little more."
"""Said where the model gave no valid answer; the failure is recorded in the turn's calls."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the Actor did and said in a turn."""

    decision: Decision
    utterance: str
    call: Call


class Actor:
    """Expert that acts and speaks through a language model.

    Args:
        model: who words it.
        lexicon: names of items and attributes.
        recommend_above: confidence for recommending, where timing is the Actor's.
    """

    def __init__(self, model: LanguageModel, lexicon: Lexicon, recommend_above: float) -> None:
        self.model = model
        self.lexicon = lexicon
        self.recommend_above = recommend_above

    def speak(
        self, states: Sequence[State], plans: Sequence[Plan], groundings: Sequence[Grounding]
    ) -> list[Spoken]:
        """Act and speak in a batch of conversations, in order."""
        inputs = [self._inputs(*row) for row in zip(states, plans, groundings, strict=True)]
        answers = self.model.complete(ACTOR, inputs)
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
            strategy=plan.strategy.value,
            strategy_description=STRATEGY_DESCRIPTIONS[plan.strategy],
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
            facts=[(items[fact.item], fact.relation, fact.value) for fact in grounding.facts],
            variant=state.key % 1_000_003,
        )

    def _spoken(self, plan: Plan, output: ActorOutput | None, call: Call) -> Spoken:
        if output is None:
            return Spoken(Decision(Act.CHAT, plan.strategy), LOST_FOR_WORDS, call)
        items = [item for name in output.items if (item := self.lexicon.item_id(name)) is not None]
        asked = [a for name in output.attributes if (a := self.lexicon.attribute_id(name)) is not None]
        act = ACTS[output.act]
        decision = Decision(
            act,
            plan.strategy,
            attributes=tuple(asked) if act is Act.ASK else (),
            items=tuple(items) if act is Act.RECOMMEND else (),
        )
        return Spoken(decision, output.utterance, call)
