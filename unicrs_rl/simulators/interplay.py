"""Seekers that were trained on human dialogues by themselves, after Interplay (Ramos et al., 2026).

``interplay:RUN`` is a seeker that ``train-simulator --role seeker`` made. It is told a summary of what it
liked before and attributes of what it looks for (:mod:`~unicrs_rl.graphs.wishes`), of each item on offer
which of these it has, and of no target. What it does not answer it leaves open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import Call, Reply
from unicrs_rl.graphs.wishes import wish_of, wishes_met
from unicrs_rl.language.players import model_file, player
from unicrs_rl.language.roles import (
    Chat,
    Role,
    SeekerAct,
    SeekerMove,
    Wish,
    done,
    heard_by_seeker,
    named,
    seeker_told,
)
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.seekers import SeekerContext
from unicrs_rl.simulators.spoken import Moment, SpokenSeekers, lost_for_words


class InterplaySeekers(SpokenSeekers):
    """Seekers that a model trained on human dialogues plays.

    Raises:
        InputError: if the run is none of ``train-simulator --role seeker``, or of another catalogue.
    """

    takes = "RUN"

    def __init__(self, context: SeekerContext, argument: str = "") -> None:
        super().__init__(context, argument)
        self.player = player(argument, Role.SEEKER, context.world.catalogue.fingerprint)
        self._wishes: dict[int, Wish] = {}
        self._moves: dict[int, list[SeekerMove]] = {}
        """Of each conversation, what was done in each turn, by the latest of the attempts."""
        self._attempts: dict[int, int] = {}
        """Of each conversation, how often the present turn has been played."""

    @classmethod
    @override
    def files(cls, argument: str) -> tuple[Path, ...]:
        return (model_file(Path(argument)),)

    @override
    def start(self, rows: NDArray[np.int64]) -> None:
        for row in rows.tolist():
            session = self.sessions[row]
            self._wishes[row] = wish_of(self.world.catalogue, [session.target], session.history)
            self._moves[row], self._attempts[row] = [], 0
        super().start(rows)

    @override
    def aim(self, row: int) -> Goal:
        """Its wishes, and no target."""
        return Goal(wants=frozenset(self._ids(self._wishes[row].wanted)), needs=self.settings.satisfied_by)

    @override
    def speak(self, rows: Sequence[int], moments: Sequence[Moment]) -> list[Reply]:
        def read(place: int, text: str) -> SeekerMove:
            move, offered = SeekerMove.read(text), len(moments[place].offered)
            if move.place is not None and not 0 < move.place <= offered:
                raise ValueError(f"takes item {move.place} of {offered}")
            return move

        chats = [self._chat(*pair) for pair in zip(rows, moments, strict=True)]
        played = self.player.play(chats, [self._key(row) for row in rows], read)
        replies = []
        for row, moment, (move, call) in zip(rows, moments, played, strict=True):
            reply = self._replied(move, moment, call)
            self._moves[row].append(move or SeekerMove(SeekerAct.CHAT, words=reply.text))
            replies.append(reply)
        return replies

    def _key(self, row: int) -> int:
        """Of the random numbers of this turn; another one when it is played again."""
        turn = len(self.past[row].replies)
        again = len(self._moves[row]) > turn
        self._attempts[row] = self._attempts[row] + 1 if again else 0
        del self._moves[row][turn:]
        return draws.key(int(self.keys[row]), "interplay", turn, self._attempts[row])

    def _chat(self, row: int, moment: Moment) -> Chat:
        """The conversation as the seeker sees it."""
        past = self.past[row]
        chat = [seeker_told(self.world.catalogue.noun, self._wishes[row])]
        for before, move in zip(past.moments, self._moves[row], strict=False):
            chat += [*self._heard(row, before), done(move)]
        return [*chat, *self._heard(row, moment)]

    def _heard(self, row: int, moment: Moment) -> Chat:
        """The recommender's words with the notes; nothing at the opening."""
        if moment.decision is None:
            return []
        catalogue, wish = self.world.catalogue, self._wishes[row]
        asked = [catalogue.attributes[attribute] for attribute in moment.asked]
        return [
            heard_by_seeker(
                moment.utterance,
                [wishes_met(catalogue, wish, item) for item in moment.offered],
                {name: name in wish.wanted for name in asked},
            )
        ]

    def _replied(self, move: SeekerMove | None, moment: Moment, call: Call) -> Reply:
        """A move by id; where there is none, a neutral reply."""
        catalogue = self.world.catalogue
        if move is None:
            return lost_for_words(moment, catalogue.noun, (call,))
        liked, disliked = self._ids(move.wants), self._ids(move.unwanted)
        accepted = None if move.place is None else moment.offered[move.place - 1]
        return Reply(
            text=named(move.words, [catalogue.items[item] for item in moment.offered]),
            liked=liked,
            disliked=tuple(attribute for attribute in disliked if attribute not in liked),
            open=tuple(a for a in moment.asked if a not in liked and a not in disliked),
            accepted=accepted,
            rejected=moment.offered if accepted is None else (),
            left=move.act is SeekerAct.LEAVE,
            calls=(call,),
        )

    def _ids(self, names: Iterable[str]) -> tuple[int, ...]:
        """Attributes by name; a name that the catalogue has not is nothing that can be wanted."""
        found = (self.world.catalogue.lexicon.attribute_id(name) for name in names)
        return tuple(dict.fromkeys(attribute for attribute in found if attribute is not None))
