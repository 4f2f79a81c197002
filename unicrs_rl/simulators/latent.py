"""A sociable seeker: hidden traits and moods decide how it answers, and strategy moves them.

Session-level latents, drawn once: patience, openness, clarity of own preference, sociability,
disposition to trust; each standard normal, and in (0, 1) after the logistic function where a chance
is needed. Turn-level latents, in standard deviations around 0: interest, rapport, trust, mood, and
pressure felt. All coefficients stand in :class:`Coefficients`, those of the strategies in
``strategy_effects.toml`` with their source.

Acceptance of the best-fitting item of a list is logistic:

``P(accept) = sigmoid(a0 + a_fit * fit + a_rapport * rapport + a_trust * trust - a_pressure * pressure)``

where ``fit`` is 1 for the target and else the cosine of the two items' TF-IDF attribute vectors.
The slopes of rapport, trust and pressure make their correlations with acceptance as large as in
human dialogues (INSPIRED: warm +0.15, trustworthy +0.18, pressure -0.14), and no larger.

The seeker answers questions truthfully about its target, or not at all: an unclear or open one may
say that anything will do. It may volunteer a wish, wander off topic, hedge, thank, grow impatient
and leave.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import ELICITATION, STRATEGIES, Act
from unicrs_rl.simulators.seekers import (
    NOTHING,
    Actions,
    Answer,
    Intentions,
    Replies,
    SeekerContext,
    Seekers,
    common_attributes,
    has_attributes,
    random_attributes,
    uniform,
)
from unicrs_rl.simulators.wording import Manner

TRAITS = ("patience", "openness", "clarity", "sociability", "trustfulness")
MOODS = ("interest", "rapport", "trust", "mood", "pressure")


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The seeker's numbers. Source "INSPIRED": sized after its correlations; "assumed": our choice."""

    accept_base: float = -6.0
    """assumed: an unfitting item is taken once in 400"""
    accept_fit: float = 8.0
    """assumed: the target is taken with 0.88 by an average seeker"""
    accept_rapport: float = 0.35
    """INSPIRED: log-odds per standard deviation that give a correlation of about 0.15"""
    accept_trust: float = 0.60
    """INSPIRED: about 0.18"""
    accept_pressure: float = 0.33
    """INSPIRED: about -0.14"""
    rapport_of_sociability: float = 0.3
    """assumed"""
    trust_of_trustfulness: float = 0.4
    """assumed"""
    trust_fact: float = 0.05
    """assumed: trust won by each fact told about a recommended item"""
    wear: float = 0.7
    """assumed: each further use of the same strategy works this much as well as the one before"""
    pressure_early: float = 0.6
    """assumed: recommending in the first two turns"""
    pressure_repeat: float = 0.4
    """assumed: for each list in a row after the first"""
    pressure_memory: float = 0.9
    """assumed: share of the pressure left after a turn"""
    interest_yes: float = 0.15
    interest_no: float = -0.10
    interest_declined: float = -0.25
    interest_chat: float = -0.10
    """assumed: what keeps and loses interest"""
    mood_memory: float = 0.8
    open_specific: float = 0.5
    """assumed: chance that a wholly clear seeker opens with any wish rather than with a common one"""
    open_if_unclear: float = 0.25
    """assumed: chance that a seeker without any clarity does not commit to a true wish"""
    open_if_open: float = 0.35
    """assumed: chance that a wholly open seeker does not reject what is no wish"""
    volunteer: float = 0.30
    """assumed: chance that a wholly clear and sociable seeker adds a wish to a yes"""
    disclose: float = 0.60
    """assumed: chance that a wholly clear seeker answers an open question (chat that elicits)"""
    disclose_again: float = 0.5
    """assumed: each further open question works this much as well as the one before"""
    leave_base: float = -6.0
    leave_turn: float = 0.28
    leave_patience: float = -0.8
    leave_interest: float = -0.6
    leave_pressure: float = 0.5
    """assumed: log-odds of leaving after a turn"""
    intend_base: float = -2.0
    intend_fit: float = 4.0
    """assumed: log-odds of a high watching intention"""
    familiar: float = 0.35
    """assumed: share of an item's fit that its title alone tells"""
    learn_fact: float = 0.35
    """assumed: share of the rest that one fact tells a seeker of average trust"""
    persuade: float = 0.15
    """assumed: log-odds of intention per standard deviation of rapport less pressure"""


@cache
def strategy_effects() -> NDArray[np.float64]:
    """Effect of one use on (rapport, trust, pressure), in standard deviations: ``[strategies, 3]``."""
    text = resources.files(__package__).joinpath("strategy_effects.toml").read_text("utf-8")
    table = tomllib.loads(text)
    rows = [table[strategy.value] for strategy in STRATEGIES]
    return np.array([[row[c] / row["sd"] for c in ("warm", "persuasive", "pressure")] for row in rows])


class LatentSeekers(Seekers):
    """Seekers with hidden traits and moods.

    Args:
        context: what they are made from.
        coefficients: the numbers behind the behaviour.
    """

    strategic = True
    hidden = (*TRAITS, *MOODS)

    def __init__(
        self, context: SeekerContext, argument: str = "", coefficients: Coefficients = Coefficients()
    ) -> None:
        super().__init__(context, argument)
        self.coefficients, world = coefficients, context.world
        self._content = world.catalogue.content
        self.traits = np.zeros((0, len(TRAITS)))
        self.moods = np.zeros((0, len(MOODS)))
        self._uses = np.zeros((0, len(STRATEGIES)), dtype=np.int64)
        self._lists_in_a_row = np.zeros(0, dtype=np.int64)
        self._disclosed = np.zeros(0, dtype=np.int64)
        self._fit = np.zeros((0, world.catalogue.n_items), dtype=np.float32)

    @override
    def start(self, rows: NDArray[np.int64]) -> None:
        super().start(rows)
        batch = len(self.sessions)
        if len(self.traits) != batch:
            self.traits, self.moods = np.zeros((batch, len(TRAITS))), np.zeros((batch, len(MOODS)))
            self._uses = np.zeros((batch, len(STRATEGIES)), dtype=np.int64)
            self._lists_in_a_row = np.zeros(batch, dtype=np.int64)
            self._disclosed = np.zeros(batch, dtype=np.int64)
            self._fit = np.zeros((batch, self.world.catalogue.n_items), dtype=np.float32)
        keys = self.keys[rows]
        self.traits[rows] = np.stack([draws.normal(keys, purpose=name) for name in TRAITS], axis=1)
        c = self.coefficients
        _, _, _, sociability, trustfulness = self.traits[rows].T
        noise = {name: draws.normal(keys, purpose=f"{name} at first") for name in MOODS}
        self.moods[rows, 0] = 0.3 * noise["interest"]
        self.moods[rows, 1] = _blend(c.rapport_of_sociability, sociability, noise["rapport"])
        self.moods[rows, 2] = _blend(c.trust_of_trustfulness, trustfulness, noise["trust"])
        self.moods[rows, 3] = 0.5 * noise["mood"]
        self.moods[rows, 4] = noise["pressure"]
        self._uses[rows] = 0
        self._lists_in_a_row[rows] = 0
        self._disclosed[rows] = 0
        targets = self.targets[rows]
        fit = (self._content[targets] @ self._content.T).toarray()
        fit[np.arange(len(rows)), targets] = 1.0
        self._fit[rows] = fit

    def opening(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Something specific from a clear seeker, something common from an unclear one."""
        draw, targets = self._draw(rows, "opening"), self.targets[rows]
        specific = self._draw(rows, "clear opening") < self.coefficients.open_specific * self._chance(
            rows, "clarity"
        )
        anything = random_attributes(self.world, targets, draw)
        return np.where(specific, anything, common_attributes(self.world, targets, draw))

    @override
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        self._feel_strategy(rows, actions)
        answers = self._answers(rows, actions)
        place = self._choose(rows, actions)
        volunteered = self._volunteer(rows, actions, answers)
        declined = (actions.act == Act.RECOMMEND) & (place == NOTHING)
        self._feel_outcome(rows, actions, answers, declined)
        left = self._leave(rows) & (place == NOTHING)
        manner = self._manner(rows, answers, place != NOTHING)
        self.turns[rows] += 1
        return Replies(answers, volunteered, place, left, manner)

    @override
    def latents(self, row: int) -> dict[str, float]:
        names = (*TRAITS, *MOODS)
        values = (*self.traits[row], *self.moods[row])
        return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}

    @override
    def intentions(self, row: int, item: int, facts_told: int) -> Intentions:
        """By title: part of the fit; after the dialogue: what facts taught, and persuasion; informed: all."""
        c = self.coefficients
        _, rapport, trust, _, pressure = self.moods[row]
        fit = float(self._fit[row, item])
        known = c.familiar + (1 - c.familiar) * (1 - (1 - c.learn_fact * 2 * expit(trust)) ** facts_told)
        usual = float(self._fit[row].mean())

        def intention(seen_fit: float, push: float = 0.0) -> float:
            return float(1 + 4 * expit(c.intend_base + c.intend_fit * seen_fit + push))

        return Intentions(
            before=intention(usual + c.familiar * (fit - usual)),
            after=intention(usual + known * (fit - usual), c.persuade * (rapport - pressure)),
            informed=intention(fit),
        )

    def _chance(self, rows: NDArray[np.int64], trait: str) -> NDArray[np.float64]:
        """A trait as a number in (0, 1): ``[n]``."""
        chance: NDArray[np.float64] = expit(self.traits[rows, TRAITS.index(trait)])
        return chance

    def _draw(self, rows: NDArray[np.int64], purpose: str) -> NDArray[np.float64]:
        return uniform(self.keys[rows], self.turns[rows], purpose)

    def _feel_strategy(self, rows: NDArray[np.int64], actions: Actions) -> None:
        """Strategy, facts and timing move rapport, trust and pressure before the seeker answers."""
        c = self.coefficients
        worn = c.wear ** self._uses[rows, actions.strategy]
        warm, persuasive, press = (strategy_effects()[actions.strategy] * worn[:, None]).T
        self._uses[rows, actions.strategy] += 1
        lists = actions.act == Act.RECOMMEND
        self._lists_in_a_row[rows] = np.where(lists, self._lists_in_a_row[rows] + 1, 0)
        early = lists & (self.turns[rows] < 2)
        again = np.maximum(self._lists_in_a_row[rows] - 1, 0)
        self.moods[rows, 1] += warm * 2 * self._chance(rows, "sociability")
        informed = c.trust_fact * actions.facts_told * lists
        self.moods[rows, 2] += (persuasive + informed) * 2 * self._chance(rows, "trustfulness")
        pushed = press + c.pressure_early * early + c.pressure_repeat * again
        self.moods[rows, 4] = c.pressure_memory * self.moods[rows, 4] + pushed

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

    def _choose(self, rows: NDArray[np.int64], actions: Actions) -> NDArray[np.int64]:
        """Place of the accepted item, ``[n]``: the best-fitting one is considered, and taken or not."""
        c = self.coefficients
        fit = self._fit[rows[:, None], np.maximum(actions.items, 0)].astype(np.float64)
        fit[actions.items == NOTHING] = -1.0
        best = fit.argmax(axis=1)
        _, rapport, trust, _, pressure = self.moods[rows].T
        logit = c.accept_base + c.accept_fit * fit[np.arange(len(rows)), best]
        logit += c.accept_rapport * rapport + c.accept_trust * trust - c.accept_pressure * pressure
        offered = (actions.act == Act.RECOMMEND) & (actions.items[:, 0] != NOTHING)
        taken = offered & (self._draw(rows, "accept") < expit(logit))
        return np.where(taken, best, NOTHING)

    def _volunteer(
        self, rows: NDArray[np.int64], actions: Actions, answers: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """A further wish mentioned unasked, or :data:`NOTHING`: ``[n]``."""
        c = self.coefficients
        clarity, sociability = self._chance(rows, "clarity"), self._chance(rows, "sociability")
        eliciting = np.array([strategy in ELICITATION for strategy in STRATEGIES])[actions.strategy]
        chance = np.where((answers == Answer.YES).any(axis=1), c.volunteer * clarity * sociability, 0.0)
        told = c.disclose * clarity * c.disclose_again ** self._disclosed[rows]
        chance = np.where((actions.act == Act.CHAT) & eliciting, told, chance)
        self._disclosed[rows] += (actions.act == Act.CHAT) & eliciting
        attribute = common_attributes(self.world, self.targets[rows], self._draw(rows, "which wish"))
        fresh = (attribute[:, None] != actions.attributes).all(axis=1)
        return np.where(fresh & (self._draw(rows, "wish") < chance), attribute, NOTHING)

    def _feel_outcome(
        self,
        rows: NDArray[np.int64],
        actions: Actions,
        answers: NDArray[np.int64],
        declined: NDArray[np.bool_],
    ) -> None:
        c = self.coefficients
        change = c.interest_yes * (answers == Answer.YES).any(axis=1)
        change = change + c.interest_no * (answers == Answer.NO).any(axis=1)
        change = change + c.interest_declined * declined + c.interest_chat * (actions.act == Act.CHAT)
        self.moods[rows, 0] += change
        shock = 0.3 * draws.normal(self.keys[rows], self.turns[rows], "mood")
        self.moods[rows, 3] = c.mood_memory * self.moods[rows, 3] + 0.2 * self.moods[rows, 0] + shock

    def _leave(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        c = self.coefficients
        interest, _, _, _, pressure = self.moods[rows].T
        logit = c.leave_base + c.leave_turn * self.turns[rows] + c.leave_interest * interest
        logit += c.leave_patience * self.traits[rows, 0] + c.leave_pressure * pressure
        leaves: NDArray[np.bool_] = self._draw(rows, "leave") < expit(logit)
        return leaves

    def _manner(
        self,
        rows: NDArray[np.int64],
        answers: NDArray[np.int64],
        accepted: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """How the reply is worded, from mood and traits: ``[n]``."""
        draw = self._draw(rows, "manner")
        sociable = self._chance(rows, "sociability")
        unclear = 1 - self._chance(rows, "clarity")
        tired = expit(-1.5 - self.moods[rows, 0] + 0.5 * self.moods[rows, 4] - self.traits[rows, 0])
        manner = np.full(len(rows), Manner.PLAIN, dtype=np.int64)
        warmth: NDArray[np.float64] = expit(self.moods[rows, 1] + 0.5 * self.moods[rows, 3])
        manner[draw < 0.7 * warmth] = Manner.WARM
        manner[(draw < 0.25 * unclear) & (answers == Answer.YES).any(axis=1)] = Manner.HEDGING
        aside = (draw > 0.92) & (self._draw(rows, "aside") < sociable)
        manner[aside] = Manner.ASIDE
        impatient = (
            self._draw(rows, "impatience") < tired * np.minimum(self.turns[rows] / 6, 1.0)
        ) & ~accepted
        manner[impatient] = Manner.IMPATIENT
        return manner


def _blend(weight: float, cause: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """A standard normal variable that correlates ``weight`` with a standard normal cause."""
    blend: NDArray[np.float64] = weight * cause + np.sqrt(1 - weight**2) * noise
    return blend
