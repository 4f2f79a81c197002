"""What people do in a conversation that no questionnaire expects, at given rates.

Each behaviour asks something of the recommender:

- *indifferent*: anything will do, about this attribute now and whenever it is asked again, or in answer
  to chat. It tells nothing about the target: to take it for a yes or a no leads astray.
- *changed-mind*: once in a conversation, between the second and the fifth turn, the seeker turns to
  another item that agrees with its taste and with what it refused. It withdraws in words every wish that
  this item does not meet, and names a new one. Who goes on filtering by what was said before never finds
  the item.
- *second-intent*: besides the answer, a further wish, or the request to see something. A list that was
  asked for costs no interest, right or wrong; who lets the seeker wait for it loses its interest.
- *off-topic*: a question or chat is left unanswered, and the seeker comes back to it in the next turn.
  Asking again works.
- *encouraging*: says that the direction is right, and only where it is: after a yes, or after a list
  that was declined but came close. Chances are the rate times ``min(1, 2 fit)`` of the best item shown.
- *hedging*: the words are unsure, and a yes or no is wrong with the chance :data:`HEDGED_WRONG`, anew
  each time: it deserves less belief.

All is drawn from the conversation's own random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import Act
from unicrs_rl.graphs.world import World
from unicrs_rl.simulators.effects import EffectTable
from unicrs_rl.simulators.settings import OffPath, Population, SeekerConfig
from unicrs_rl.simulators.wording import Behaviour

HEDGED_WRONG = 0.25
"""Chance that a hedged yes or no is wrong: assumed."""
REQUEST = 0.5
"""Share of the second intents that ask for a list: assumed."""
FIRST_CHANGE, CHANGES = 1, 4
"""The turn (from 0) in which minds change at the earliest, and in how many turns they may: assumed."""
_NO, _YES = -1, 1
_NOTHING = -1


RATES: Mapping[Behaviour, str] = {
    Behaviour.INDIFFERENT: "indifferent",
    Behaviour.CHANGED_MIND: "changes_mind",
    Behaviour.SECOND_INTENT: "second_intent",
    Behaviour.OFF_TOPIC: "off_topic",
    Behaviour.ENCOURAGING: "encouraging",
    Behaviour.HEDGING: "hedging",
}
"""Behaviour -> the setting of its rate."""


def rates_of(settings: SeekerConfig, table: EffectTable) -> OffPath:
    """The rates of a population: its own, none (``plain``), or those of people (``holistic``)."""
    if settings.off_path is not None:
        return settings.off_path
    if settings.population is Population.PLAIN:
        return OffPath()
    return OffPath(**{name: table.off_path[behaviour].rate.value for behaviour, name in RATES.items()})


@dataclass(frozen=True)
class Urges:
    """What seekers are inclined to in a turn, before it is known whether there is occasion: all ``[n]``.

    Attributes:
        away: talks of something else.
        aloof: does not care for chat.
        hedges: is not sure.
        second: wants something besides.
        request: what it wants besides is to see a list.
        encouragement: uniform in [0, 1), to be compared with the chance of encouraging.
    """

    away: NDArray[np.bool_]
    aloof: NDArray[np.bool_]
    hedges: NDArray[np.bool_]
    second: NDArray[np.bool_]
    request: NDArray[np.bool_]
    encouragement: NDArray[np.float64]


class Digressions:
    """The behaviours of a batch of seekers, and what they have to remember for them.

    Args:
        world: in which they live.
        rates: how often they leave the path.
    """

    def __init__(self, world: World, rates: OffPath) -> None:
        self.world, self.rates = world, rates
        self.away = np.zeros(0, dtype=bool)
        self.waiting = np.zeros(0, dtype=bool)
        """``[batch]``: talked of something else in the turn before; asked for a list and got none yet."""
        self._due = np.zeros(0, dtype=np.int64)
        self._said = np.zeros((0, world.catalogue.n_attributes), dtype=np.int8)
        self._offered = np.zeros((0, world.catalogue.n_items), dtype=bool)

    def start(self, rows: NDArray[np.int64], keys: NDArray[np.uint64], batch: int) -> None:
        """(Re)start the conversations ``rows`` of a batch; ``keys`` are theirs: ``[n]``."""
        if len(self.away) != batch:
            self.away, self.waiting = np.zeros(batch, dtype=bool), np.zeros(batch, dtype=bool)
            self._due = np.zeros(batch, dtype=np.int64)
            self._said = np.zeros((batch, self.world.catalogue.n_attributes), dtype=np.int8)
            self._offered = np.zeros((batch, self.world.catalogue.n_items), dtype=bool)
        self.away[rows] = self.waiting[rows] = False
        self._due[rows] = _NOTHING
        if self.rates.changes_mind:
            will = draws.uniform(keys, purpose="changes its mind") < self.rates.changes_mind
            turn = FIRST_CHANGE + (draws.uniform(keys, purpose="when") * CHANGES).astype(np.int64)
            self._due[rows] = np.where(will, turn, _NOTHING)
            self._said[rows], self._offered[rows] = 0, False

    def urges(
        self, keys: NDArray[np.uint64], turns: NDArray[np.int64], act: NDArray[np.int64]
    ) -> Urges | None:
        """What seekers are inclined to in answer to an act; ``None`` if they never leave the path."""
        rates = self.rates
        if not any(rates.model_dump().values()):
            return None
        listing = act == Act.RECOMMEND

        def happens(purpose: str, rate: float) -> NDArray[np.bool_]:
            happening: NDArray[np.bool_] = draws.uniform(keys, turns, purpose) < rate
            return happening

        return Urges(
            away=happens("off topic", rates.off_topic) & ~listing,
            aloof=happens("aloof", rates.indifferent) & (act == Act.CHAT),
            hedges=happens("hedging", rates.hedging),
            second=happens("second intent", rates.second_intent),
            request=happens("request", REQUEST) & ~listing,
            encouragement=draws.uniform(keys, turns, "encouraging"),
        )

    def indifferent(self, keys: NDArray[np.uint64], attributes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """About which attributes (``[n, m]``) seekers do not care: the same whenever they are asked."""
        columns = [
            draws.uniform(keys, np.maximum(column, 0), "indifferent") < self.rates.indifferent
            for column in attributes.T
        ]
        return np.stack(columns, axis=1)

    def mistaken(
        self, keys: NDArray[np.uint64], turns: NDArray[np.int64], attributes: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which answers about the attributes (``[n, m]``) are wrong if they are hedged."""
        columns = [
            draws.uniform(keys, turns, f"hedged {place}") < HEDGED_WRONG
            for place in range(attributes.shape[1])
        ]
        return np.stack(columns, axis=1)

    def note(
        self, rows: NDArray[np.int64], attributes: NDArray[np.int64], answers: NDArray[np.int64]
    ) -> None:
        """Remember what was said of attributes (both ``[n, m]``): 1 for a yes, -1 for a no, 0 for neither."""
        if self.rates.changes_mind:
            place, column = np.nonzero((attributes != _NOTHING) & (answers != 0))
            self._said[rows[place], attributes[place, column]] = answers[place, column]

    def see(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """Remember which items (``[n, k]``) were on offer."""
        if self.rates.changes_mind:
            place, column = np.nonzero(items != _NOTHING)
            self._offered[rows[place], items[place, column]] = True

    def due(self, rows: NDArray[np.int64], turns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of ``rows`` change their mind in this turn: places in ``rows``."""
        return np.flatnonzero(self._due[rows] == turns)

    def another_wish(
        self, row: int, target: int, history: Sequence[int], key: int, asked: NDArray[np.int64]
    ) -> tuple[int, tuple[int, ...], int] | None:
        """What a seeker wants instead of its target, if there is any such item.

        The item was neither offered nor is it in the seeker's history; it has nothing that was refused,
        and lacks something that was wished for. Among such items it is drawn by likeness to the target
        and the history.

        Args:
            row: of the batch.
            target: what it wants so far.
            history: items it is known to like.
            key: of the conversation.
            asked: attributes that it is asked about just now.

        Returns:
            The item, the wishes it does not meet, and an attribute of it that was not mentioned (-1 if
            there is none).
        """
        catalogue = self.world.catalogue
        wished = np.flatnonzero(self._said[row] == _YES).tolist()
        met = np.zeros(catalogue.n_items, dtype=np.int64)
        for attribute in wished:
            met[catalogue.items_with(attribute)] += 1
        possible = (met < len(wished)) & ~self._offered[row]
        possible &= np.diff(catalogue.item_attributes.indptr) > 0
        for attribute in np.flatnonzero(self._said[row] == _NO).tolist():
            possible[catalogue.items_with(attribute)] = False
        known = [*history, target]
        possible[known] = False
        content = catalogue.content
        taste = np.asarray(content @ content[known].mean(axis=0)).ravel()
        weights = np.cumsum(taste * possible)
        if weights[-1] <= 0:
            return None
        draw = draws.uniform(key, purpose="another wish")[0]
        item = int(np.searchsorted(weights, draw * weights[-1], side="right"))
        owned = catalogue.attributes_of(item)
        fresh = owned[(self._said[row, owned] == 0) & ~np.isin(owned, asked)]
        unlike = fresh[~np.isin(fresh, catalogue.attributes_of(target))]
        choice = unlike if len(unlike) else fresh
        common = int(choice[catalogue.degrees[choice].argmax()]) if len(choice) else _NOTHING
        return item, tuple(a for a in wished if a not in owned), common
