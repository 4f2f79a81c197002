"""A sociable seeker: hidden traits and moods decide how it answers, and strategy moves them.

What hidden variables there are and where they start stands in :mod:`~unicrs_rl.simulators.latents`. How
strategies move them is read from a table that was fitted to human dialogues
(:mod:`~unicrs_rl.simulators.effects`); all other numbers stand in :class:`Coefficients`.

The n-th use of strategy ``s`` adds ``beta[s, k] * wear**(n - 1)`` to percept ``k`` (rapport, trust,
persuasion, pressure) and ``delta[s] * wear**(n - 1)`` to a direct push. Acceptance of the best-fitting
item of a list is logistic:

``P(accept) = sigmoid(base + slope * fit + Σ_k a_k * percept_k + push)``

where ``fit`` is 1 for the target and else the cosine of the two items' TF-IDF attribute vectors. With
effects ``strong``, ``beta`` and ``delta`` are five times as large; with ``none`` they are 0, and nothing
else that depends on the strategy is left.

The seeker answers questions truthfully about its target, or not at all: an unclear or open one may
say that anything will do. It may volunteer a wish, wander off topic, hedge, thank, grow impatient
and leave. What it does beyond that stands in :mod:`~unicrs_rl.simulators.off_path`, and what it believes
of items in :mod:`~unicrs_rl.simulators.intentions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import ELICITATION, STRATEGIES, Act
from unicrs_rl.graphs.states import padded
from unicrs_rl.simulators.effects import PERCEPTS, EffectTable
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.intentions import Credence, ItemBeliefs
from unicrs_rl.simulators.latents import FELT, MOODS, TRAITS, Population
from unicrs_rl.simulators.off_path import Digressions, Urges, rates_of
from unicrs_rl.simulators.seekers import (
    NOTHING,
    Actions,
    Answer,
    Replies,
    SeekerContext,
    Seekers,
    common_attributes,
    has_attributes,
    random_attributes,
    uniform,
)
from unicrs_rl.simulators.settings import Effects
from unicrs_rl.simulators.wording import Behaviour, Manner

STRENGTH = {Effects.HUMAN: 1.0, Effects.STRONG: 5.0, Effects.NONE: 0.0}
"""What the effects of strategies are multiplied by."""
_ELICITING = np.array([strategy in ELICITATION for strategy in STRATEGIES])
_INTEREST, _RAPPORT, _TRUST, _PRESSURE, _MOOD = (
    MOODS.index(name) for name in ("interest", "rapport", "trust", "pressure", "mood")
)
_SAID = np.array([0, 1, -1, 0])
"""What an ``Answer`` says of an attribute: 1 wanted, -1 unwanted."""

SIMILAR_ENOUGH = 0.25
"""Share of the target's attributes from which on taking another item is no drift: acceptance goes by fit."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The seeker's numbers that no table was fitted for. All assumed."""

    trust_fact: float = 0.02
    """trust won by each fact told about a recommended item: about as much as by one use of a strategy"""
    pressure_early: float = 0.10
    """recommending in the first two turns"""
    pressure_repeat: float = 0.03
    """for each list in a row after the first"""
    interest_yes: float = 0.15
    interest_no: float = -0.10
    interest_declined: float = -0.60
    interest_chat: float = -0.10
    """what keeps and loses interest"""
    interest_waiting: float = -2.00
    """for each turn without the list that was asked for"""
    mood_memory: float = 0.8
    open_specific: float = 0.5
    """chance that a wholly clear seeker opens with any wish rather than with a common one"""
    open_if_unclear: float = 0.25
    """chance that a seeker without any clarity does not commit to a true wish"""
    open_if_open: float = 0.35
    """chance that a wholly open seeker does not reject what is no wish"""
    volunteer: float = 0.30
    """chance that a wholly clear and sociable seeker adds a wish to a yes"""
    disclose: float = 0.60
    """chance that a wholly clear seeker answers an open question (chat that elicits)"""
    disclose_again: float = 0.5
    """each further open question works this much as well as the one before"""
    leave_base: float = -6.0
    leave_turn: float = 0.28
    leave_patience: float = -0.8
    leave_interest: float = -0.6
    leave_pressure: float = 0.3
    """log-odds of leaving after a turn"""
    credence: Credence = field(default_factory=Credence)
    """how beliefs about items are held"""


class LatentSeekers(Seekers):
    """Seekers with hidden traits and moods.

    Args:
        context: what they are made from.
        coefficients: the numbers behind the behaviour.

    Raises:
        InputError: if the table of effects cannot be read.
    """

    strategic = True
    rates = True
    hidden = (*TRAITS, *MOODS)

    def __init__(
        self, context: SeekerContext, argument: str = "", coefficients: Coefficients = Coefficients()
    ) -> None:
        super().__init__(context, argument)
        settings, world = context.settings, context.world
        self.table = EffectTable.read(settings.table)
        self.coefficients = coefficients
        self.strength = STRENGTH[settings.effects]
        self._beta, self._delta = self.strength * self.table.beta, self.strength * self.table.delta
        self._slopes, self._cutpoints = self.table.a, self.table.cutpoints
        self._content = world.catalogue.content
        self.population = Population(self.table, settings.latents)
        self.digressions = Digressions(world, rates_of(settings, self.table))
        credence = coefficients.credence
        self.beliefs = ItemBeliefs(replace(credence, opinion=self.strength * credence.opinion))
        self.traits = np.zeros((0, len(TRAITS)))
        self.moods = np.zeros((0, len(MOODS)))
        self._push = np.zeros(0)
        self._uses = np.zeros((0, len(STRATEGIES)), dtype=np.int64)
        self._lists_in_a_row = np.zeros(0, dtype=np.int64)
        self._disclosed = np.zeros(0, dtype=np.int64)
        self._fit = np.zeros((0, world.catalogue.n_items), dtype=np.float32)
        self._usual = np.zeros(0)

    @override
    def start(self, rows: NDArray[np.int64]) -> None:
        super().start(rows)
        batch = len(self.sessions)
        if len(self.traits) != batch:
            self.traits, self.moods = np.zeros((batch, len(TRAITS))), np.zeros((batch, len(MOODS)))
            self._push, self._usual = np.zeros(batch), np.zeros(batch)
            self._uses = np.zeros((batch, len(STRATEGIES)), dtype=np.int64)
            self._lists_in_a_row = np.zeros(batch, dtype=np.int64)
            self._disclosed = np.zeros(batch, dtype=np.int64)
            self._fit = np.zeros((batch, self.world.catalogue.n_items), dtype=np.float32)
        keys = self.keys[rows]
        numbers = np.array([self.sessions[row].index for row in rows], dtype=np.int64)
        self.traits[rows] = self.population.traits(keys, numbers)
        self.moods[rows] = self.population.moods(keys, numbers, self.traits[rows])
        self._push[rows] = 0.0
        self._uses[rows] = 0
        self._lists_in_a_row[rows] = 0
        self._disclosed[rows] = 0
        self.digressions.start(rows, keys, batch)
        self._aim(rows)

    def opening(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Something specific from a clear seeker, something common from an unclear one."""
        draw, targets = self._draw(rows, "opening"), self.targets[rows]
        specific = self._draw(rows, "clear opening") < self.coefficients.open_specific * self._chance(
            rows, "clarity"
        )
        anything = random_attributes(self.world, targets, draw)
        attribute = np.where(specific, anything, common_attributes(self.world, targets, draw))
        self.digressions.note(rows, attribute[:, None], np.ones((len(rows), 1), dtype=np.int64))
        return attribute

    @override
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        waited, was_away = self.digressions.waiting[rows], self.digressions.away[rows]
        self.digressions.see(rows, actions.items)
        withdrawn, wish = self._change_minds(rows, actions.attributes)
        changed = np.array([bool(wishes) for wishes in withdrawn], dtype=bool)
        urges = self.digressions.urges(self.keys[rows], self.turns[rows], actions.act)
        self._feel_strategy(rows, actions)
        answers = self._answers(rows, actions)
        place, best = self._choose(rows, actions)
        place = np.where(changed, NOTHING, place)
        volunteered = np.where(changed, wish, self._volunteer(rows, actions, answers))
        taken_up = self.take_up(rows, actions)
        self._learn(rows, actions, best)
        done: dict[Behaviour, NDArray[np.bool_]] = {Behaviour.CHANGED_MIND: changed}
        if urges is not None:
            answers, volunteered = self._leave_path(
                rows, actions, urges, answers, volunteered, place, best, done
            )
        declined = (actions.act == Act.RECOMMEND) & (place == NOTHING)
        self._feel_outcome(rows, actions, answers, declined, waited)
        left = self._leave(rows) & (place == NOTHING)
        manner = self._manner(rows, answers, place != NOTHING, was_away, done)
        for index in np.flatnonzero(changed):
            answers[index, np.isin(actions.attributes[index], withdrawn[index])] = Answer.NO
        if self.digressions.rates.changes_mind:
            self._remember(rows, actions, answers, volunteered, withdrawn)
        if len(taken_up):
            absent = changed | done.get(Behaviour.OFF_TOPIC, np.zeros(len(rows), dtype=bool))
            taken_up = np.where(absent, Answer.NONE, taken_up)
        self.turns[rows] += 1
        replies = Replies(answers, volunteered, place, left, manner, taken_up=taken_up)
        if not any(happened.any() for happened in done.values()):
            return replies
        behaviours = tuple(
            tuple(kind.value for kind, happened in done.items() if happened[index])
            for index in range(len(rows))
        )
        return replace(replies, behaviours=behaviours, withdrawn=withdrawn)

    @override
    def aim(self, row: int) -> Goal:
        return replace(super().aim(row), needs=SIMILAR_ENOUGH)

    @override
    def patience(self, row: int) -> float:
        return 1.0 - float(self._leaving(np.array([row]))[0])

    @override
    def latents(self, row: int) -> dict[str, float]:
        names = (*TRAITS, *MOODS)
        values = (*self.traits[row], *self.moods[row])
        return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}

    @override
    def ratings(self, row: int) -> dict[str, int]:
        """Percepts through the cutpoints of the survey (ordered probit)."""
        felt = self.moods[row, FELT, None]
        steps = (felt > self._cutpoints).sum(axis=1)
        return {name: 1 + int(step) for name, step in zip(PERCEPTS, steps, strict=True)}

    @override
    def fits(self, row: int) -> NDArray[np.float64]:
        fits: NDArray[np.float64] = self._fit[row].astype(np.float64)
        return fits

    @override
    def fitting(self, row: int, item: int) -> tuple[float, float]:
        return float(self._fit[row, item]), float(self._usual[row])

    def acceptance(self, rows: NDArray[np.int64], fit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chance that the seekers ``rows`` now accept items that fit this much (``[n]``): ``[n]``."""
        terms = self.table.acceptance
        logit = terms.base + terms.fit * fit + self.moods[rows, FELT] @ self._slopes + self._push[rows]
        chance: NDArray[np.float64] = expit(logit)
        return chance

    def _aim(self, rows: NDArray[np.int64]) -> None:
        """Work out how well every item fits the targets."""
        targets = self.targets[rows]
        fit = (self._content[targets] @ self._content.T).toarray()
        fit[np.arange(len(rows)), targets] = 1.0
        self._fit[rows] = fit
        self._usual[rows] = fit.mean(axis=1)

    def _chance(self, rows: NDArray[np.int64], trait: str) -> NDArray[np.float64]:
        """A trait as a number in (0, 1): ``[n]``."""
        chance: NDArray[np.float64] = expit(self.traits[rows, TRAITS.index(trait)])
        return chance

    def _draw(self, rows: NDArray[np.int64], purpose: str) -> NDArray[np.float64]:
        return uniform(self.keys[rows], self.turns[rows], purpose)

    def _change_minds(
        self, rows: NDArray[np.int64], asked: NDArray[np.int64]
    ) -> tuple[tuple[tuple[int, ...], ...], NDArray[np.int64]]:
        """Turn those whose time has come to another target.

        Returns:
            The wishes that they withdraw, ``[n]``, and the new wish that they name, ``[n]``.
        """
        withdrawn: list[tuple[int, ...]] = [()] * len(rows)
        wish = np.full(len(rows), NOTHING)
        for index in self.digressions.due(rows, self.turns[rows]):
            row = int(rows[index])
            found = self.digressions.another_wish(
                row, int(self.targets[row]), self.sessions[row].history, int(self.keys[row]), asked[index]
            )
            if found is not None:
                self.targets[row], withdrawn[index], wish[index] = found
                self._aim(rows[index : index + 1])
        return tuple(withdrawn), wish

    def _remember(
        self,
        rows: NDArray[np.int64],
        actions: Actions,
        answers: NDArray[np.int64],
        volunteered: NDArray[np.int64],
        withdrawn: tuple[tuple[int, ...], ...],
    ) -> None:
        """What was said, as far as a change of mind depends on it."""
        self.digressions.note(rows, actions.attributes, _SAID[answers])
        self.digressions.note(rows, volunteered[:, None], np.ones((len(rows), 1), dtype=np.int64))
        gone = padded(withdrawn)
        self.digressions.note(rows, gone, np.full_like(gone, -1))

    def _feel_strategy(self, rows: NDArray[np.int64], actions: Actions) -> None:
        """Strategy, facts and timing move percepts before the seeker answers."""
        c = self.coefficients
        worn = self.table.wear ** self._uses[rows, actions.strategy]
        self._uses[rows, actions.strategy] += 1
        self._push[rows] += self._delta[actions.strategy] * worn
        lists = actions.act == Act.RECOMMEND
        self._lists_in_a_row[rows] = np.where(lists, self._lists_in_a_row[rows] + 1, 0)
        moods = self.moods[rows]
        moods[:, FELT] += self._beta[actions.strategy] * worn[:, None]
        if self.strength:  # how many facts are told depends on the strategy
            moods[:, _TRUST] += c.trust_fact * actions.facts_told * lists
        moods[:, _PRESSURE] += c.pressure_early * (lists & (self.turns[rows] < 2))
        moods[:, _PRESSURE] += c.pressure_repeat * np.maximum(self._lists_in_a_row[rows] - 1, 0)
        self.moods[rows] = self.population.hold(moods)

    def _answers(self, rows: NDArray[np.int64], actions: Actions) -> NDArray[np.int64]:
        """Truthful or indifferent: ``[n, m]``."""
        c = self.coefficients
        asked = (actions.act == Act.ASK)[:, None] & (actions.attributes != NOTHING)
        wish = has_attributes(self.world, self.targets[rows], actions.attributes)
        draw = self._draw(rows, "answer")[:, None]
        vague = draw < c.open_if_unclear * (1 - self._chance(rows, "clarity"))[:, None]
        easy = draw < c.open_if_open * self._chance(rows, "openness")[:, None]
        answer = np.where(
            wish, np.where(vague, Answer.OPEN, Answer.YES), np.where(easy, Answer.OPEN, Answer.NO)
        )
        return np.where(asked, answer, Answer.NONE).astype(np.int64)

    def _choose(
        self, rows: NDArray[np.int64], actions: Actions
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The best-fitting item is considered, and taken or not.

        Returns:
            Place of the accepted item, or :data:`NOTHING`, and place of the best-fitting one: each ``[n]``.
        """
        fit = self._fit[rows[:, None], np.maximum(actions.items, 0)].astype(np.float64)
        fit[actions.items == NOTHING] = -1.0
        best = fit.argmax(axis=1)
        offered = (actions.act == Act.RECOMMEND) & (actions.items[:, 0] != NOTHING)
        chance = self.acceptance(rows, fit[np.arange(len(rows)), best])
        taken = offered & (self._draw(rows, "accept") < chance)
        return np.where(taken, best, NOTHING), best

    def _volunteer(
        self, rows: NDArray[np.int64], actions: Actions, answers: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """A further wish mentioned unasked, or :data:`NOTHING`: ``[n]``.

        Chat that elicits brings out wishes. Where strategies have no effect, all chat does, as much as
        chat with any strategy would on average.
        """
        c = self.coefficients
        clarity, sociability = self._chance(rows, "clarity"), self._chance(rows, "sociability")
        inviting = _ELICITING[actions.strategy].astype(np.float64) if self.strength else _ELICITING.mean()
        chatting = (actions.act == Act.CHAT) * inviting
        told = c.disclose * clarity * c.disclose_again ** self._disclosed[rows] * chatting
        chance = np.where((answers == Answer.YES).any(axis=1), c.volunteer * clarity * sociability, told)
        self._disclosed[rows] += chatting > 0
        attribute = self._common_wish(rows, actions)
        return np.where(self._draw(rows, "wish") < chance, attribute, NOTHING)

    def _common_wish(self, rows: NDArray[np.int64], actions: Actions) -> NDArray[np.int64]:
        """An attribute of the target, one that is not asked about just now, or :data:`NOTHING`: ``[n]``."""
        attribute = common_attributes(self.world, self.targets[rows], self._draw(rows, "which wish"))
        fresh = (attribute[:, None] != actions.attributes).all(axis=1)
        return np.where(fresh, attribute, NOTHING)

    def _learn(self, rows: NDArray[np.int64], actions: Actions, best: NDArray[np.int64]) -> None:
        """Update what is believed of the items on offer."""
        moods = self.moods[rows]
        self.beliefs.hear(
            rows,
            actions,
            actions.items[np.arange(len(rows)), best],
            moods[:, _TRUST],
            moods[:, _RAPPORT] - moods[:, _PRESSURE],
        )

    def _leave_path(
        self,
        rows: NDArray[np.int64],
        actions: Actions,
        urges: Urges,
        answers: NDArray[np.int64],
        volunteered: NDArray[np.int64],
        place: NDArray[np.int64],
        best: NDArray[np.int64],
        done: dict[Behaviour, NDArray[np.bool_]],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Answers and volunteered wishes of those who leave the path; notes in ``done`` what they do."""
        keys, turns, digressions = self.keys[rows], self.turns[rows], self.digressions
        changed = done[Behaviour.CHANGED_MIND]
        away = urges.away & ~changed
        said = (answers == Answer.YES) | (answers == Answer.NO)
        careless = digressions.indifferent(keys, actions.attributes) & (answers != Answer.NONE)
        wrong = digressions.mistaken(keys, turns, actions.attributes) & urges.hedges[:, None] & said
        answers = np.where(wrong, Answer.YES + Answer.NO - answers, answers)
        answers = np.where(careless, Answer.OPEN, answers)
        answers = np.where(away[:, None], Answer.NONE, answers)
        aloof = urges.aloof & ~changed & ~away
        volunteered = np.where(away | aloof, NOTHING, volunteered)
        free = ~away & ~aloof & ~changed & (place == NOTHING)
        second = urges.second & free & (volunteered == NOTHING)
        wish = np.where(second & ~urges.request, self._common_wish(rows, actions), NOTHING)
        request = second & (wish == NOTHING) & (actions.act != Act.RECOMMEND)
        volunteered = np.where(wish != NOTHING, wish, volunteered)
        lists = (actions.act == Act.RECOMMEND) & (actions.items[:, 0] != NOTHING)
        shown = actions.items[np.arange(len(rows)), best]
        close = np.where(lists, np.minimum(2 * self._fit[rows, np.maximum(shown, 0)], 1.0), 0.0)
        right = np.where((answers == Answer.YES).any(axis=1) & ~wrong.any(axis=1), 1.0, close)
        digressions.away[rows] = away
        digressions.waiting[rows] = (digressions.waiting[rows] & (actions.act != Act.RECOMMEND)) | request
        done[Behaviour.INDIFFERENT] = (careless & ~away[:, None]).any(axis=1) | aloof
        done[Behaviour.SECOND_INTENT] = request | (wish != NOTHING)
        done[Behaviour.OFF_TOPIC] = away
        done[Behaviour.ENCOURAGING] = free & (urges.encouragement < digressions.rates.encouraging * right)
        done[Behaviour.HEDGING] = urges.hedges & ~away
        return answers, volunteered

    def _feel_outcome(
        self,
        rows: NDArray[np.int64],
        actions: Actions,
        answers: NDArray[np.int64],
        declined: NDArray[np.bool_],
        waited: NDArray[np.bool_],
    ) -> None:
        c = self.coefficients
        moods = self.moods[rows]
        moods[:, _INTEREST] += c.interest_yes * (answers == Answer.YES).any(axis=1)
        moods[:, _INTEREST] += c.interest_no * (answers == Answer.NO).any(axis=1)
        moods[:, _INTEREST] += c.interest_chat * (actions.act == Act.CHAT)
        moods[:, _INTEREST] += c.interest_declined * (declined & ~waited)  # who asked for a list wanted one
        moods[:, _INTEREST] += c.interest_waiting * (waited & (actions.act != Act.RECOMMEND))
        shock = 0.3 * draws.normal(self.keys[rows], self.turns[rows], "mood")
        moods[:, _MOOD] = c.mood_memory * moods[:, _MOOD] + 0.2 * moods[:, _INTEREST] + shock
        self.moods[rows] = self.population.hold(moods)

    def _leave(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        leaves: NDArray[np.bool_] = self._draw(rows, "leave") < self._leaving(rows)
        return leaves

    def _leaving(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Chance of leaving after a turn: ``[n]``."""
        c = self.coefficients
        moods = self.moods[rows]
        logit = c.leave_base + c.leave_turn * self.turns[rows] + c.leave_interest * moods[:, _INTEREST]
        logit += c.leave_patience * self.traits[rows, 0] + c.leave_pressure * moods[:, _PRESSURE]
        chance: NDArray[np.float64] = expit(logit)
        return chance

    def _manner(
        self,
        rows: NDArray[np.int64],
        answers: NDArray[np.int64],
        accepted: NDArray[np.bool_],
        was_away: NDArray[np.bool_],
        done: dict[Behaviour, NDArray[np.bool_]],
    ) -> NDArray[np.int64]:
        """How the reply is worded, from mood and traits, or from what is done off the path: ``[n]``."""
        rates = self.digressions.rates
        draw = self._draw(rows, "manner")
        moods = self.moods[rows]
        tired = expit(-1.5 - moods[:, _INTEREST] + 0.5 * moods[:, _PRESSURE] - self.traits[rows, 0])
        manner = np.full(len(rows), Manner.PLAIN, dtype=np.int64)
        manner[draw < 0.7 * expit(moods[:, _RAPPORT] + 0.5 * moods[:, _MOOD])] = Manner.WARM
        if not rates.hedging:
            unclear = 1 - self._chance(rows, "clarity")
            manner[(draw < 0.25 * unclear) & (answers == Answer.YES).any(axis=1)] = Manner.HEDGING
        if not rates.off_topic:
            manner[(draw > 0.92) & (self._draw(rows, "aside") < self._chance(rows, "sociability"))] = (
                Manner.ASIDE
            )
        impatient = (
            self._draw(rows, "impatience") < tired * np.minimum(self.turns[rows] / 6, 1.0)
        ) & ~accepted
        manner[impatient] = Manner.IMPATIENT
        manner[was_away] = Manner.BACK
        if Behaviour.HEDGING in done:
            manner[done[Behaviour.HEDGING]] = Manner.HEDGING
        return manner
