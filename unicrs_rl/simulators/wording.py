"""Words for what a simulated seeker does: the text surface.

The templates are written so that the rules of :mod:`~unicrs_rl.language.reading` recover the acts
from the words; a test holds every template to that.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum, StrEnum

from unicrs_rl.dialogue import Act, Decision, Reply
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.language import phrases
from unicrs_rl.language.lexicon import written


class Manner(IntEnum):
    """How a reply is worded; what it says is the same."""

    PLAIN = 0
    WARM = 1
    """Thanks and enthusiasm."""
    HEDGING = 2
    IMPATIENT = 3
    ASIDE = 4
    """An off-topic remark first, then back to the point."""
    BACK = 5
    """Back from what the turn before was about."""


class Behaviour(StrEnum):
    """What a seeker may do off the path of question and answer."""

    INDIFFERENT = "indifferent"
    CHANGED_MIND = "changed-mind"
    SECOND_INTENT = "second-intent"
    OFF_TOPIC = "off-topic"
    ENCOURAGING = "encouraging"
    HEDGING = "hedging"


def word_opening(noun: str, attribute: str, key: int) -> str:
    """The first words: a request and one wish."""
    line = phrases.choose(_lines()["opening"]["lines"], key, 0, "opening")
    return line.format(noun=noun, a_noun=phrases.with_article(noun), attribute=written(attribute, noun))


def word_reply(
    catalogue: Catalogue, reply: Reply, decision: Decision, manner: Manner, key: int, turn: int
) -> Reply:
    """The same reply with its text."""
    style = "plain" if manner in (Manner.ASIDE, Manner.BACK) else manner.name.lower()
    slots = {"noun": catalogue.noun, "a_noun": phrases.with_article(catalogue.noun)}

    def say(section: str, line: str = "lines") -> str:
        return _say(_lines()[section][line], slots, key, turn, f"{section} {line}")

    if reply.accepted is not None:
        slots["item"] = written(catalogue.items[reply.accepted], catalogue.noun)
    done = set(reply.behaviours)
    if Behaviour.OFF_TOPIC in done:
        parts = [say("aside", "away")]
    elif Behaviour.INDIFFERENT in done and decision.act is Act.CHAT:
        parts = [say("open", style)]
    elif decision.act is Act.ASK and decision.attributes:
        parts = _answers(catalogue, reply, decision.attributes, style, key, turn)
    else:
        parts = [say(_topic(reply, decision), style)]
    extras = [a for a in reply.liked if a not in decision.attributes]
    parts += _refusals(catalogue, reply, decision, key, turn)
    if reply.withdrawn:
        gone = [written(catalogue.attributes[attribute], catalogue.noun) for attribute in reply.withdrawn]
        slots["gone"] = phrases.listing(gone, "or")
        parts.append(say("changed"))
    for attribute in extras:
        slots["extra"] = written(catalogue.attributes[attribute], catalogue.noun)
        parts.append(say("instead" if reply.withdrawn else "extra"))
    if Behaviour.ENCOURAGING in done:
        parts.append(say("encouraging"))
    if Behaviour.SECOND_INTENT in done and not extras:
        parts.append(say("request"))
    if manner is Manner.ASIDE:
        parts = [say("aside", "away"), say("aside", "back"), *parts]
    elif manner is Manner.BACK and Behaviour.OFF_TOPIC not in done:
        parts = [say("aside", "back"), *parts]
    if reply.left:
        parts.append(say("leave"))
    return replace(reply, text=" ".join(parts))


def _topic(reply: Reply, decision: Decision) -> str:
    """The section of the phrase file for an answer to anything but a question."""
    if decision.act is Act.RECOMMEND:
        return "decline" if reply.accepted is None else "accept"
    return "chat"


def _answers(
    catalogue: Catalogue, reply: Reply, asked: tuple[int, ...], style: str, key: int, turn: int
) -> list[str]:
    """A sentence for each attribute asked about; where there are several, each is named."""
    parts = []
    for attribute in asked:
        answer = "yes" if attribute in reply.liked else "no" if attribute in reply.disliked else "open"
        lines = _lines()[answer][style]
        if len(asked) > 1:
            lines = [line for line in lines if "{attribute}" in line] or ["I am not sure about {attribute}."]
        slots = {"attribute": written(catalogue.attributes[attribute], catalogue.noun)}
        parts.append(_say(lines, slots, key, turn, f"reply {attribute}"))
    return parts


def _refusals(catalogue: Catalogue, reply: Reply, decision: Decision, key: int, turn: int) -> list[str]:
    """A sentence on what was told unasked, where it is not wanted."""
    told = decision.told
    if told is None or told not in reply.disliked or told in decision.attributes:
        return []
    slots = {"unwanted": written(catalogue.attributes[told], catalogue.noun)}
    return [_say(_lines()["unwanted"]["lines"], slots, key, turn, "unwanted lines")]


def _say(lines: list[str], slots: dict[str, str], key: int, turn: int, purpose: str) -> str:
    return phrases.choose(lines, key, turn, purpose).format(**slots)


def _lines() -> dict[str, dict[str, list[str]]]:
    lines: dict[str, dict[str, list[str]]] = phrases.load(__package__, "seeker_phrases.toml")
    return lines
