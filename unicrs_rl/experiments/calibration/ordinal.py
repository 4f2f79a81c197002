"""Two small regularised models: the ordered probit of a rating and the logistic model of an outcome.

Both penalise the squares of their slopes (ridge; the columns of the design are standardised by the
caller), never cutpoints or intercepts, and are fitted by L-BFGS with analytic gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_ndtr, ndtri

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_TINY = 1e-300


@dataclass(frozen=True)
class OrderedProbit:
    """``P(y <= c) = Φ(cutpoint_c - x·slopes)`` for ratings ``y`` in ``0 … categories - 1``.

    Attributes:
        slopes: ``[columns]``, in standard deviations of the latent noise.
        cutpoints: ``[categories - 1]``, ascending.
    """

    slopes: Vector
    cutpoints: Vector

    @classmethod
    def fit(
        cls,
        x: Matrix,
        y: NDArray[np.int64],
        categories: int,
        penalty: float,
        start: OrderedProbit | None = None,
    ) -> OrderedProbit:
        """Maximise ``Σ log P(y_i) - penalty/2 · |slopes|²``.

        Args:
            x: ``[n, columns]``.
            y: ``[n]``.
            penalty: of the ridge.
            start: where to begin; by default at no effect and the ratings' own shares.
        """
        if start is None:
            share = (np.bincount(y, minlength=categories) + 0.5) / (len(y) + 0.5 * categories)
            start = cls(np.zeros(x.shape[1]), ndtri(np.cumsum(share)[:-1]))
        columns = x.shape[1]

        def loss(parameters: Vector) -> tuple[float, Vector]:
            slopes, cutpoints = parameters[:columns], _cutpoints(parameters[columns:])
            log_p, d_upper, d_lower = _terms(x @ slopes, y, cutpoints)
            d_cut = np.bincount(y, d_upper, categories)[:-1] - np.bincount(y, d_lower, categories)[1:]
            gaps = np.exp(parameters[columns + 1 :])
            after = np.cumsum(d_cut[::-1])[::-1]  # raising one cutpoint's gap raises all above it
            gradient = np.concatenate([-(x.T @ (d_upper - d_lower)), after[:1], after[1:] * gaps])
            penalised = log_p.sum() - penalty / 2 * (slopes @ slopes)
            gradient[:columns] -= penalty * slopes
            return -penalised, -gradient

        first = np.concatenate([start.slopes, start.cutpoints[:1], np.log(np.diff(start.cutpoints))])
        found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"gtol": 1e-4, "maxiter": 500}).x
        return cls(found[:columns], _cutpoints(found[columns:]))

    def log_likelihood(self, x: Matrix, y: NDArray[np.int64]) -> Vector:
        """``log P(y_i | x_i)``: ``[n]``."""
        return _terms(x @ self.slopes, y, self.cutpoints)[0]

    def expected(self, x: Matrix, y: NDArray[np.int64]) -> Vector:
        """The mean of the latent variable given the rating: ``E[latent_i | x_i, y_i]``, ``[n]``.

        It is ``x·slopes + (φ(lower) - φ(upper)) / P(y)``, the mean of a truncated normal variable.
        """
        centre = x @ self.slopes
        _, d_upper, d_lower = _terms(centre, y, self.cutpoints)
        found: Vector = centre + d_lower - d_upper
        return found


@dataclass(frozen=True)
class Logistic:
    """``P(y = 1) = sigmoid(base + x·slopes)``.

    Attributes:
        slopes: ``[columns]``.
        base: intercept.
    """

    slopes: Vector
    base: float

    @classmethod
    def fit(cls, x: Matrix, y: NDArray[np.bool_], penalty: float, start: Logistic | None = None) -> Logistic:
        """Maximise ``Σ log P(y_i) - penalty/2 · |slopes|²``.

        Args:
            x: ``[n, columns]``.
            y: ``[n]``.
            penalty: of the ridge.
            start: where to begin.
        """
        start = start or cls(np.zeros(x.shape[1]), 0.0)

        def loss(parameters: Vector) -> tuple[float, Vector]:
            slopes = parameters[1:]
            logit = parameters[0] + x @ slopes
            off = y - expit(logit)
            value = np.logaddexp(0, np.where(y, -logit, logit)).sum() + penalty / 2 * (slopes @ slopes)
            return float(value), -np.concatenate([[off.sum()], x.T @ off - penalty * slopes])

        first = np.concatenate([[start.base], start.slopes])
        found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"gtol": 1e-4, "maxiter": 500}).x
        return cls(found[1:], float(found[0]))

    def log_likelihood(self, x: Matrix, y: NDArray[np.bool_]) -> Vector:
        """``log P(y_i | x_i)``: ``[n]``."""
        logit = self.base + x @ self.slopes
        found: Vector = -np.logaddexp(0, np.where(y, -logit, logit))
        return found


def _cutpoints(parameters: Vector) -> Vector:
    """Ascending cutpoints from the first and the logarithms of the gaps."""
    found: Vector = parameters[0] + np.concatenate([[0.0], np.cumsum(np.exp(parameters[1:]))])
    return found


def _terms(centre: Vector, y: NDArray[np.int64], cutpoints: Vector) -> tuple[Vector, Vector, Vector]:
    """``log P(y)``, and its derivatives to the cutpoints above and (sign turned) below: ``[n]`` each."""
    edges = np.concatenate([[-np.inf], cutpoints, [np.inf]])
    upper, lower = edges[y + 1] - centre, edges[y] - centre
    flip = lower > 0  # in the upper tail, differences of Φ cancel
    high, low = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    log_high = log_ndtr(high)
    with np.errstate(divide="ignore"):
        log_p = log_high + np.log1p(-np.exp(np.minimum(log_ndtr(low) - log_high, -_TINY)))
    log_p = np.maximum(log_p, np.log(_TINY))
    return log_p, np.exp(_log_density(upper) - log_p), np.exp(_log_density(lower) - log_p)


def _log_density(value: Vector) -> Vector:
    found: Vector = -0.5 * value**2 - 0.5 * np.log(2 * np.pi)
    return found
