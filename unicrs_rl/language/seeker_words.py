"""How the embedded model plays a seeker: truthful answers by rule, words by template."""

from __future__ import annotations

from collections.abc import Sequence

from unicrs_rl import draws
from unicrs_rl.language import phrases
from unicrs_rl.language.lexicon import Lexicon, written
from unicrs_rl.language.seeker_rules import read_words
from unicrs_rl.language.seeker_tasks import (
    AnswerName,
    FreeInput,
    LatentInput,
    LatentOutput,
    ReadingInput,
    ReadingOutput,
    ReferenceInput,
    SeekerActName,
    SeekerInput,
    SeekerOutput,
)

VOLUNTEERS = {"open": 100, "chat": 100, "decline": 35, "answer": 15, "accept": 0, "leave": 0}
"""Percent of replies of each act with which a seeker tells a wish that it was not asked for."""


def answer_knowing(inputs: ReferenceInput) -> SeekerOutput:
    """Answer as a seeker that knows its item: yes to what it has, no to all else, and it takes that one."""
    answers: dict[str, AnswerName] = {name: "yes" if name in inputs.wants else "no" for name in inputs.asked}
    offered = [offer.name for offer in inputs.offered]
    return _act(inputs, answers, inputs.target if inputs.target in offered else None)


def answer_freely(inputs: FreeInput) -> SeekerOutput:
    """Answer as a seeker that knows its wishes alone: it takes the first item that meets enough of them."""
    answers: dict[str, AnswerName] = {
        name: "yes" if name in inputs.wants else "no" if name in inputs.avoids else "open"
        for name in inputs.asked
    }
    fitting = (
        offer.name
        for offer in inputs.offered
        if len(set(inputs.wants).intersection(offer.attributes)) >= inputs.needed
        and not set(inputs.avoids).intersection(offer.attributes)
    )
    return _act(inputs, answers, next(fitting, None))


def word_decided(inputs: LatentInput) -> LatentOutput:
    """Word what is decided: as the templates do."""
    return LatentOutput(utterance=inputs.draft)


def read_seeker(lexicon: Lexicon, inputs: ReadingInput) -> ReadingOutput:
    """Read a reply by rule."""
    asked = tuple(a for name in inputs.asked if (a := lexicon.attribute_id(name)) is not None)
    offered = tuple(i for name in inputs.offered if (i := lexicon.item_id(name)) is not None)
    named = tuple(i for name in inputs.named if (i := lexicon.item_id(name)) is not None)
    words = read_words(lexicon, inputs.seeker, asked, offered, named)
    return ReadingOutput(
        liked=[lexicon.attributes[a] for a in words.liked],
        disliked=[lexicon.attributes[a] for a in words.disliked],
        open=[lexicon.attributes[a] for a in words.open],
        accepts=words.accepts,
        accepted=None if words.accepted is None else lexicon.items[words.accepted],
        declines=words.declines,
        changes_mind=words.changes,
        anything=words.anything,
        role_swap=words.swaps,
        items=[lexicon.items[item] for item in words.named],
    )


def _act(inputs: SeekerInput, answers: dict[str, AnswerName], accepted: str | None) -> SeekerOutput:
    """The action with its words; a seeker whose patience ends with this turn leaves."""
    turn = sum(speaker == "seeker" for speaker, _ in inputs.dialogue)
    fruitless = bool(inputs.dialogue) and accepted is None and "yes" not in answers.values()
    leaving = fruitless and inputs.turns_left <= 1
    act = _name(inputs, accepted, leaving)
    volunteered = _volunteered(inputs, act, turn)
    return SeekerOutput(
        act=act,
        answers=answers,
        accepted=accepted,
        volunteered=volunteered,
        leaving=leaving,
        utterance=_utter(inputs, act, answers, accepted, volunteered, leaving, turn),
    )


def _name(inputs: SeekerInput, accepted: str | None, leaving: bool) -> SeekerActName:
    if not inputs.dialogue:
        return "open"
    if accepted is not None:
        return "accept"
    if leaving:
        return "leave"
    return "decline" if inputs.offered else "answer" if inputs.asked else "chat"


def _volunteered(inputs: SeekerInput, act: SeekerActName, turn: int) -> str | None:
    """A wish told unasked, one that was not told before."""
    untold = [name for name in inputs.wants if name not in inputs.affirmed and name not in inputs.asked]
    if not untold or draws.pick(inputs.variant, turn, "volunteer", 100) >= VOLUNTEERS[act]:
        return None
    return untold[draws.pick(inputs.variant, turn, "wish", len(untold))]


def _utter(
    inputs: SeekerInput,
    act: SeekerActName,
    answers: dict[str, AnswerName],
    accepted: str | None,
    volunteered: str | None,
    leaving: bool,
    turn: int,
) -> str:
    slots = {"noun": inputs.noun, "a_noun": phrases.with_article(inputs.noun)}

    def say(section: str, purpose: str = "", **names: str) -> str:
        lines: Sequence[str] = phrases.load(__package__, "seeker_phrases.toml")[section]
        named = slots | {slot: written(name, inputs.noun) for slot, name in names.items()}
        return phrases.choose(list(lines), inputs.variant, turn, f"{section} {purpose}").format_map(named)

    if act == "open":
        return say("no_wish") if volunteered is None else say("opening", attribute=volunteered)
    parts = [say(answer, name, attribute=name) for name, answer in answers.items()]
    if accepted is not None:
        parts.append(say("accept", item=accepted))
    elif inputs.offered:
        parts.append(say("decline"))
    elif not parts and volunteered is None:
        parts.append(say("chat"))
    if volunteered is not None:
        parts.append(say("extra", attribute=volunteered))
    return " ".join([*parts, say("leave")] if leaving else parts)
