"""Estimating how strategies move percepts, and how these move acceptance, from rated human dialogues.

Percepts by ridge-regularised ordered probit, acceptance by ridge-regularised logistic regression on
the percepts' expected latent values given the ratings, on effective uses and on the fit. Penalties and
wear by cross-validation, intervals by the bootstrap, both over dialogues.

The effects are small (no strategy explains 2% of any rating), and the penalty that predicts best
shrinks them by half. A simulator that is to show what people show must not be shrunk more than the
data demand: of the penalties whose cross-validated log-likelihood is within one standard error (of the
paired difference over dialogues) of the best, the weakest is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri

from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.experiments.calibration.ordinal import Logistic, Matrix, OrderedProbit, Vector
from unicrs_rl.experiments.calibration.survey import RATINGS, Sample, effective
from unicrs_rl.simulators.effects import PERCEPTS, SURVEY_TRAITS

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
WEARS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FOLDS = 10
_POINTS = 40
_TINY = 1e-12
Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much."""


@dataclass(frozen=True)
class Settings:
    """What cross-validation chose.

    Attributes:
        wear: each further use counts this much as the one before.
        perception: penalty of the ordered probits.
        acceptance: penalty of the logistic model.
    """

    wear: float
    perception: float
    acceptance: float


@dataclass(frozen=True)
class Fitted:
    """Coefficients per effective use, per standard deviation of a trait, per unit of a latent value.

    Attributes:
        beta: ``[strategies, percepts]``.
        gamma: ``[traits, percepts]``.
        cutpoints: ``[percepts, 4]``.
        base: log-odds of acceptance with nothing done and the fit at its mean.
        fit: log-odds per unit of the proxy.
        a: ``[percepts]``.
        delta: ``[strategies]``.
    """

    beta: Matrix
    gamma: Matrix
    cutpoints: Matrix
    base: float
    fit: float
    a: Vector
    delta: Vector

    def vector(self) -> Vector:
        """All numbers in one row."""
        parts = (self.beta, self.gamma, self.cutpoints, [self.base, self.fit], self.a, self.delta)
        return np.concatenate([np.ravel(part) for part in parts])

    @classmethod
    def of(cls, vector: Vector) -> Fitted:
        """The inverse of :meth:`vector`."""
        strategies, traits, percepts = len(STRATEGIES), len(SURVEY_TRAITS), len(PERCEPTS)
        sizes = (strategies * percepts, traits * percepts, percepts * (RATINGS - 1), 2, percepts)
        beta, gamma, cutpoints, (base, fit), a, delta = np.split(vector, np.cumsum(sizes))
        return cls(
            beta.reshape(strategies, percepts),
            gamma.reshape(traits, percepts),
            cutpoints.reshape(percepts, -1),
            float(base),
            float(fit),
            a,
            delta,
        )


@dataclass(frozen=True)
class _Scaled:
    """A design whose columns have mean 0 and standard deviation 1; constant columns are 0."""

    mean: Vector
    sd: Vector

    @classmethod
    def of(cls, x: Matrix) -> _Scaled:
        sd = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(sd > 0, sd, np.inf))

    def __call__(self, x: Matrix) -> Matrix:
        found: Matrix = (x - self.mean) / self.sd
        return found


@dataclass(frozen=True)
class _Models:
    """All models of one set of dialogues, on scaled designs."""

    perception_scale: _Scaled
    perception: tuple[OrderedProbit, ...]
    acceptance_scale: _Scaled
    acceptance: Logistic


def choose(sample: Sample, seed: int, progress: Progress) -> Settings:
    """Wear and penalties by ten-fold cross-validation over dialogues."""
    fold = np.random.default_rng(seed).permutation(len(sample)) % FOLDS
    perception = np.zeros((len(WEARS), len(PENALTIES), len(sample)))
    acceptance = np.zeros_like(perception)
    for w, wear in enumerate(WEARS):
        progress("cross-validation", w, len(WEARS))
        for k in range(FOLDS):
            learned, held = sample.take(fold != k), sample.take(fold == k)
            models: _Models | None = None
            for p, penalty in enumerate(PENALTIES):
                models = _fit(learned, Settings(wear, penalty, penalty), models)
                perception[w, p, fold == k], acceptance[w, p, fold == k] = _log_likelihood(models, held, wear)
    progress("cross-validation", len(WEARS), len(WEARS))
    together = perception.mean(axis=2).max(axis=1) + acceptance.mean(axis=2).max(axis=1)
    best = int(together.argmax())
    return Settings(WEARS[best], _weakest(perception[best]), _weakest(acceptance[best]))


def estimate(sample: Sample, settings: Settings) -> Fitted:
    """The coefficients."""
    return _unscaled(_fit(sample, settings, None))


def bootstrap(
    sample: Sample, settings: Settings, resamples: int, seed: int, progress: Progress
) -> tuple[Fitted, Fitted]:
    """Ends of the 95% percentile intervals of all coefficients, dialogues drawn with replacement."""
    rng = np.random.default_rng(seed)
    start = _fit(sample, settings, None)
    drawn = []
    for done in range(resamples):
        progress("bootstrap", done, resamples)
        rows = rng.integers(len(sample), size=len(sample))
        drawn.append(_unscaled(_fit(sample.take(rows), settings, start)).vector())
    progress("bootstrap", resamples, resamples)
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    return Fitted.of(low), Fitted.of(high)


def residual_correlation(sample: Sample, fitted: Fitted, wear: float) -> Matrix:
    """Correlation of the percepts' noise, given strategies and traits: ``[percepts, percepts]``.

    Polychoric correlations of the ratings (maximum likelihood, margins fixed) less what strategies and
    traits bring into them; the nearest correlation matrix by clipping eigenvalues.
    """
    explained = np.cov((effective(sample.uses, wear) @ fitted.beta + sample.traits @ fitted.gamma).T)
    scale = np.sqrt(1 + np.diag(explained))
    found = np.eye(len(PERCEPTS))
    for i, j in combinations(range(len(PERCEPTS)), 2):
        total = polychoric(sample.ratings[:, i], sample.ratings[:, j])
        found[i, j] = found[j, i] = total * scale[i] * scale[j] - explained[i, j]
    values, vectors = np.linalg.eigh(found)
    whole = vectors * np.maximum(values, 1e-3) @ vectors.T
    sd = np.sqrt(np.diag(whole))
    nearest: Matrix = whole / np.outer(sd, sd)
    return nearest


def polychoric(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Correlation of two normal variables that were seen only as ratings 0 to 4 (Olsson, 1979).

    Args:
        a, b: ``[n]``.
    """
    table = np.zeros((RATINGS, RATINGS))
    np.add.at(table, (a, b), 1)
    rows, columns = (np.cumsum(np.r_[0.0, table.sum(axis=axis)]) / table.sum() for axis in (1, 0))
    columns = ndtri(columns.clip(0, 1))
    # the first variable within each of its ratings, at the midpoints of equal shares: [RATINGS, POINTS]
    u = ndtri(rows[:-1, None] + np.diff(rows)[:, None] * (np.arange(_POINTS) + 0.5) / _POINTS)

    def loss(rho: float) -> float:
        below = ndtr((columns - rho * u[..., None]) / np.sqrt(1 - rho**2))
        inside = np.diff(below, axis=2).mean(axis=1)
        return float(-(table * np.log(np.maximum(inside, _TINY))).sum())

    found = minimize_scalar(loss, bounds=(-0.99, 0.99), method="bounded")
    return float(found.x)


def _fit(sample: Sample, settings: Settings, start: _Models | None) -> _Models:
    x = effective(sample.uses, settings.wear)
    design = np.hstack([x, sample.traits])
    scale = _Scaled.of(design)
    scaled = scale(design)
    probits = tuple(
        OrderedProbit.fit(
            scaled, sample.ratings[:, k], RATINGS, settings.perception, start.perception[k] if start else None
        )
        for k in range(len(PERCEPTS))
    )
    felt = np.stack([m.expected(scaled, sample.ratings[:, k]) for k, m in enumerate(probits)], axis=1)
    causes = _causes(felt, x, sample.fit)
    causes_scale = _Scaled.of(causes)
    logistic = Logistic.fit(
        causes_scale(causes), sample.accepted, settings.acceptance, start.acceptance if start else None
    )
    return _Models(scale, probits, causes_scale, logistic)


def _causes(felt: Matrix, x: Matrix, fit: Vector) -> Matrix:
    """What acceptance may depend on: percepts, effective uses, and the fit, at its mean where unknown."""
    known = fit[~np.isnan(fit)]
    filled = np.where(np.isnan(fit), known.mean() if len(known) else 0.0, fit)
    return np.hstack([felt, x, filled[:, None]])


def _log_likelihood(models: _Models, held: Sample, wear: float) -> tuple[Vector, Vector]:
    """Of percepts together and of acceptance, by dialogue: ``[n]`` each."""
    x = effective(held.uses, wear)
    scaled = models.perception_scale(np.hstack([x, held.traits]))
    percepts, felt = np.zeros(len(held)), np.zeros((len(held), len(PERCEPTS)))
    for k, model in enumerate(models.perception):
        percepts += model.log_likelihood(scaled, held.ratings[:, k])
        felt[:, k] = model.expected(scaled, held.ratings[:, k])
    causes = models.acceptance_scale(_causes(felt, x, held.fit))
    return percepts, models.acceptance.log_likelihood(causes, held.accepted)


def _weakest(log_likelihood: Matrix) -> float:
    """The weakest penalty within one standard error of the best: from ``[penalties, n]``."""
    best = log_likelihood[log_likelihood.mean(axis=1).argmax()]
    for penalty, values in zip(PENALTIES, log_likelihood, strict=True):
        loss = best - values
        if loss.mean() <= loss.std() / np.sqrt(len(loss)):
            return penalty
    raise AssertionError("the best is within one standard error of itself")


def _unscaled(models: _Models) -> Fitted:
    """Coefficients of the columns as they are.

    Cutpoints in the models stand against centred columns; against the columns themselves they are
    higher by what the means bring.
    """
    scale, probits = models.perception_scale, models.perception
    slopes = np.stack([m.slopes / scale.sd for m in probits], axis=1)
    slopes_of_causes = models.acceptance.slopes / models.acceptance_scale.sd
    strategies, percepts = len(STRATEGIES), len(PERCEPTS)
    return Fitted(
        beta=slopes[:strategies],
        gamma=slopes[strategies:],
        cutpoints=np.stack([m.cutpoints + scale.mean @ slopes[:, k] for k, m in enumerate(probits)]),
        base=float(models.acceptance.base - models.acceptance_scale.mean @ slopes_of_causes),
        fit=float(slopes_of_causes[-1]),
        a=slopes_of_causes[:percepts],
        delta=slopes_of_causes[percepts:-1],
    )
