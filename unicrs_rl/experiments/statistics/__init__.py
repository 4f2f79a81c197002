"""Statistics of a comparison, one idea a file; the tests and resamplings are SciPy's and statsmodels'.

The unit of analysis is the (seeker, target, simulator seed) triple, which every arm meets with the same
random numbers; the training seed is a random effect of each arm that learns.
"""

from unicrs_rl.experiments.statistics.comparison import Paired, compare_arms, interval_of_arm, paired
from unicrs_rl.experiments.statistics.families import Family, holm
from unicrs_rl.experiments.statistics.hierarchical import hierarchical_interval
from unicrs_rl.experiments.statistics.intervals import entropy, interval_of_mean, interval_of_total
from unicrs_rl.experiments.statistics.power import Components, components_of, detectable, needed, power
from unicrs_rl.experiments.statistics.seeds import SeedNoise, Spread, mean_over_seeds, reach, spread
from unicrs_rl.experiments.statistics.sequential import Look, boundaries, look, sequential_p

__all__ = [
    "Components",
    "Family",
    "Look",
    "Paired",
    "SeedNoise",
    "Spread",
    "boundaries",
    "compare_arms",
    "components_of",
    "detectable",
    "entropy",
    "hierarchical_interval",
    "holm",
    "interval_of_arm",
    "interval_of_mean",
    "interval_of_total",
    "look",
    "mean_over_seeds",
    "needed",
    "paired",
    "power",
    "reach",
    "sequential_p",
    "spread",
]
