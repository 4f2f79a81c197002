"""How likely a difference of a given size is to be detected, with how many dialogues and training seeds.

The test of :mod:`~unicrs_rl.experiments.statistics.seeds` is tried on sums of squares as they would be
distributed, under normal effects. For rules that comes to the power of the paired t test (as statsmodels has
it, whose noncentral t distribution, SciPy's, is NaN at some sizes, and which knows no training seeds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unicrs_rl.experiments.statistics.intervals import SEED
from unicrs_rl.experiments.statistics.seeds import SeedNoise, mean_over_seeds, reach, spread

DRAWS = 4_000
MOST = 1_000_000
"""No more dialogues than these are thought of."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How an arm's trainings vary, in squared units of the metric.

    Attributes:
        between: variance of a training's mean; ``None``: not known, of an arm that was trained once.
        rest: variance of a value about its training and its dialogue.
        seeds: trainings that this was found from.
    """

    between: float | None
    rest: float
    seeds: int


@dataclass(frozen=True, slots=True)
class Components:
    """What the variance of a difference is made of.

    Attributes:
        dialogues: variance, over dialogues, of the difference that remains however many trainings are
            averaged.
        trained: of the arms that learn; none of two rules.
        share: of dialogues in which both arms have a value.
    """

    dialogues: float
    trained: tuple[Trained, ...]
    share: float

    def variance(self, dialogues: float, seeds: int) -> float:
        """Of the mean difference with so many dialogues that have a value, and trainings of each arm."""
        between = sum((one.between or 0.0) + one.rest / dialogues for one in self.trained)
        return between / seeds + self.dialogues / dialogues

    def within(self, seeds: int) -> float:
        """Of the difference in one dialogue, averaged over so many trainings of each arm, as they are."""
        return self.dialogues + sum(one.rest for one in self.trained) / seeds


def components_of(
    a: NDArray[np.float64], b: NDArray[np.float64], learned: tuple[bool, bool] = (True, True)
) -> Components:
    """Variance components of the difference of two arms, ``[seeds, dialogues]`` each.

    Raises:
        ValueError: if fewer than two dialogues have a value with both.
    """
    everything = mean_over_seeds(a) - mean_over_seeds(b)
    complete = ~np.isnan(everything)
    gaps = everything[complete]
    if len(gaps) < 2:
        raise ValueError("fewer than two dialogues with a value")
    trained, averaged = [], 0.0
    for table, learns in ((a, learned[0]), (b, learned[1])):
        if not learns:
            continue
        found = spread(table[:, complete])
        if found is None:  # what varies with a single training cannot be told from what does not
            trained.append(Trained(None, 0.0, 1))
        else:
            trained.append(Trained(found.between, found.rest, found.seeds))
            averaged += found.rest / found.seeds
    dialogues = max(0.0, float(gaps.var(ddof=1)) - averaged)
    return Components(dialogues, tuple(trained), float(complete.mean()))


def power(components: Components, difference: float, dialogues: int, seeds: int, alpha: float) -> float:
    """Chance to detect a difference at a two-sided level.

    With one training of each arm it is the chance to detect the difference between these trainings.
    """
    return _chances(components, dialogues, seeds, alpha)(difference)


def needed(components: Components, difference: float, seeds: int, alpha: float, wanted: float) -> int | None:
    """Fewest dialogues that detect a difference with the power wanted; ``None``: no number does."""
    low, high = 2, MOST
    if power(components, difference, high, seeds, alpha) < wanted:
        return None
    while low < high:
        middle = (low + high) // 2
        enough = power(components, difference, middle, seeds, alpha) >= wanted
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def detectable(
    components: Components, dialogues: int, seeds: int, alpha: float, wanted: float
) -> float | None:
    """Smallest difference that is detected with the power wanted; ``None`` of arms that do not vary."""
    pairs = int(dialogues * components.share)
    if pairs < 2 or components.variance(pairs, seeds) == 0.0:
        return None
    chance = _chances(components, dialogues, seeds, alpha)
    low, high = 0.0, float(np.sqrt(components.variance(pairs, seeds)))
    while chance(high) < wanted:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    return high


def _chances(components: Components, dialogues: int, seeds: int, alpha: float) -> Callable[[float], float]:
    """The power as a function of the difference, at one size.

    How far an interval reaches is drawn, as sums of squares are distributed, with the same random numbers
    at every size; the difference itself is normal and independent of it, so its share is computed.
    """
    pairs = int(dialogues * components.share)
    if pairs < 2:
        return lambda _: 0.0
    rng = np.random.default_rng(SEED)
    variance = components.within(seeds) / pairs
    found = variance * rng.chisquare(pairs - 1, DRAWS) / (pairs - 1)
    known = [one for one in components.trained if one.between is not None] if seeds > 1 else []
    if not any(one.between or one.rest for one in known):
        reached, error = reach(alpha, found, pairs, None), variance**0.5
    else:
        noise = np.array([one.rest / pairs for one in known])[:, None]
        between = np.array([one.between for one in known])[:, None]
        observed = (between + noise) * rng.chisquare(seeds - 1, (len(known), DRAWS)) / (seeds - 1)
        freedom = np.full(len(known), seeds - 1)
        spreads = SeedNoise.added(np.maximum(0.0, observed - noise) / seeds, observed / seeds, freedom)
        reached = reach(alpha, found, pairs, spreads)
        error = components.variance(pairs, seeds) ** 0.5
    if error == 0.0:
        return lambda difference: float(difference != 0.0)
    ends = np.sqrt(reached)

    def chance(difference: float) -> float:
        above, below = (ends - difference) / error, (-ends - difference) / error
        return float((stats.norm.sf(above) + stats.norm.cdf(below)).mean())

    return chance
