"""Several looks at one comparison."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from scipy import stats
from test_statistics import line

from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.results import results, schema
from unicrs_rl.experiments.statistics import boundaries, look, sequential_p


def test_boundaries_are_the_published_ones() -> None:
    """Two-sided 0.05, five looks, O'Brien-Fleming-type spending."""
    assert boundaries(0.05, 5) == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)
    assert boundaries(0.05, 1) == pytest.approx([1.95996], abs=1e-4)


@pytest.mark.parametrize(("level", "looks"), [(0.05, 3), (0.01, 4)])
def test_boundaries_spend_the_level_and_no_more(level: float, looks: int) -> None:
    """The chance to cross any of them, by SciPy's multivariate normal distribution function."""
    times = np.arange(1, looks + 1) / looks
    together = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    normal = stats.multivariate_normal(cov=together, seed=0)
    bounds = np.array(boundaries(level, looks))
    inside = normal.cdf(bounds, lower_limit=-bounds)
    assert 1 - inside == pytest.approx(level, rel=0.01)


def test_looks_do_not_inflate_false_positives() -> None:
    rng = np.random.default_rng(0)
    trials, looks = 20_000, 5
    steps = rng.standard_normal((trials, looks)).cumsum(axis=1)
    sizes = np.abs(steps / np.sqrt(np.arange(1, looks + 1)))
    error = 2 * np.sqrt(0.05 * 0.95 / trials)
    assert (sizes >= boundaries(0.05, looks)).any(axis=1).mean() == pytest.approx(0.05, abs=error)
    assert (sizes >= stats.norm.isf(0.025)).any(axis=1).mean() > 0.12  # what looking without a plan does


def test_sequential_p_is_below_the_level_where_a_boundary_was_crossed() -> None:
    rng = np.random.default_rng(1)
    crossed = 0
    for level in (0.05, 0.01):
        bounds = boundaries(level, 4)
        for _ in range(25):
            z = rng.normal(2.0, 1.0, 4).tolist()
            over = any(abs(one) >= bound for one, bound in zip(z, bounds, strict=True))
            assert (sequential_p(z, 4) <= level) == over
            crossed += over
    assert 10 < crossed < 45


def test_sequential_p_only_falls_with_further_looks() -> None:
    z = [0.5, 2.8, 1.0, 1.9]
    so_far = [sequential_p(z[:number], 4) for number in range(1, 5)]
    assert so_far == sorted(so_far, reverse=True)
    assert so_far[1] == pytest.approx(so_far[2], rel=1e-3)


def test_one_look_is_the_test_itself() -> None:
    assert sequential_p([look(10, -1.0, 0.03, 1.96).z], 1) == pytest.approx(0.03)


def test_a_look_has_the_sign_of_its_difference() -> None:
    assert look(10, -0.2, 0.05, 2.0).z == pytest.approx(-1.96, abs=1e-3)
    assert look(10, 0.0, 1.0, 2.0).z == 0.0


def test_results_tell_of_every_look_and_which_decided() -> None:
    config = resolve(
        {"arms": "halving,greedy", "dialogues": 60, "statistics": {"looks": 3, "primary": ["sr@15"]}}
    )
    traces = [line("halving", 0, index, True) for index in range(60)]
    traces += [line("greedy", 0, index, index % 2 == 0) for index in range(60)]
    found = results(
        config, "movies", "0" * 16, {"halving": 0, "greedy": 0}, traces, {"halving": {}, "greedy": {}}, {}
    )
    found = json.loads(json.dumps(found))
    jsonschema.validate(found, schema())
    (row,) = [r for r in found["comparisons"] if r["primary"]]
    assert [one["dialogues"] for one in row["looks"]] == [20, 40, 60]
    assert [one["boundary"] for one in row["looks"]] == pytest.approx(boundaries(0.05, 3), abs=1e-5)
    assert row["detected"]
    assert row["decided_at"] == 40  # 10 of 20 cannot decide so early, 20 of 40 do
    assert row["p"] == row["looks"][-1]["p_so_far"]
    assert "decided at 40 dialogues" in found["verdict"]
    assert all("looks" not in r for r in found["comparisons"] if not r["primary"])
