"""The typed tasks that language models are given, one class each for what goes in and comes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from unicrs_rl.dialogue import Act
from unicrs_rl.language.boundary import Message, Task
from unicrs_rl.language.english import looks_english

ActName = Literal["ask", "recommend", "chat"]
Mood = Literal["positive", "neutral", "impatient"]
ACT_NAMES: dict[Act, ActName] = {Act.ASK: "ask", Act.RECOMMEND: "recommend", Act.CHAT: "chat"}


ACTS = {name: act for act, name in ACT_NAMES.items()}


class Exchange(Message):
    """One past turn as the Preference Reasoner is shown it."""

    recommender: str
    asked: list[str] = []
    """Attributes the recommender asked about."""
    offered: list[str] = []
    """Items the recommender offered, best first."""
    seeker: str


class PreferenceInput(Message):
    """The dialogue so far."""

    turns_in: ClassVar[str] = "exchanges"

    noun: str
    opening: str
    exchanges: list[Exchange]


class PreferenceOutput(Message):
    """What the seeker's words reveal, by name, over the whole dialogue."""

    liked: list[str] = []
    disliked: list[str] = []
    open: list[str] = []
    """Attributes the seeker is indifferent to."""
    liked_items: list[str] = []
    disliked_items: list[str] = []
    """Items the seeker said they did not like or do not want."""
    rejected_items: list[str] = []
    """Offered items the seeker turned down."""
    mood: Mood = "neutral"
    summary: str = ""


class LinkInput(Message):
    """One message of a conversation, whoever wrote it."""

    noun: str
    text: str


class LinkOutput(Message):
    """The items and attributes that the message names, as the catalogue spells them."""

    items: list[str] = []
    attributes: list[str] = []


Statement = tuple[str, str, str]
"""A fact in words: item, relation, value."""


class FactInput(Message):
    """What the Fact Retriever found, to choose from."""

    noun: str
    preferences: str
    liked: list[str]
    facts: list[Statement]
    limit: int


class FactOutput(Message):
    """Positions (from 0) of the facts worth telling, most useful first."""

    chosen: list[int]


class ActorInput(Message):
    """Everything the Actor needs to act and speak.

    ``strategy``, ``act``, ``items`` and ``attributes`` are ``None`` where the choice is the Actor's own;
    it then chooses among the strategies, ``candidate_items`` and ``candidate_attributes``, both best first.
    """

    turns_in: ClassVar[str] = "dialogue"

    noun: str
    dialogue: list[tuple[str, str]]
    turn: int
    limit: int
    strategy: str | None
    strategies: dict[str, str]
    """Descriptions by name: of the strategy planned, or of all to choose from."""
    preferences: str
    liked: list[str]
    act: ActName | None
    items: list[str] | None
    attributes: list[str] | None
    candidate_items: list[str]
    candidate_attributes: list[str]
    attribute_kinds: list[str]
    """Kind of each candidate attribute."""
    confidence: float
    """Posterior probability that one of the candidate items is what the seeker wants."""
    recommend_above: float
    """How high that should be for a recommendation, by what worked on the validation split."""
    facts: list[Statement] | None
    """What was looked up; ``None`` where nothing was, so that only memory is left."""
    variant: int
    """Varies the wording between conversations; not shown to a model."""
    unasked: list[Statement] = []
    """Of which one is to be told unasked, with a question or small talk; best first."""


class ActorOutput(Message):
    """The structured action, committed to before the text, and the text."""

    act: ActName
    items: list[str] = []
    attributes: list[str] = []
    strategy: str | None = None
    """Where it was the Actor's choice; else ignored."""
    told: str | None = None
    """The value of the statement that was told unasked."""
    utterance: str


def _check_facts(inputs: FactInput, output: FactOutput) -> str | None:
    outside = [index for index in output.chosen if not 0 <= index < len(inputs.facts)]
    if outside:
        return f"chosen: there is no fact {outside[0]}"
    return None


def check_action(inputs: ActorInput, output: ActorOutput) -> str | None:
    """What is wrong with an Actor's answer: it must keep to the plan and to the candidates."""
    if inputs.act is not None and output.act != inputs.act:
        return f"act: must be {inputs.act!r}"
    stated = (text for fact in (*(inputs.facts or ()), *inputs.unasked) for text in fact)
    names = (*output.items, *output.attributes, *inputs.candidate_items, *inputs.candidate_attributes)
    if problem := check_words(output.utterance, (*names, *inputs.liked, *stated)):
        return problem
    if inputs.strategy is None and output.strategy not in inputs.strategies:
        return f"strategy: must be one of {', '.join(inputs.strategies)}"
    if output.act == "recommend":
        return _check_names("items", output.items, inputs.items, inputs.candidate_items)
    problem = None
    if output.act == "ask":
        planned, candidates = inputs.attributes, inputs.candidate_attributes
        problem = _check_names("attributes", output.attributes, planned, candidates)
    return problem or _check_told(inputs, output)


def _check_told(inputs: ActorInput, output: ActorOutput) -> str | None:
    """What is wrong with what is told unasked, where there is something to tell."""
    values = [value for _, _, value in inputs.unasked if value not in output.attributes]
    if not values:
        return None
    if output.told not in values:
        return f"told: must be one of {', '.join(values)}"
    return None if output.told.casefold() in output.utterance.casefold() else "told: is not in the utterance"


def check_words(utterance: str, names: Iterable[str]) -> str | None:
    """What is wrong with an utterance that may hold these names: it must not be empty, and be English."""
    if not utterance.strip():
        return "utterance: must not be empty"
    return None if looks_english(utterance, names) else "utterance: must be in English"


def _check_names(
    field: str, names: list[str], planned: list[str] | None, candidates: list[str]
) -> str | None:
    """What was planned must come back as it is; a free choice must be made among the candidates."""
    if planned is not None:
        return None if names == planned else f"{field}: must be {planned!r}, in that order"
    if not names:
        return f"{field}: at least one is needed for this act"
    strangers = [name for name in names if name not in candidates]
    if strangers:
        return f"{field}: {strangers[0]!r} is not among the candidates"
    return f"{field}: the same name twice" if len(set(names)) < len(names) else None


PREFERENCE_REASONER = Task("preference_reasoner", PreferenceInput, PreferenceOutput)
ENTITY_LINKER = Task("entity_linker", LinkInput, LinkOutput)
FACT_RETRIEVER = Task("fact_retriever", FactInput, FactOutput, _check_facts)
ACTOR = Task("actor", ActorInput, ActorOutput, check_action)
