"""Seekers that speak through a language model, in three modes.

``lm-reference`` knows the item it wants and never names it; ``lm-free`` knows only what it liked before and
what it wants now to be like, and accepts whatever is (after Interplay); ``lm-latent`` is decided by the
hidden variables of :mod:`~unicrs_rl.simulators.latent`, and the model finds the words.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import Decision, Reply
from unicrs_rl.errors import InputError
from unicrs_rl.language.boundary import Answer as ModelAnswer
from unicrs_rl.language.boundary import LanguageModel, Task
from unicrs_rl.language.phrases import listing
from unicrs_rl.language.seeker_tasks import (
    SEEKER_FREE,
    SEEKER_LATENT,
    SEEKER_REFERENCE,
    AnswerName,
    FreeInput,
    LatentInput,
    Offer,
    ReferenceInput,
    SeekerInput,
    SeekerOutput,
)
from unicrs_rl.language.titles import masked
from unicrs_rl.simulators.drift import DriftDetector, complaint
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.latent import LatentSeekers
from unicrs_rl.simulators.seekers import Actions, Replies, SeekerContext
from unicrs_rl.simulators.spoken import Moment, SpokenSeekers, failed, lost_for_words
from unicrs_rl.simulators.wording import Manner

WISHES = 5
"""Attributes of its target that a reference-free seeker wants, at most."""
LIKED_BEFORE = 4
"""Attributes that its summary names of each kind, at most."""
_MANNERS = {
    Manner.PLAIN: "plainly",
    Manner.WARM: "warmly",
    Manner.HEDGING: "hesitating",
    Manner.IMPATIENT: "impatiently",
    Manner.ASIDE: "with a remark about something else first",
    Manner.BACK: "coming back to the point",
}


class LanguageSeekers(SpokenSeekers):
    """Seekers whose action and words are a language model's."""

    task: ClassVar[Task[Any, SeekerOutput]]

    @abstractmethod
    def inputs(self, row: int, moment: Moment) -> SeekerInput:
        """All that the model is told."""

    @override
    def speak(self, rows: Sequence[int], moments: Sequence[Moment]) -> list[Reply]:
        inputs = [self.inputs(*row) for row in zip(rows, moments, strict=True)]
        answers = self.model.complete(self.task, inputs)
        return [self._replied(*row) for row in zip(moments, answers, strict=True)]

    def wishes(self, row: int) -> list[int]:
        """Attributes of the target that can be told: those whose names do not hold its title."""
        catalogue, target = self.world.catalogue, int(self.targets[row])
        title = [catalogue.items[target]]
        return [
            attribute
            for attribute in catalogue.attributes_of(target).tolist()
            if masked(catalogue.attributes[attribute], title) == catalogue.attributes[attribute]
        ]

    def _told(self, row: int, moment: Moment) -> dict[str, Any]:
        """What the modes have in common."""
        catalogue, goal = self.world.catalogue, self._goals[row]
        lines = self.past[row].transcript()
        return {
            "noun": catalogue.noun,
            "dialogue": [*lines, ("recommender", moment.utterance)] if moment.decision else lines,
            "wants": self._names(sorted(goal.wants)),
            "avoids": self._names(sorted(goal.avoids)),
            "affirmed": self._names(sorted(goal.wants & goal.yes)),
            "rejected": [catalogue.items[item] for item in sorted(goal.rejected)],
            "asked": self._names(moment.asked),
            "offered": [
                Offer(name=catalogue.items[item], attributes=self._names(catalogue.attributes_of(item)))
                for item in moment.offered
            ],
            "turns_left": self.turns_left(row),
            "complaint": moment.complaint,
            "variant": int(self.keys[row]) % 1_000_003,
        }

    def _names(self, attributes: Sequence[int] | NDArray[np.int32]) -> list[str]:
        return [self.world.catalogue.attributes[attribute] for attribute in attributes]

    def _replied(self, moment: Moment, answer: ModelAnswer[SeekerOutput]) -> Reply:
        """The answer by id; where there is none, a neutral reply."""
        output, catalogue = answer.output, self.world.catalogue
        if output is None:
            return lost_for_words(moment, catalogue.noun, (answer.call,))
        given = {attribute: output.answers[catalogue.attributes[attribute]] for attribute in moment.asked}
        names = {catalogue.items[item]: item for item in moment.offered}
        extra = None if output.volunteered is None else catalogue.lexicon.attribute_id(output.volunteered)
        told = () if extra is None or extra in given else (extra,)
        accepted = None if output.accepted is None else names[output.accepted]
        return Reply(
            text=output.utterance,
            liked=(*_having(given, "yes"), *told),
            disliked=_having(given, "no"),
            open=_having(given, "open"),
            accepted=accepted,
            rejected=moment.offered if accepted is None else (),
            left=output.leaving and accepted is None,
            calls=(answer.call,),
        )


class ReferenceSeekers(LanguageSeekers):
    """Seekers that know their target's title and attributes, and never name it."""

    task = SEEKER_REFERENCE

    @override
    def secrets(self, row: int) -> tuple[int, ...]:
        return (int(self.targets[row]),)

    @override
    def inputs(self, row: int, moment: Moment) -> ReferenceInput:
        told = self._told(row, moment) | {"wants": self._names(self.wishes(row))}
        return ReferenceInput(**told, target=self.world.catalogue.items[int(self.targets[row])])


class FreeSeekers(LanguageSeekers):
    """Seekers without a target: a summary of what they liked, and wishes; whatever meets these will do."""

    task = SEEKER_FREE

    @override
    def aim(self, row: int) -> Goal:
        """Some wishes of the target's attributes, some aversions of its history, and no target."""
        wishes, key = self.wishes(row), int(self.keys[row])
        order = sorted(wishes, key=lambda wish: draws.pick(key, wish, "wish", 1_000_000))
        catalogue = self.world.catalogue
        person = self.world.seekers[self.world.places[self.sessions[row].seeker]]
        spoken_for = {
            a for item in (*person.liked, int(self.targets[row])) for a in catalogue.attributes_of(item)
        }
        against = Counter(int(a) for item in person.disliked for a in catalogue.attributes_of(item))
        avoids = [attribute for attribute, times in against.most_common() if times > 1]
        return Goal(
            wants=frozenset(order[:WISHES]),
            avoids=frozenset(attribute for attribute in avoids if attribute not in spoken_for),
            needs=self.settings.satisfied_by,
        )

    @override
    def inputs(self, row: int, moment: Moment) -> FreeInput:
        goal = self._goals[row]
        needed = math.ceil(goal.needs * len(goal.wants) - 1e-9)
        return FreeInput(**self._told(row, moment), summary=self.summary(row), needed=needed)

    def summary(self, row: int) -> str:
        """What the seeker liked before, by attributes alone: no title is in it."""
        catalogue, history = self.world.catalogue, self.sessions[row].history
        title = [catalogue.items[int(self.targets[row])]]
        counts = Counter(int(a) for item in history for a in catalogue.attributes_of(item))
        kinds: dict[str, list[str]] = {}
        for attribute, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            name, kind = catalogue.attributes[attribute], catalogue.kinds[attribute]
            if len(kinds.setdefault(kind, [])) < LIKED_BEFORE and masked(name, title) == name:
                kinds[kind].append(name)
        parts = [f"{kind}: {listing(names)}" for kind, names in sorted(kinds.items()) if names]
        return "; ".join(parts) if parts else "nothing is known"


class SpokenLatentSeekers(LatentSeekers):
    """Latent seekers whose words are a language model's; what they do is the latent seeker's own.

    Where the model gives no valid words the template's are said, and the failure is recorded.
    """

    def __init__(self, context: SeekerContext, argument: str = "") -> None:
        super().__init__(context, argument)
        self.detector = DriftDetector(context.world.catalogue, context.model)
        self._heard: dict[int, str] = {}
        self._lines: dict[int, list[tuple[str, str]]] = {}

    @override
    def start(self, rows: NDArray[np.int64]) -> None:
        super().start(rows)
        for row in rows.tolist():
            self._heard[row], self._lines[row] = "", []

    @override
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        self._heard.update(zip(rows.tolist(), actions.utterances, strict=False))
        return super().respond(rows, actions)

    @override
    def first_words(self, rows: NDArray[np.int64], volunteered: NDArray[np.int64]) -> list[Reply]:
        plain = [Manner.PLAIN] * len(rows)
        drafts = self._drafted_openings(rows, volunteered)
        return self._said(rows.tolist(), [None] * len(rows), drafts, plain)

    @override
    def replies(
        self, rows: NDArray[np.int64], decisions: Sequence[Decision], replies: Replies, words: bool
    ) -> list[Reply]:
        drafts = self._drafted(rows, decisions, replies, words)
        if not words:
            return drafts
        manners = [Manner(manner) for manner in replies.manner.tolist()]
        return self._said(rows.tolist(), decisions, drafts, manners)

    def _said(
        self,
        rows: Sequence[int],
        decisions: Sequence[Decision | None],
        drafts: Sequence[Reply],
        manners: Sequence[Manner],
    ) -> list[Reply]:
        """The drafts in the model's words, checked, and worded again as often as the settings allow."""
        goals = [self._goal_now(row) for row in rows]
        heard = [self._heard[row] for row in rows]
        said = list(drafts)
        pending = list(range(len(rows)))
        for _ in range(1 + self.settings.regenerate):
            asked = [
                self._inputs(rows[i], drafts[i], decisions[i], manners[i], said[i].drift) for i in pending
            ]
            answers = self._model().complete(SEEKER_LATENT, asked)
            worded = [
                replace(
                    drafts[i],
                    text=drafts[i].text if answer.output is None else answer.output.utterance,
                    calls=(*said[i].calls, answer.call),
                )
                for i, answer in zip(pending, answers, strict=True)
            ]
            if self.settings.tracking:
                worded = self.detector.check(
                    [goals[i] for i in pending],
                    [decisions[i] for i in pending],
                    [heard[i] for i in pending],
                    worded,
                )
            for i, reply in zip(pending, worded, strict=True):
                said[i] = reply
            pending = [i for i in pending if said[i].drift and not failed(said[i].calls)]
            if not pending:
                break
        for i, row in enumerate(rows):
            self._lines[row] += [("recommender", heard[i])] * bool(heard[i]) + [("seeker", said[i].text)]
            if self.settings.tracking:
                self._goals[row] = goals[i].after(said[i], decisions[i])
        return said

    def _model(self) -> LanguageModel:
        if self.context.model is None:
            raise InputError("lm-latent seekers need a language model to speak")
        return self.context.model

    def _inputs(
        self, row: int, draft: Reply, decision: Decision | None, manner: Manner, drift: Sequence[str]
    ) -> LatentInput:
        """What is decided, by name."""
        catalogue = self.world.catalogue
        names = catalogue.attributes
        asked = () if decision is None else decision.raised
        answers: dict[str, AnswerName] = {names[a]: "open" for a in draft.open if a in asked}
        answers |= {names[a]: "no" for a in draft.disliked if a in asked}
        answers |= {names[a]: "yes" for a in draft.liked if a in asked}
        lines = self._lines[row]
        heard = self._heard[row]
        return LatentInput(
            noun=catalogue.noun,
            dialogue=[*lines, ("recommender", heard)] if heard else lines,
            answers=answers,
            accepted=None if draft.accepted is None else catalogue.items[draft.accepted],
            declined=bool(draft.rejected),
            volunteered=[names[a] for a in draft.liked if a not in asked],
            withdrawn=[names[a] for a in draft.withdrawn],
            leaving=draft.left,
            manner=", ".join([_MANNERS[manner], *(doing.replace("-", " ") for doing in draft.behaviours)]),
            complaint=complaint(drift),
            draft=draft.text,
        )


def _having(given: Mapping[int, AnswerName], answer: AnswerName) -> tuple[int, ...]:
    return tuple(attribute for attribute, name in given.items() if name == answer)
