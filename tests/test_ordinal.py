"""The ordered probit and the logistic model: the right estimates, and the penalty they are told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from unicrs_rl.experiments.calibration.estimation import polychoric
from unicrs_rl.experiments.calibration.ordinal import Logistic, OrderedProbit

SLOPES = np.array([0.5, -0.3, 0.0])
CUTPOINTS = np.array([-1.5, -0.7, 0.2, 1.1])


def rated(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    latent = x @ SLOPES + rng.standard_normal(n)
    return x, (latent[:, None] > CUTPOINTS).sum(axis=1)


def test_ordered_probit_finds_the_coefficients() -> None:
    x, y = rated(20_000)
    found = OrderedProbit.fit(x, y, 5, penalty=0.0)
    np.testing.assert_allclose(found.slopes, SLOPES, atol=0.03)
    np.testing.assert_allclose(found.cutpoints, CUTPOINTS, atol=0.04)


def test_ordered_probit_is_the_maximum_of_its_own_definition() -> None:
    """Against a likelihood written down plainly, maximised without gradients of ours."""
    x, y = rated(120)
    penalty = 7.0

    def loss(parameters: NDArray[np.float64]) -> float:
        edges = np.concatenate([[-np.inf], np.sort(parameters[3:]), [np.inf]])
        centre = x @ parameters[:3]
        p = norm.cdf(edges[y + 1] - centre) - norm.cdf(edges[y] - centre)
        return float(-np.log(p).sum() + penalty / 2 * (parameters[:3] ** 2).sum())

    plain = minimize(loss, np.r_[np.zeros(3), CUTPOINTS], method="BFGS", options={"gtol": 1e-5}).x
    found = OrderedProbit.fit(x, y, 5, penalty)
    np.testing.assert_allclose(np.r_[found.slopes, found.cutpoints], plain, atol=2e-3)
    np.testing.assert_allclose(
        -found.log_likelihood(x, y).sum() + penalty / 2 * found.slopes @ found.slopes, loss(plain), rtol=1e-6
    )


def test_a_warm_start_changes_nothing_but_the_way() -> None:
    x, y = rated(300)
    cold = OrderedProbit.fit(x, y, 5, 10.0)
    warm = OrderedProbit.fit(x, y, 5, 10.0, start=OrderedProbit.fit(x, y, 5, 1000.0))
    np.testing.assert_allclose(warm.slopes, cold.slopes, atol=1e-3)


def test_the_penalty_shrinks_slopes_and_leaves_the_margins() -> None:
    x, y = rated(2_000)
    free, held = (OrderedProbit.fit(x, y, 5, penalty) for penalty in (0.0, 1e7))
    assert np.abs(held.slopes).max() < 1e-3 < np.abs(free.slopes).max()
    shares = np.diff(np.r_[0.0, norm.cdf(held.cutpoints), 1.0])
    np.testing.assert_allclose(shares, np.bincount(y, minlength=5) / len(y), atol=2e-3)


def test_a_rating_nobody_gave_and_far_values_stay_finite() -> None:
    x, y = rated(200)
    y = np.where(y == 1, 2, y)
    found = OrderedProbit.fit(x, y, 5, 1.0)
    far = np.array([[80.0, 0.0, 0.0], [-80.0, 0.0, 0.0]])
    assert np.isfinite(found.log_likelihood(x, y)).all()
    assert np.isfinite(found.log_likelihood(far, np.array([0, 4]))).all()
    assert np.isfinite(found.expected(x, y)).all()


def test_expected_latent_value_is_that_of_the_truncated_variable() -> None:
    model = OrderedProbit(np.array([0.5]), CUTPOINTS)
    draws = 0.5 * 1.2 + np.random.default_rng(0).standard_normal(400_000)
    for rating in range(5):
        inside = draws[(draws[:, None] > CUTPOINTS).sum(axis=1) == rating]
        found = model.expected(np.array([[1.2]]), np.array([rating]))
        assert found[0] == pytest.approx(inside.mean(), abs=0.02)


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_logistic_agrees_with_scikit_learn(penalty: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 3))
    y = rng.random(500) < 1 / (1 + np.exp(-(0.3 + x @ SLOPES)))
    known = LogisticRegression(C=1 / penalty, tol=1e-8).fit(x, y)
    found = Logistic.fit(x, y, penalty)
    np.testing.assert_allclose(found.slopes, known.coef_[0], atol=1e-3)
    assert found.base == pytest.approx(known.intercept_[0], abs=1e-3)
    assert found.log_likelihood(x, y).sum() == pytest.approx(
        np.log(known.predict_proba(x)[np.arange(500), y.astype(int)]).sum(), rel=1e-5
    )


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.35, 0.8])
def test_polychoric_correlation_is_that_of_the_hidden_variables(rho: float) -> None:
    rng = np.random.default_rng(2)
    hidden = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=20_000)
    a, b = ((hidden[:, [k]] > CUTPOINTS + 0.4 * k).sum(axis=1) for k in range(2))
    assert polychoric(a, b) == pytest.approx(rho, abs=0.03)
