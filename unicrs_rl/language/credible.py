"""Credible explanations, checked before they are uttered (PC-CRS, Qin et al., EMNLP Findings 2024).

In each turn one of six explanation strategies is chosen and the Actor speaks with it. Then the draft
checks itself: a critic compares every claim with all that the knowledge graph says of the items spoken
of, and a refiner rewrites what is wrong; so at most :data:`ROUNDS` times, and no longer than the critic
finds something. A draft that speaks of no item is not checked. A task that fails ends the check.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import ClassVar

from typing_extensions import override

from unicrs_rl.dialogue import Grounding, Plan, State, Strategy, by_relation
from unicrs_rl.language import phrases
from unicrs_rl.language.actor import Actor, Spoken, actors
from unicrs_rl.language.boundary import Message, Task
from unicrs_rl.language.lexicon import Entity, Lexicon, written
from unicrs_rl.language.tasks import ActorInput, check_words

ROUNDS = 2
"""Rounds of critique and refinement, at most."""
Facts = dict[str, dict[str, list[str]]]
"""Item -> relation -> values."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A strategy for credible explanations.

    Attributes:
        about: what it is.
        strategy: the label of a decision with it.
    """

    about: str
    strategy: Strategy


@cache
def explanations() -> Mapping[str, Explanation]:
    """The six strategies by name, each with a label of its own."""
    text = resources.files(__package__).joinpath("credible_strategies.toml").read_text("utf-8")
    return {
        name: Explanation(row["about"], Strategy(row["strategy"]))
        for name, row in tomllib.loads(text).items()
    }


class ExplanationInput(Message):
    """The conversation before a turn, and the strategies to choose from."""

    turns_in: ClassVar[str] = "dialogue"

    noun: str
    dialogue: list[tuple[str, str]]
    turn: int
    limit: int
    preferences: str
    wishes: int
    """Attributes the seeker is known to want."""
    refused: int
    """Items the seeker turned down."""
    mood: str
    used: list[str]
    """Strategies of the turns before, in order."""
    strategies: dict[str, str]
    """What each is, by name."""


class ExplanationOutput(Message):
    """The strategy for this turn."""

    strategy: str


class CriticInput(Message):
    """A draft, and all that the knowledge graph says of the items in it."""

    noun: str
    utterance: str
    facts: Facts


class Wrong(Message):
    """A claim that the facts do not bear out."""

    item: str
    claim: str
    """The words of the draft."""
    problem: str
    """What is wrong with it."""


class CriticOutput(Message):
    """The wrong claims of a draft; none where all is well."""

    wrong: list[Wrong]


class RefinerInput(CriticInput):
    """The same with what is wrong."""

    wrong: list[Wrong]
    variant: int
    """Varies the wording between conversations; not shown to a model."""


class RefinerOutput(Message):
    """The draft without what was wrong."""

    utterance: str


def _check_strategy(inputs: ExplanationInput, output: ExplanationOutput) -> str | None:
    known = inputs.strategies
    return None if output.strategy in known else f"strategy: must be one of {', '.join(known)}"


def _check_critique(inputs: CriticInput, output: CriticOutput) -> str | None:
    for wrong in output.wrong:
        if not wrong.claim or wrong.claim not in inputs.utterance:
            return f"wrong: the draft does not say {wrong.claim!r}"
        if wrong.item not in inputs.facts:
            return f"wrong: {wrong.item!r} is none of the {inputs.noun}s that there are facts of"
    return None


def _check_refinement(inputs: RefinerInput, output: RefinerOutput) -> str | None:
    stated = (text for told in inputs.facts.values() for each in told.values() for text in each)
    if problem := check_words(output.utterance, (*inputs.facts, *stated)):
        return problem
    kept = [wrong.claim for wrong in inputs.wrong if wrong.claim in output.utterance]
    return f"utterance: still says {kept[0]!r}" if kept else None


EXPLANATION_STRATEGY = Task(
    "explanation_strategy", ExplanationInput, ExplanationOutput, _check_strategy, max_tokens=64
)
CRITIC = Task("critic", CriticInput, CriticOutput, _check_critique)
REFINER = Task("refiner", RefinerInput, RefinerOutput, _check_refinement)


@actors.register("persuasive")
class Persuasive(Actor):
    """Actor that first chooses a strategy for a credible explanation, where none is planned."""

    @override
    def speak(
        self, states: Sequence[State], plans: Sequence[Plan], groundings: Sequence[Grounding]
    ) -> list[Spoken]:
        rows = [row for row, plan in enumerate(plans) if plan.strategy is None]
        answers = self.model.complete(EXPLANATION_STRATEGY, [self._situation(states[row]) for row in rows])
        chosen = list(plans)
        for row, answer in zip(rows, answers, strict=True):
            if answer.output is not None:
                strategy = explanations()[answer.output.strategy].strategy
                chosen[row] = replace(plans[row], strategy=strategy)
        spoken = super().speak(states, chosen, groundings)
        for row, answer in zip(rows, answers, strict=True):
            spoken[row] = replace(spoken[row], calls=(answer.call, *spoken[row].calls))
        return spoken

    def _situation(self, state: State) -> ExplanationInput:
        names = {explanation.strategy: name for name, explanation in explanations().items()}
        known = state.preferences
        return ExplanationInput(
            noun=self.lexicon.noun,
            dialogue=list(state.utterances),
            turn=state.turn,
            limit=state.limit,
            preferences=known.summary,
            wishes=len(known.liked),
            refused=len(known.rejected_items),
            mood=known.mood,
            used=[names[d.strategy] for d in state.decisions if d.strategy in names],
            strategies={name: explanation.about for name, explanation in explanations().items()},
        )

    @override
    def _inputs(self, state: State, plan: Plan, grounding: Grounding) -> ActorInput:
        inputs = super()._inputs(state, plan, grounding)
        told = {e.strategy.value: f"{name}: {e.about}" for name, e in explanations().items()}
        return inputs.model_copy(
            update={"strategies": {name: told.get(name, about) for name, about in inputs.strategies.items()}}
        )


@actors.register("credible")
class Credible(Persuasive):
    """Actor that also checks its drafts against the knowledge graph, and refines them."""

    @override
    def speak(
        self, states: Sequence[State], plans: Sequence[Plan], groundings: Sequence[Grounding]
    ) -> list[Spoken]:
        spoken = super().speak(states, plans, groundings)
        checks = {row: self._check(said) for row, said in enumerate(spoken)}
        drafts = {row: check for row, check in checks.items() if check.facts}
        for _ in range(ROUNDS):
            drafts = self._refine(states, spoken, drafts)
        return spoken

    def _check(self, said: Spoken) -> CriticInput:
        """A draft with the facts about the items it speaks of."""
        mentions = self.lexicon.mentions(said.utterance)
        named = (m.id for m in mentions if m.entity is Entity.ITEM and m.namesake is None)
        facts: Facts = {
            self.lexicon.items[item]: by_relation(self.facts_about(item))
            for item in dict.fromkeys((*said.decision.items, *named))
        }
        return CriticInput(noun=self.lexicon.noun, utterance=said.utterance, facts=facts)

    def _refine(
        self, states: Sequence[State], spoken: list[Spoken], drafts: Mapping[int, CriticInput]
    ) -> dict[int, CriticInput]:
        """One round: rewrites ``spoken`` in place, and returns the drafts that were rewritten."""
        critiques = dict(zip(drafts, self.model.complete(CRITIC, list(drafts.values())), strict=True))
        for row, critique in critiques.items():
            spoken[row] = replace(spoken[row], calls=(*spoken[row].calls, critique.call))
        faulty = {
            row: RefinerInput(
                **drafts[row].model_dump(),
                wrong=critique.output.wrong,
                variant=states[row].key % 1_000_003,
            )
            for row, critique in critiques.items()
            if critique.output is not None and critique.output.wrong
        }
        refined: dict[int, CriticInput] = {}
        for row, answer in zip(faulty, self.model.complete(REFINER, list(faulty.values())), strict=True):
            spoken[row] = replace(spoken[row], calls=(*spoken[row].calls, answer.call))
            if answer.output is not None:
                spoken[row] = replace(spoken[row], utterance=answer.output.utterance)
                refined[row] = drafts[row].model_copy(update={"utterance": answer.output.utterance})
        return refined


def choose_explanation(inputs: ExplanationInput) -> ExplanationOutput:
    """The embedded model's choice: of the strategies used least so far, the first that suits the state.

    For an impatient seeker framing and facts come first; after a refusal facts and others' example; with
    two wishes or more to reason from, logic; else feeling, then the strongest point.
    """
    if inputs.mood == "impatient":
        suiting = ["framing", "evidence-based"]
    elif inputs.refused:
        suiting = ["evidence-based", "social proof"]
    elif inputs.wishes > 1:
        suiting = ["logical appeal"]
    else:
        suiting = ["emotion appeal", "anchoring"]
    order = dict.fromkeys((*suiting, *inputs.strategies))
    return ExplanationOutput(strategy=min(order, key=inputs.used.count))


def criticise(lexicon: Lexicon, inputs: CriticInput) -> CriticOutput:
    """The embedded model's critique: each sentence that it words as a fact is looked up."""
    wrong = []
    for sentence, item in _sentences(lexicon, inputs.utterance):
        readings = _claims(sentence)
        known = inputs.facts.get(item or "")
        if readings and known is not None and not any(_holds(known, *claim) for claim in readings):
            relation, value = readings[0]
            truth = ", ".join(known.get(relation, ())) or "nothing"
            problem = f"not {value}; for {relation} the facts say {truth}"
            wrong.append(Wrong(item=item or "", claim=sentence, problem=problem))
    return CriticOutput(wrong=wrong)


def refine(inputs: RefinerInput) -> RefinerOutput:
    """The embedded model's refinement: a right value not yet told instead of a wrong one, or nothing."""
    text = inputs.utterance
    for number, wrong in enumerate(inputs.wrong):
        known = inputs.facts[wrong.item]
        untold = [
            (relation, value)
            for relation, _ in _claims(wrong.claim)
            for value in known.get(relation, ())
            if written(value, inputs.noun) not in text
        ]
        instead = "" if not untold else _word(*untold[0], inputs, number)
        cut = wrong.claim if instead or text.endswith(wrong.claim) else f"{wrong.claim} "
        text = text.replace(cut, instead, 1)
    return RefinerOutput(utterance=text.strip())


_END = re.compile(r"(?<=[.!?])\s+")
_SLOTS = {"{value}": "(?P<value>.+)", "{relation}": "(?P<relation>.+?)"}


def _sentences(lexicon: Lexicon, text: str) -> list[tuple[str, str | None]]:
    """The sentences of a text, each with the item spoken of: the one named in it, or last before it.

    Full stops within names end no sentence; a name in a sentence that words a fact is its value.
    """
    mentions = lexicon.mentions(text)
    masked = text
    for mention in mentions:
        size = mention.end - mention.start
        masked = f"{masked[: mention.start]}{'_' * size}{masked[mention.end :]}"
    ends = [*(match.span() for match in _END.finditer(masked)), (len(text), len(text))]
    found: list[tuple[str, str | None]] = []
    start, item = 0, None
    for end, following in ends:
        sentence = text[start:end]
        inside = [m for m in mentions if m.entity is Entity.ITEM and start <= m.start < end]
        if inside and not _claims(sentence):
            item = lexicon.items[inside[0].id]
        found.append((sentence, item))
        start = following
    return found


@cache
def _forms() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """How facts are worded, by relation; ``other`` names the relation itself."""
    lines = phrases.load(__package__, "actor_phrases.toml")["fact"]
    forms = []
    for relation, options in lines.items():
        for line in options:
            pattern = re.escape(line)
            for slot, group in _SLOTS.items():
                pattern = pattern.replace(re.escape(slot), group)
            forms.append((relation, re.compile(pattern)))
    return tuple(forms)


def _claims(sentence: str) -> list[tuple[str, str]]:
    """What a sentence may claim, as (relation, value): several where relations are worded the same."""
    matches = [(relation, form.fullmatch(sentence)) for relation, form in _forms()]
    return [
        (match.groupdict().get("relation") or relation, match["value"].strip("“”"))
        for relation, match in matches
        if match is not None
    ]


def _holds(known: Mapping[str, Sequence[str]], relation: str, value: str) -> bool:
    """Whether a value is known; of a text of several sentences the first will do."""
    return any(
        fact == value or (fact.startswith(value) and fact[len(value)] in ".!?")
        for fact in known.get(relation, ())
    )


def _word(relation: str, value: str, inputs: RefinerInput, number: int) -> str:
    """A fact as a sentence."""
    lines = phrases.load(__package__, "actor_phrases.toml")["fact"]
    options = lines[relation if relation in lines else "other"]
    line = phrases.choose(options, inputs.variant, number, "refined")
    return line.format(value=written(value, inputs.noun), relation=relation)
