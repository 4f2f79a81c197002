"""What the embedded Actor does and says: a rule for the action, templates for the words.

The rule is the best simple one known, so that an arm which leaves its action to the Actor is no
straw man: recommend when the posterior probability that one of the candidates is right exceeds a
threshold, otherwise ask about the attribute with the highest weighted entropy. A strategy moves the
threshold: eliciting strategies ask a little longer, persuading ones recommend a little sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from unicrs_rl.dialogue import ELICITATION, Act, Strategy
from unicrs_rl.language import phrases
from unicrs_rl.language.grammar import Form, forms, pick
from unicrs_rl.language.lexicon import written
from unicrs_rl.language.memory import Memory
from unicrs_rl.language.tasks import (
    ACT_NAMES,
    ACTS,
    ActName,
    ActorInput,
    ActorOutput,
    FactInput,
    FactOutput,
    Statement,
)

T = TypeVar("T")
RECALLED = 3
"""Statements told of an item from memory, at most."""
ELICITING, PERSUADING = 1.25, 0.8
"""By how much such a strategy raises or lowers the threshold for recommending."""
PERSUASION = frozenset(
    {
        Strategy.PERSONAL_OPINION,
        Strategy.PERSONAL_EXPERIENCE,
        Strategy.CREDIBILITY,
        Strategy.ENCOURAGEMENT,
        Strategy.SELF_MODELING,
    }
)
"""Strategies that argue for an item."""
WARMEST = (
    Strategy.PERSONAL_OPINION,
    Strategy.ENCOURAGEMENT,
    Strategy.PERSONAL_EXPERIENCE,
    Strategy.SIMILARITY,
)
"""The strategies that human seekers found warmest (INSPIRED), in turn because one alone wears off."""

STRATEGY_DESCRIPTIONS: dict[Strategy, str] = {
    Strategy.PERSONAL_OPINION: "say what you yourself think of it",
    Strategy.PERSONAL_EXPERIENCE: "tell something that happened to you",
    Strategy.SIMILARITY: "show that you and the seeker feel alike",
    Strategy.ENCOURAGEMENT: "encourage the seeker to go ahead",
    Strategy.OFFER_HELP: "offer your help openly",
    Strategy.PREFERENCE_CONFIRMATION: "check that you understood the seeker's wish",
    Strategy.CREDIBILITY: "give checkable facts",
    Strategy.SELF_MODELING: "say what you would do in the seeker's place",
    Strategy.TRANSPARENCY: "say what you are doing and why",
    Strategy.ACKNOWLEDGMENT: "show that you heard the seeker",
    Strategy.REPHRASE_PREFERENCE: "say the seeker's wish again in your own words",
    Strategy.EXPERIENCE_INQUIRY: "ask what the seeker already knows",
    Strategy.OPINION_INQUIRY: "ask what the seeker thinks",
    Strategy.NO_STRATEGY: "be plain",
}

_FACT_ORDER = ("director", "star", "genre", "tag", "writer", "year")
_OF_A_FACT = frozenset({"value", "relation"})


def choose_act(
    strategy: Strategy,
    confidence: float,
    listed: bool,
    questions: bool,
    recommend_above: float,
    last: bool = False,
) -> Act:
    """Whether to recommend, ask or (with nothing to list or ask) chat.

    Args:
        confidence: posterior mass of the candidates.
        listed: there are candidate items.
        questions: there are open questions.
        recommend_above: threshold on the confidence, before the strategy moves it.
        last: no turn is left after this one, so that only a recommendation can still succeed.
    """
    manner = ELICITING if strategy in ELICITATION else PERSUADING if strategy in PERSUASION else 1.0
    return next_act(last or confidence > recommend_above * manner, listed, questions)


def next_act(ready: bool, listed: bool, questions: bool) -> Act:
    """Recommend when it is time or there is no question left, else ask; chat with nothing to list or ask."""
    if listed and (ready or not questions):
        return Act.RECOMMEND
    return Act.ASK if questions else Act.CHAT


def choose_targets(
    act: Act,
    items: Sequence[T] | None,
    attributes: Sequence[T] | None,
    candidate_items: Sequence[T],
    questions: Sequence[T],
) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """What is recommended and asked about: as planned, or (``None``) all items, the first question."""
    listed = candidate_items if items is None else items
    asked = questions[:1] if attributes is None else attributes
    return tuple(listed if act is Act.RECOMMEND else ()), tuple(asked if act is Act.ASK else ())


def choose_facts(inputs: FactInput) -> FactOutput:
    """Answer the Fact Retriever's task: facts the seeker asked for first, then by relation."""

    def rank(index: int) -> tuple[bool, int]:
        _, relation, value = inputs.facts[index]
        place = _FACT_ORDER.index(relation) if relation in _FACT_ORDER else len(_FACT_ORDER)
        return value not in inputs.liked, place

    return FactOutput(chosen=sorted(range(len(inputs.facts)), key=rank)[: inputs.limit])


def act_and_speak(inputs: ActorInput, memory: Memory | None = None) -> ActorOutput:
    """Answer the Actor's task.

    Args:
        memory: what is told of an item where no facts were looked up; ``None`` to tell nothing then.
    """
    strategy = warmest(inputs.turn) if inputs.strategy is None else Strategy(inputs.strategy)
    act = _chosen(inputs, strategy) if inputs.act is None else ACTS[inputs.act]
    listed, asked = choose_targets(
        act, inputs.items, inputs.attributes, inputs.candidate_items, inputs.candidate_attributes
    )
    items, attributes = list(listed), list(asked)
    if inputs.facts is None:
        inputs = inputs.model_copy(update={"facts": _recalled(inputs, items, memory)})
    utterance = _utter(inputs, strategy, ACT_NAMES[act], items, attributes)
    free = [fact for fact in inputs.unasked if act is not Act.RECOMMEND and fact[2] not in attributes]
    return ActorOutput(
        act=ACT_NAMES[act],
        items=items,
        attributes=attributes,
        strategy=strategy.value if inputs.strategy is None else None,
        told=free[0][2] if free else None,
        utterance=f"{_mention(free[0], inputs)} {utterance}" if free else utterance,
    )


def act_warmly(inputs: ActorInput, act: Act, memory: Memory | None) -> ActorOutput:
    """Answer as a prompted arm that chose this act; what is planned stays."""
    return act_and_speak(inputs.model_copy(update={"act": inputs.act or ACT_NAMES[act]}), memory)


def warmest(turn: int) -> Strategy:
    """The best simple rule for the strategy: the four warmest in turn."""
    return WARMEST[turn % len(WARMEST)]


def _recalled(inputs: ActorInput, items: Sequence[str], memory: Memory | None) -> list[Statement]:
    """As many statements about the first item as the Fact Retriever would have brought, from memory."""
    if memory is None or not items:
        return []
    remembered = [(items[0], relation, value) for relation, value in memory.facts(items[0])]
    found = FactInput(
        noun=inputs.noun, preferences=inputs.preferences, liked=inputs.liked, facts=remembered, limit=RECALLED
    )
    return [remembered[index] for index in choose_facts(found).chosen]


def _chosen(inputs: ActorInput, strategy: Strategy) -> Act:
    """The act, where it is the Actor's choice."""
    listed, questions = bool(inputs.candidate_items), bool(inputs.candidate_attributes)
    last = inputs.turn + 1 == inputs.limit
    return choose_act(strategy, inputs.confidence, listed, questions, inputs.recommend_above, last)


def _utter(
    inputs: ActorInput, strategy: Strategy, act: ActName, items: list[str], attributes: list[str]
) -> str:
    slots = {"noun": inputs.noun, "a_noun": phrases.with_article(inputs.noun)}
    if items:
        first, *others = (written(item, inputs.noun) for item in items)
        slots |= {"item": first, "others": phrases.listing(others, "or")}
    if attributes:
        names = [written(attribute, inputs.noun) for attribute in attributes]
        slots["attribute"] = phrases.listing(names, "or")
    if inputs.liked:
        liked = inputs.liked[(inputs.variant + inputs.turn) % len(inputs.liked)]
        slots["liked"] = written(liked, inputs.noun)
    facts = inputs.facts or []
    told = [_tell(fact, inputs, place) for place, fact in enumerate(facts) if [fact[0]] == items[:1]]
    if told:
        slots["fact"] = told[0]

    filled = frozenset(slot for slot, said in slots.items() if said)

    def say(*section: str) -> Form:
        return pick(forms(*section), filled, inputs.variant, inputs.turn, section[-1])

    def word(form: Form) -> str:  # once only: names may hold braces
        return form.text.format_map(slots)

    opener = say("strategy", strategy.value, act)
    if act == "ask":
        kind = "named" if "attribute" in opener.slots else _kind(inputs, attributes)
        parts = [word(opener), word(say("act", "ask", kind, "lines"))]
    elif act == "recommend":
        rest = told[1:] if strategy is Strategy.CREDIBILITY else told
        one, more = word(say("act", "recommend", "one")), word(say("act", "recommend", "more"))
        parts = [one, *rest[:2], word(opener), more]
    else:
        parts = [word(opener), word(say("act", "chat", "lines"))]
    return " ".join(part for part in parts if part)


def _mention(fact: Statement, inputs: ActorInput) -> str:
    """Something told unasked: the item, and the fact about it."""
    form = pick(forms("unasked", "lines"), frozenset({"item"}), inputs.variant, inputs.turn, "unasked")
    return f"{form.text.format(item=written(fact[0], inputs.noun))} {_tell(fact, inputs, RECALLED)}"


def _kind(inputs: ActorInput, asked: Sequence[str]) -> str:
    """The section of questions about what is asked first."""
    kinds = dict(zip(inputs.candidate_attributes, inputs.attribute_kinds, strict=True))
    kind = kinds.get(asked[0], "other") if asked else "other"
    return kind if kind in ("genre", "person", "tag") else "other"


def _tell(fact: Statement, inputs: ActorInput, place: int) -> str:
    """A fact as a sentence about the item named just before."""
    _, relation, value = fact
    known = phrases.load(__package__, "actor_phrases.toml")["fact"]
    lines = forms("fact", relation if relation in known else "other")
    said = value if relation == "year" and value.isdecimal() else written(value, inputs.noun)
    form = pick(lines, _OF_A_FACT, inputs.variant, inputs.turn * RECALLED + place, "fact")
    return form.text.format(value=said, relation=relation)
