"""One prompt that decides everything: act, strategy, what to ask about or which items, and the words.

Nothing is read, believed or looked up beforehand. The model has the dialogue and its own memory; the
titles it gives are linked to the catalogue by name, and those that no item has are dropped and kept
with the turn (``invented``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from typing_extensions import override

from unicrs_rl.dialogue import Grounding, Plan, State
from unicrs_rl.language.actor import Actor, actors
from unicrs_rl.language.boundary import Task
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.memory import Memory
from unicrs_rl.language.reading import read_dialogue
from unicrs_rl.language.tasks import ActorInput, ActorOutput, Exchange, PreferenceInput, check_action
from unicrs_rl.language.wording import act_warmly, next_act

WISHES = 2
"""Wishes the embedded model waits for before it recommends."""
_NOTHING = Grounding(items=(), attributes=(), confidence=0.0, facts=None)


class SinglePromptInput(ActorInput):
    """The dialogue with what was done in it; there are no candidates to choose among."""

    turns_in: ClassVar[str] = "exchanges"

    opening: str
    exchanges: list[Exchange]
    slate: int
    """Items that may be listed, at most."""


def _check(inputs: ActorInput, output: ActorOutput) -> str | None:
    """As of any Actor's answer, but whatever is named is a candidate: it comes from the model's memory."""
    named = {"candidate_items": output.items, "candidate_attributes": output.attributes}
    return check_action(inputs.model_copy(update=named), output)


SINGLE_PROMPT: Task[ActorInput, ActorOutput] = Task("single_prompt", SinglePromptInput, ActorOutput, _check)


@actors.register("single-prompt")
class SinglePrompt(Actor):
    """Actor that is given the dialogue alone."""

    task: ClassVar[Task[ActorInput, ActorOutput]] = SINGLE_PROMPT

    @override
    def _inputs(self, state: State, plan: Plan, grounding: Grounding) -> ActorInput:
        opening, exchanges = self._exchanges(state)
        return SinglePromptInput(
            **super()._inputs(state, plan, _NOTHING).model_dump(),
            opening=opening,
            exchanges=exchanges,
            slate=self.slate,
        )

    @override
    def _offered(self, plan: Plan, grounding: Grounding, names: Sequence[str]) -> tuple[int, ...]:
        """There are no candidates: any item of the catalogue can be named."""
        return _linked(self.lexicon.item_id, names) if plan.items is None else plan.items

    @override
    def _asked(self, plan: Plan, grounding: Grounding, names: Sequence[str]) -> tuple[int, ...]:
        return _linked(self.lexicon.attribute_id, names) if plan.attributes is None else plan.attributes

    def _exchanges(self, state: State) -> tuple[str, list[Exchange]]:
        """The seeker's opening, and the turns since with what was asked and offered in them."""
        items, attributes = self.lexicon.items, self.lexicon.attributes
        opening, exchanges = "", []
        decisions = iter(state.decisions)
        for speaker, text in state.utterances:
            if speaker == "recommender":
                done = next(decisions)
                asked, offered = [attributes[a] for a in done.attributes], [items[i] for i in done.items]
                exchanges.append(Exchange(recommender=text, asked=asked, offered=offered, seeker=""))
            elif exchanges:
                exchanges[-1].seeker = text
            else:
                opening = text
        return opening, exchanges


def _linked(resolve: Callable[[str], int | None], names: Iterable[str]) -> tuple[int, ...]:
    """The ids of names, each once and in order; what has none is left out."""
    found = (resolve(name) for name in names)
    return tuple(dict.fromkeys(index for index in found if index is not None))


def decide_alone(lexicon: Lexicon, memory: Memory | None, inputs: SinglePromptInput) -> ActorOutput:
    """The embedded model's answer: reads as the Preference Reasoner does, and recalls the rest.

    It asks what divides the items that come to mind most evenly; from the second wish on it recommends
    those items in every other turn, and in the last one. Items offered before are not offered again.
    """
    known = read_dialogue(
        lexicon, PreferenceInput(noun=inputs.noun, opening=inputs.opening, exchanges=inputs.exchanges)
    )
    seen = {*known.liked_items, *known.rejected_items}
    settled = {*known.liked, *known.disliked, *known.open}
    recalled: list[str] = []
    questions: list[str] = []
    if memory is not None:
        found = memory.items_for(known.liked, known.disliked, inputs.slate + len(seen))
        recalled = [item for item in found if item not in seen][: inputs.slate]
        remembered = [{value for _, value in memory.facts(item)} - settled for item in recalled]
        questions = _dividing(remembered)
    just_offered = bool(inputs.exchanges and inputs.exchanges[-1].offered)
    last = inputs.turn + 1 == inputs.limit
    ready = last or (len(known.liked) >= WISHES and not just_offered)
    ids = [lexicon.attribute_id(name) for name in questions]
    own = {
        "liked": known.liked,
        "candidate_items": recalled,
        "candidate_attributes": questions,
        "attribute_kinds": ["other" if index is None else lexicon.kinds[index] for index in ids],
    }
    act = next_act(ready, bool(recalled), bool(questions))
    return act_warmly(inputs.model_copy(update=own), act, memory)


def _dividing(remembered: Sequence[Iterable[str]]) -> list[str]:
    """The value that divides items most evenly into those that have it and those that do not, if any does."""
    counts = Counter(value for values in remembered for value in sorted(values))
    evenly = {value: min(count, len(remembered) - count) for value, count in counts.items()}
    best = max(evenly, key=lambda value: evenly[value], default=None)
    return [best] if best is not None and evenly[best] else []
