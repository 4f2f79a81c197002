"""The typed tasks of seekers that speak through a language model, and of reading what a seeker said.

A seeker commits to a structured action before its words, as the Actor does. What it knows differs:
``seeker_reference`` knows the item it wants (and must not name it), ``seeker_free`` only what it should be
like, ``seeker_latent`` only what has been decided for it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from unicrs_rl.language.boundary import Message, Task
from unicrs_rl.language.tasks import check_words

AnswerName = Literal["yes", "no", "open"]
SeekerActName = Literal["open", "answer", "accept", "decline", "chat", "leave"]


class Offer(Message):
    """A recommended item, with what can be known of it."""

    name: str
    attributes: list[str] = []


class SeekerInput(Message):
    """What a seeker knows when it speaks, whatever its mode."""

    turns_in: ClassVar[str] = "dialogue"

    noun: str
    dialogue: list[tuple[str, str]]
    """What was said so far; the recommender's latest words are last. Empty at the opening."""
    wants: list[str]
    """Attributes of what it wants."""
    avoids: list[str] = []
    """Attributes that it does not want."""
    affirmed: list[str] = []
    """Of ``wants``, what it has said already."""
    rejected: list[str] = []
    """Items that it has turned down."""
    asked: list[str] = []
    """Attributes just asked about."""
    offered: list[Offer] = []
    """Items just recommended, best first."""
    turns_left: int
    """Further turns that lead nowhere which it bears."""
    complaint: str = ""
    """What was wrong with its last reply, where it is asked again."""
    variant: int = 0
    """Varies the wording between conversations; not shown to a model."""


class ReferenceInput(SeekerInput):
    """The same with the item that it wants."""

    target: str


class FreeInput(SeekerInput):
    """The same with what it liked before, in words that name no item, and what it is content with."""

    summary: str
    needed: int
    """How many of ``wants`` an item has to have."""


class SeekerOutput(Message):
    """The structured action, committed to before the words, and the words."""

    act: SeekerActName
    answers: dict[str, AnswerName] = {}
    """For each attribute asked about."""
    accepted: str | None = None
    """The recommended item that is taken."""
    volunteered: str | None = None
    """A wish told unasked."""
    leaving: bool = False
    utterance: str


class LatentInput(Message):
    """What has been decided for a seeker, to be put into words."""

    turns_in: ClassVar[str] = "dialogue"

    noun: str
    dialogue: list[tuple[str, str]]
    answers: dict[str, AnswerName] = {}
    accepted: str | None = None
    declined: bool = False
    """Everything recommended is turned down."""
    volunteered: list[str] = []
    """Wishes told unasked."""
    withdrawn: list[str] = []
    """Wishes that are taken back."""
    leaving: bool = False
    manner: str
    """How to say it: one of our own words."""
    complaint: str = ""
    draft: str
    """A plain way to say it, for the embedded model alone."""


class LatentOutput(Message):
    """The words."""

    utterance: str


class ReadingInput(Message):
    """A seeker's reply and what it answers to."""

    noun: str
    recommender: str
    asked: list[str] = []
    offered: list[str] = []
    named: list[str] = []
    """Items that the recommender named or offered before."""
    seeker: str


class ReadingOutput(Message):
    """What a reply says and does, by name."""

    liked: list[str] = []
    disliked: list[str] = []
    open: list[str] = []
    accepts: bool = False
    accepted: str | None = None
    declines: bool = False
    changes_mind: bool = False
    anything: bool = False
    """It says that anything will do, of nothing in particular."""
    role_swap: bool = False
    items: list[str] = []
    """All items that it names."""


def check_seeker(inputs: SeekerInput, output: SeekerOutput) -> str | None:
    """What is wrong with a seeker's answer: it has to answer what was asked, and take only what is offered.

    Whether it is true to its goal is another question (:mod:`unicrs_rl.simulators.drift`).
    """
    offered = [offer.name for offer in inputs.offered]
    names = (*inputs.wants, *inputs.asked, *offered, *inputs.rejected, *output.answers)
    if problem := check_words(output.utterance, names):
        return problem
    if set(output.answers) != set(inputs.asked):
        return f"answers: must have exactly these keys: {inputs.asked!r}"
    if (output.act == "accept") != (output.accepted is not None):
        return "accepted: must be given if act is 'accept', and only then"
    if output.accepted is not None and output.accepted not in offered:
        return "accepted: must be one of the items just recommended"
    if output.volunteered is not None and output.volunteered not in inputs.wants:
        return "volunteered: must be one of the wishes"
    return None


def _check_words(inputs: LatentInput, output: LatentOutput) -> str | None:
    names = (*inputs.answers, *inputs.volunteered, *inputs.withdrawn)
    return check_words(output.utterance, names if inputs.accepted is None else (*names, inputs.accepted))


SEEKER_REFERENCE: Task[ReferenceInput, SeekerOutput] = Task(
    "seeker_reference", ReferenceInput, SeekerOutput, check_seeker
)
SEEKER_FREE: Task[FreeInput, SeekerOutput] = Task("seeker_free", FreeInput, SeekerOutput, check_seeker)
SEEKER_LATENT = Task("seeker_latent", LatentInput, LatentOutput, _check_words)
SEEKER_READING = Task("seeker_reading", ReadingInput, ReadingOutput)
