"""How often human seekers leave the path of question and answer: cue rules and rates.

The rules are expressions in ``off_path_cues.toml``; what they find was read by people, see
``docs/calibration.md``. They find what is said in so many words: the rates are lower bounds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from unicrs_rl.dialogue import Dialogue
from unicrs_rl.simulators.effects import BEHAVIOURS, Estimate, Rate

_SENTENCE_END = re.compile(r"(?<=[.!?;])[\"')\s]+|\n")


class _Rule(BaseModel):
    """One section of the file, see its head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    cues: tuple[re.Pattern[str], ...]
    unless: tuple[re.Pattern[str], ...] = ()
    beside: tuple[re.Pattern[str], ...] = ()
    nowhere: tuple[re.Pattern[str], ...] = ()
    skip_first: int = 0
    skip_last: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """A seeker's turn in which a behaviour was found.

    Attributes:
        dialogue: position in the corpus.
        turn: whose reply it is, from 0.
        text: the reply.
    """

    behaviour: str
    dialogue: int
    turn: int
    text: str


def behaviours(text: str) -> tuple[str, ...]:
    """What a seeker does off the path in a turn, by name, wherever in the dialogue it stands."""
    sentences = [part.strip(" .!;,").casefold().replace("’", "'") for part in _SENTENCE_END.split(text)]
    return tuple(name for name, rule in _rules().items() if _matches(rule, sentences))


def find(dialogues: Sequence[Dialogue]) -> Iterator[Hit]:
    """Everything off the path in these dialogues."""
    for place, dialogue in enumerate(dialogues):
        for number, turn in enumerate(dialogue.turns):
            for name in behaviours(turn.reply.text):
                rule = _rules()[name]
                if rule.skip_first <= number < len(dialogue.turns) - rule.skip_last:
                    yield Hit(name, place, number, turn.reply.text)


def rates(corpora: Mapping[str, Sequence[Dialogue]]) -> dict[str, Rate]:
    """The rate of each behaviour: mean over corpora, with the interval of that mean.

    A rate is the share of the seekers' turns that have words, or of the dialogues, where the behaviour
    is a matter of a whole dialogue. The interval of one corpus is Wilson's; that of the mean has the
    half-widths of the corpora added in quadrature.
    """
    hits = {name: list(find(dialogues)) for name, dialogues in corpora.items()}
    turns = {
        name: sum(bool(turn.reply.text) for dialogue in dialogues for turn in dialogue.turns)
        for name, dialogues in corpora.items()
    }
    found = {}
    for behaviour, per in BEHAVIOURS.items():
        of = {name: len(corpora[name]) if per == "dialogue" else turns[name] for name in corpora}
        count = {
            name: len(
                {
                    (hit.dialogue, hit.turn if per == "turn" else 0)
                    for hit in some
                    if hit.behaviour == behaviour
                }
            )
            for name, some in hits.items()
        }
        found[behaviour] = Rate(rate=_mean_share(count, of), per=per, hits=count, of=of)
    return found


def _mean_share(count: Mapping[str, int], of: Mapping[str, int]) -> Estimate:
    shares = np.array([count[name] / of[name] for name in of])
    wilson = [binomtest(count[name], of[name]).proportion_ci(method="wilson") for name in of]
    bounds = np.array([(interval.low, interval.high) for interval in wilson])
    value = float(shares.mean())
    below, above = np.sqrt(((bounds - shares[:, None]) ** 2).sum(axis=0)) / len(shares)
    return Estimate(value, max(0.0, value - float(below)), min(1.0, value + float(above)))


def _matches(rule: _Rule, sentences: Sequence[str]) -> bool:
    if any(_any(rule.nowhere, sentence) for sentence in sentences):
        return False
    for place, sentence in enumerate(sentences):
        if not _any(rule.cues, sentence) or _any(rule.unless, sentence):
            continue
        if not rule.beside or any(_any(rule.beside, other) for other in sentences[:place]):
            return True
    return False


def _any(expressions: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(expression.search(text) for expression in expressions)


@cache
def _rules() -> dict[str, _Rule]:
    text = resources.files(__package__).joinpath("off_path_cues.toml").read_text("utf-8")
    return {name: _Rule.model_validate(section) for name, section in tomllib.loads(text).items()}
