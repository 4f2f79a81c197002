"""What a seeker believes of items, and how much it therefore intends to watch them.

How well an item fits is a number in [0, 1] that the seeker does not know, but holds a normal belief
about. The title alone gives the prior: mean ``m0 = usual + familiar * (fit - usual)``, where ``usual``
is the mean fit of all items, with precision 1. What the seeker meets are observations, each with a
precision:

- *facts* told of the item show its true fit, the more the seeker trusts the recommender;
- *opinions* (:data:`OPINIONS`) while the item is on offer say that it fits perfectly (1, whatever the
  truth), and weigh the more the more rapport there is, less the pressure that is felt;
- *fit*: an item on offer is looked at once, and shows something of its true fit by itself.

The posterior mean is in closed form (conjugate normal): ``m = (m0 + Σ p_e v_e) / (1 + Σ p_e)``. The
watching intention, 1 to 5, is ``1 + 4 sigmoid(base + slope * m)``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from unicrs_rl.dialogue import STRATEGIES, Act, Fact, Strategy

if TYPE_CHECKING:
    from unicrs_rl.simulators.seekers import Actions

EVIDENCE = ("facts", "opinions", "fit")
"""What moves a belief."""
OPINIONS = frozenset(
    {
        Strategy.PERSONAL_OPINION,
        Strategy.PERSONAL_EXPERIENCE,
        Strategy.CREDIBILITY,
        Strategy.ENCOURAGEMENT,
    }
)
"""Strategies by which a recommender stands up for what it recommends."""
_NOTHING = -1
_VOICED = np.array([strategy in OPINIONS for strategy in STRATEGIES])


@dataclass(frozen=True, slots=True)
class Intentions:
    """Watching intention for the recommended item, 1 to 5.

    Attributes:
        before: by title alone.
        after: after the dialogue.
        informed: knowing all facts.
    """

    before: float
    after: float
    informed: float


@dataclass(frozen=True, slots=True)
class Belief:
    """What a seeker believes of an item, and why.

    Attributes:
        item: the one that was considered last.
        prior: watching intention by title alone, 1 to 5.
        evidence: what each kind of evidence adds to the log-odds of the intention: the log-odds of
            ``(posterior - 1) / 4`` are those of ``(prior - 1) / 4`` and the sum of these.
        posterior: watching intention now, 1 to 5.
    """

    item: int
    prior: float
    evidence: Mapping[str, float]
    posterior: float


@dataclass(frozen=True, slots=True)
class Credence:
    """How evidence is weighed. All assumed; the last two make an average seeker learn a third of what it
    does not know yet from the first fact, and a tenth of it by looking.

    Attributes:
        base, slope: log-odds of the intention without fit, and what the whole fit adds.
        familiar: share of an item's fit that its title alone tells.
        opinion: precision of an opinion, times ``2 sigmoid(rapport - pressure)``.
        fact: precision of a fact, times ``2 sigmoid(trust)``.
        look: precision of what a look at an item tells.
    """

    base: float = -2.0
    slope: float = 4.0
    familiar: float = 0.35
    opinion: float = 0.1
    fact: float = 0.5
    look: float = 0.1


class ItemBeliefs:
    """The beliefs of a batch of seekers about items: what is kept are the items they heard of.

    Args:
        credence: how evidence is weighed.
    """

    def __init__(self, credence: Credence) -> None:
        self.credence = credence
        self.considered = np.zeros(0, dtype=np.int64)
        self._seen: list[set[int]] = []
        self._facts: list[defaultdict[int, float]] = []
        self._opinions: list[defaultdict[int, float]] = []
        self._known: list[set[Fact]] = []

    def start(self, rows: NDArray[np.int64], batch: int) -> None:
        """Forget what the seekers ``rows`` learned; there are ``batch`` in all."""
        if len(self.considered) != batch:
            self.considered = np.full(batch, _NOTHING)
            self._seen, self._known = [set() for _ in range(batch)], [set() for _ in range(batch)]
            self._facts = [defaultdict(float) for _ in range(batch)]
            self._opinions = [defaultdict(float) for _ in range(batch)]
        self.considered[rows] = _NOTHING
        for row in rows.tolist():
            for memory in (self._seen, self._known, self._facts, self._opinions):
                memory[row].clear()

    def hear(
        self,
        rows: NDArray[np.int64],
        actions: Actions,
        best: NDArray[np.int64],
        trust: NDArray[np.float64],
        warmth: NDArray[np.float64],
    ) -> None:
        """Learn from a turn in the conversations ``rows``; a fact told twice counts once.

        Args:
            actions: what the recommenders did. Without the facts themselves their number counts.
            best: ``[n]``, the item that is considered, if items are on offer.
            trust, warmth: ``[n]``, how facts and opinions are weighed.
        """
        c = self.credence
        offering = (actions.act == Act.RECOMMEND) & (actions.items[:, 0] != _NOTHING)
        credible = (c.fact * 2 * expit(trust)).tolist()
        weights = (c.opinion * 2 * expit(warmth) * _VOICED[actions.strategy]).tolist()
        places, told = rows.tolist(), actions.facts_told.tolist()
        self.considered[rows[offering]] = best[offering]
        for index in np.flatnonzero(offering).tolist():
            row, items = places[index], actions.items[index].tolist()
            self._seen[row].update(items)
            self._opinions[row][items[0]] += weights[index]
            if not actions.facts:
                self._facts[row][items[0]] += credible[index] * told[index]
        for index, facts in enumerate(actions.facts):
            row = places[index]
            for fact in set(facts) - self._known[row]:
                self._known[row].add(fact)
                self._facts[row][fact.item] += credible[index]

    def belief(self, row: int, item: int, fit: float, usual: float) -> Belief:
        """What the seeker of a row believes of an item now.

        Args:
            fit: of the item, which the seeker does not know.
            usual: mean fit of all items.
        """
        prior = usual + self.credence.familiar * (fit - usual)
        look = self.credence.look if item in self._seen[row] else 0.0
        precision = np.array([self._facts[row].get(item, 0.0), self._opinions[row].get(item, 0.0), look])
        pulls = precision * (np.array([fit, 1.0, fit]) - prior) / (1.0 + precision.sum())
        evidence = {
            kind: float(self.credence.slope * pull) for kind, pull in zip(EVIDENCE, pulls, strict=True)
        }
        return Belief(item, self._intention(prior), evidence, self._intention(prior + pulls.sum()))

    def intentions(self, row: int, item: int, fit: float, usual: float) -> Intentions:
        """By title alone, as it is now, and knowing all: arguments as in :meth:`belief`."""
        now = self.belief(row, item, fit, usual)
        return Intentions(before=now.prior, after=now.posterior, informed=self._intention(fit))

    def _intention(self, mean_fit: float) -> float:
        return float(1 + 4 * expit(self.credence.base + self.credence.slope * mean_fit))
