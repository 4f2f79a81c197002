"""Nothing hidden decides: with the target or the latents of another seeker, decisions are the same.

A dialogue is held twice. The second time the seeker wants something else, or has other hidden variables
and other luck, and the policy is told nothing of it: the same person, the same history, the same key. Of
the many that a seeker could be exchanged for one is taken that opens the dialogue in the very same words.
From there on both dialogues have to be the same, decision for decision and word for word, until the seeker
replies differently. What is compared: the act, the attributes, the items, the strategy and the utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import Decisions, Dialogue, Reply
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.states import Past, States
from unicrs_rl.graphs.world import Session
from unicrs_rl.policy.base import Policy
from unicrs_rl.simulators.seekers import Seekers

OTHERS = 40
"""Seekers that each is tried to be exchanged for, at most."""

Seat = tuple[Session, Session]
"""What the policy is told of a dialogue, and whose seeker answers."""
Exchange = Callable[[Session, Session], Seat]
"""Who sits there instead, from a session and another."""
Pairs = Sequence[tuple[Session, Seat]]
"""Sessions, each with what takes its place in the second dialogue."""


def of_target(session: Session, other: Session) -> Seat:
    """The same seeker who wants another item. Nobody but the seeker may look at it."""
    turned = replace(session, target=other.target)
    return turned, turned


def of_latents(session: Session, other: Session) -> Seat:
    """Somebody else who wants the same, with hidden variables, tastes and luck of his own.

    These hang on a session's key and on who the seeker is.
    """
    return session, replace(session, key=other.key, seeker=other.seeker)


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing dialogues that are told apart by hidden things alone.

    Attributes:
        dialogues: pairs that opened alike.
        decisions: compared in them.
        later: of these, after at least one reply that was the same in both.
        leaks: the (dialogue, turn) at which a pair differed first, though nothing visible did.
    """

    dialogues: int
    decisions: int
    later: int
    leaks: tuple[tuple[int, int], ...]


def openings(seekers: Seekers, sessions: Sequence[Session], words: bool = True) -> list[str | int]:
    """How the seekers of these sessions open: their words, or the attribute they volunteer."""
    volunteered = seekers.reset(sessions)
    if not words:
        return list(volunteered.tolist())
    return [reply.text for reply in seekers.first_words(np.arange(len(sessions)), volunteered)]


def seats(
    seekers: Seekers,
    sessions: Sequence[Session],
    others: Sequence[Session],
    exchange: Exchange,
    words: bool = True,
) -> list[tuple[Session, Seat]]:
    """For each session that has one, another hidden part that opens the dialogue alike.

    Args:
        others: whose hidden parts are tried, some of them for each session.
    """
    rng = np.random.default_rng(draws.key("seats"))
    tried: list[tuple[int, Seat]] = []
    for place, session in enumerate(sessions):
        for other in rng.permutation(len(others))[:OTHERS].tolist():
            seat = exchange(session, others[other])
            if seat != (session, session):
                tried.append((place, seat))
    own = openings(seekers, sessions, words)
    instead = openings(seekers, [answering for _, (_, answering) in tried], words)
    found: dict[int, Seat] = {}
    for (place, seat), opening in zip(tried, instead, strict=True):
        if opening == own[place]:
            found.setdefault(place, seat)
    return [(sessions[place], seat) for place, seat in sorted(found.items())]


def compared(policy: Policy, components: Components, pairs: Pairs, words: bool = True) -> Compared:
    """Hold dialogues twice, the second time with somebody else inside the seeker.

    Args:
        components: with the experts of the arm.
        pairs: see :func:`seats`.
        words: at the text surface, else at the semantic one.
    """
    conversations = Conversations(components, words)
    if not pairs:
        return Compared(0, 0, 0, ())
    told = [session for session, _ in pairs]
    once = [episode.dialogue for episode in conversations.hold(policy, told)]
    instead = conversations.hold(
        policy, [seen for _, (seen, _) in pairs], answering=[inside for _, (_, inside) in pairs]
    )
    courses = [_course(*pair) for pair in zip(once, (e.dialogue for e in instead), strict=True)]
    return _summed([session.index for session in told], courses)


def _summed(indices: Sequence[int], courses: Sequence[tuple[int, int | None]]) -> Compared:
    return Compared(
        len(courses),
        sum(turns for turns, _ in courses),
        sum(max(0, turns - 1) for turns, _ in courses),
        tuple((index, leak) for index, (_, leak) in zip(indices, courses, strict=True) if leak is not None),
    )


def _course(one: Dialogue, other: Dialogue) -> tuple[int, int | None]:
    """How many decisions of two dialogues can be compared, and at which turn they first differ."""
    turn = 0
    for turn, (mine, yours) in enumerate(zip(one.turns, other.turns, strict=False)):
        if (mine.decision, mine.utterance) != (yours.decision, yours.utterance):
            return turn + 1, turn
        if _heard(mine.reply) != _heard(yours.reply):
            break
    return turn + 1, None


def _heard(reply: Reply) -> object:
    """What a recommender hears: the words, or without words the acts."""
    acts = (reply.liked, reply.disliked, reply.open, reply.accepted, reply.rejected, reply.left)
    return reply.text or acts


def compared_in_engine(policy: Policy, components: Components, pairs: Pairs) -> Compared:
    """The same in the batched engine, whose ``mcr`` seekers want something else the second time.

    Args:
        pairs: that open alike without words, with another target.
    """
    once = _played(policy, components, [session for session, _ in pairs])
    instead = _played(policy, components, [told for _, (told, _) in pairs])
    courses = [_seen_alike(once[s.key], instead[s.key]) for s, _ in pairs]
    return _summed([session.index for session, _ in pairs], courses)


_Step = tuple[object, object]
"""What was visible at a turn, and what was decided."""


def _played(policy: Policy, components: Components, sessions: Sequence[Session]) -> dict[int, list[_Step]]:
    """Every turn of each conversation, by its key."""
    engine = components.engine()
    found: dict[int, list[_Step]] = {session.key: [] for session in sessions}
    states: States = engine.begin(sessions)
    while len(states):
        decisions = policy.choose(states)
        for row, key in enumerate(states.past.keys.tolist()):
            found[key].append((_visible(states.past, row), _decided(decisions, row)))
        _, states = engine.step(decisions)
    return found


def _visible(past: Past, row: int) -> object:
    columns = (past.wanted, past.unwanted, past.indifferent, past.declined, past.events)
    return tuple(_some(column[row]) for column in columns)


def _decided(decisions: Decisions, row: int) -> object:
    lists = _some(decisions.attributes[row]), _some(decisions.items[row])
    return int(decisions.act[row]), int(decisions.strategy[row]), *lists


def _some(ids: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(i for i in ids.tolist() if i >= 0)


def _seen_alike(one: Sequence[_Step], other: Sequence[_Step]) -> tuple[int, int | None]:
    turns = 0
    for (seen, mine), (seen_there, yours) in zip(one, other, strict=False):
        if seen != seen_there:
            break
        turns += 1
        if mine != yours:
            return turns, turns - 1
    return turns, None
