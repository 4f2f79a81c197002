"""The Actor: commits to a structured action and words it; the same for every arm that asks for no other.

What a policy planned is fixed; what it left open (``None``) the Actor chooses among the candidates
that the Fact Retriever laid on the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from unicrs_rl.dialogue import Act, Call, Decision, Fact, Grounding, Plan, State, Strategy
from unicrs_rl.language.boundary import Answer, LanguageModel, Task
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
        invented: names it gave that the catalogue does not have, also in answers that were turned down;
            they are not in the decision.
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
            self._spoken(plan, grounding, answer)
            for plan, grounding, answer in zip(plans, groundings, answers, strict=True)
        ]

    def _inputs(self, state: State, plan: Plan, grounding: Grounding) -> ActorInput:
        items, attributes = self.lexicon.items, self.lexicon.attributes
        candidates = _questions(plan, grounding)
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
            unasked=[(items[fact.item], fact.relation, fact.value) for fact in grounding.unasked],
        )

    def _spoken(self, plan: Plan, grounding: Grounding, answer: Answer[ActorOutput]) -> Spoken:
        output, calls, invented = answer.output, (answer.call,), self._invented(answer)
        if output is None:
            decision = Decision(Act.CHAT, plan.strategy or Strategy.NO_STRATEGY)
            return Spoken(decision, LOST_FOR_WORDS, calls, invented)
        items, asked = _named(output)
        decision = Decision(
            ACTS[output.act],
            plan.strategy or Strategy.parse(output.strategy or ""),
            attributes=self._asked(plan, grounding, asked) if asked else (),
            items=self._offered(plan, grounding, items)[: self.slate] if items else (),
        )
        if not (decision.items or decision.attributes):  # words about nothing there is are chat
            decision = Decision(Act.CHAT, decision.strategy)
        if decision.act is not Act.RECOMMEND and output.told in [fact.value for fact in grounding.unasked]:
            decision = replace(decision, told=self.lexicon.attribute_id(output.told))
        return Spoken(decision, output.utterance, calls, invented)

    def _offered(self, plan: Plan, grounding: Grounding, names: Sequence[str]) -> tuple[int, ...]:
        """The items of an answer, each once: as planned, else those of the candidates that it names."""
        return _chosen(grounding.items, self.lexicon.items, names) if plan.items is None else plan.items

    def _asked(self, plan: Plan, grounding: Grounding, names: Sequence[str]) -> tuple[int, ...]:
        """The attributes of an answer, in the same way."""
        if plan.attributes is not None:
            return plan.attributes
        return _chosen(_questions(plan, grounding), self.lexicon.attributes, names)

    def _invented(self, answer: Answer[ActorOutput]) -> tuple[str, ...]:
        """The names in an answer, and in those turned down before it, that nothing in the catalogue has."""
        given = answer.refused if answer.output is None else (*answer.refused, answer.output)
        named = [_named(output) for output in given]
        strange = [item for items, _ in named for item in items if self.lexicon.item_id(item) is None]
        strange += [name for _, asked in named for name in asked if self.lexicon.attribute_id(name) is None]
        return tuple(dict.fromkeys(strange))


@actors.register("verbatim")
class Verbatim(Actor):
    """Says the words of a plan, of an arm that finds its own; a plan without any is a recorded failure."""

    @override
    def speak(
        self, states: Sequence[State], plans: Sequence[Plan], groundings: Sequence[Grounding]
    ) -> list[Spoken]:
        return [
            Spoken(
                Decision(
                    Act.CHAT if plan.act is None else plan.act,
                    plan.strategy or Strategy.NO_STRATEGY,
                    plan.attributes or (),
                    (plan.items or ())[: self.slate],
                ),
                LOST_FOR_WORDS if plan.words is None else plan.words,
                plan.calls,
                plan.invented,
            )
            for plan in plans
        ]


def _questions(plan: Plan, grounding: Grounding) -> tuple[int, ...]:
    """Attributes that can be asked about, best first."""
    return tuple(dict.fromkeys((*(plan.attributes or ()), *grounding.attributes)))


def _named(output: ActorOutput) -> tuple[list[str], list[str]]:
    """The items offered and the attributes asked about; what does not belong to the act is nothing."""
    return output.items if output.act == "recommend" else [], output.attributes if output.act == "ask" else []


def _chosen(candidates: Sequence[int], names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """The candidates of these names, in the order wanted."""
    by_name = {names[index]: index for index in candidates}
    return tuple(dict.fromkeys(by_name[name] for name in wanted if name in by_name))
