"""Intervals, tests, results and the verdict."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from statsmodels.formula.api import ols
from statsmodels.stats.contingency_tables import mcnemar

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.results import results, schema
from unicrs_rl.experiments.statistics import (
    Family,
    compare_arms,
    hierarchical_interval,
    holm,
    interval_of_arm,
    interval_of_mean,
    paired,
    spread,
)
from unicrs_rl.experiments.verdict import detected, rests_on, verdict
from unicrs_rl.judging.metrics import METRICS


def test_difference_is_of_pairs() -> None:
    found = paired(np.array([1.0, 2.0, 4.0]), np.array([0.0, 2.0, 1.0]))
    assert found is not None
    assert found.difference == pytest.approx(4 / 3)
    assert found.pairs == 3


def test_missing_values_drop_the_pair() -> None:
    found = paired(np.array([1.0, np.nan, 0.0, 1.0]), np.array([0.0, 1.0, np.nan, 0.0]))
    assert found is not None
    assert found.pairs == 2


def test_too_few_pairs_give_nothing() -> None:
    assert paired(np.array([1.0, np.nan]), np.array([0.0, 1.0])) is None


def test_equal_arms_have_no_difference() -> None:
    a = np.random.default_rng(0).random(50)
    found = paired(a, a)
    assert found is not None
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_difference_is_certain() -> None:
    found = paired(np.full(20, 2.0), np.full(20, 1.0))
    assert found is not None
    assert (found.low, found.high) == (1.0, 1.0)
    assert found.p < 0.001


def test_comparisons_are_repeatable() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(80), rng.random(80)
    assert paired(a, b) == paired(a, b)


@pytest.mark.slow
def test_interval_and_test_hold_their_level() -> None:
    """Without a difference about 5% of the intervals miss zero, and about 5% of the p-values are small."""
    rng = np.random.default_rng(2)
    missed = small = 0
    runs = 400
    for _ in range(runs):
        found = paired((rng.random(60) < 0.6).astype(float), (rng.random(60) < 0.6).astype(float))
        assert found is not None
        missed += not found.low <= 0 <= found.high
        small += found.p < 0.05
    assert missed / runs < 0.09
    assert small / runs < 0.08


def test_a_clear_difference_is_found() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0.5, 1.0, 200)
    found = paired(a, rng.normal(0.0, 1.0, 200))
    assert found is not None
    assert found.low > 0
    assert found.p < 0.01


def table(
    rng: np.random.Generator, seeds: int, dialogues: int, between: float, rest: float = 0.7
) -> NDArray[np.float64]:
    """Values of an arm with effects of trainings, of dialogues and a rest."""
    effects = between * rng.standard_normal((seeds, 1)) + 0.5 * rng.standard_normal(dialogues)
    made: NDArray[np.float64] = effects + rest * rng.standard_normal((seeds, dialogues))
    return made


def test_one_training_gives_the_interval_over_dialogues() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random((1, 60)), rng.random((1, 60))
    found, plain = compare_arms(a, b), paired(a[0], b[0])
    assert found is not None
    assert plain is not None
    assert (found.low, found.high, found.p) == (plain.low, plain.high, plain.p)
    assert (plain.low, plain.high) == interval_of_mean(a[0] - b[0])
    assert found.p == found.p_permutation
    assert not found.covers_seeds
    assert plain.covers_seeds  # of rules, which nobody trains


def test_only_learned_arms_have_trainings_to_cover() -> None:
    rng = np.random.default_rng(5)
    three, one = rng.random((3, 20)), rng.random((1, 20))
    for a, b, learned, covered in (
        (three, one, (True, False), True),
        (three, one, (True, True), False),
        (three, three, (True, True), True),
        (one, one, (False, True), False),
    ):
        found = compare_arms(a, b, learned)
        assert found is not None
        assert found.covers_seeds is covered


def test_variance_components_are_those_of_the_analysis_of_variance() -> None:
    """Also where cells are missing; statsmodels fits the same model by least squares."""
    rng = np.random.default_rng(6)
    values = table(rng, 4, 25, 0.8)
    values[rng.random(values.shape) < 0.3] = np.nan
    found = spread(values)
    assert found is not None
    seeds, dialogues = np.indices(values.shape)
    frame = pd.DataFrame({"y": values.ravel(), "s": seeds.ravel(), "d": dialogues.ravel()}).dropna()
    fitted = ols("y ~ C(s, Sum) + C(d)", frame).fit()
    effects = fitted.params.filter(like="C(s").to_numpy()
    assert found.rest == pytest.approx(fitted.mse_resid)
    assert found.observed == pytest.approx(np.append(effects, -effects.sum()).var(ddof=1))


@pytest.mark.parametrize("seeds", [2, 3, 5, 7, 10])
@pytest.mark.parametrize("dialogues", [10, 50, 100, 200, 400, 1000])
def test_variance_components_hold_at_any_size(seeds: int, dialogues: int) -> None:
    """Against the sums of squares of a full table, in closed form; rounding must not be amplified."""
    values = table(np.random.default_rng(12), seeds, dialogues, 0.3)
    found = spread(values)
    assert found is not None
    means = values.mean(axis=1, keepdims=True)
    left = values - values.mean(axis=0) - means + values.mean()
    rest = (left**2).sum() / ((seeds - 1) * (dialogues - 1))
    assert found.rest == pytest.approx(rest)
    assert found.noise == pytest.approx(rest / dialogues)
    assert found.observed == pytest.approx(float(means.var(ddof=1)))


def test_trainings_without_a_common_dialogue_cannot_be_compared() -> None:
    values = np.full((2, 8), np.nan)
    values[0, :4], values[1, 4:] = np.arange(4.0), np.arange(4.0)
    assert spread(values) is None
    found = compare_arms(values, np.zeros((1, 8)), (True, False))
    assert found is not None
    assert not found.covers_seeds


def test_variance_between_trainings_is_unbiased() -> None:
    rng = np.random.default_rng(7)
    some = [spread(table(rng, 3, 20, 0.5)) for _ in range(2000)]
    assert np.mean([one.observed - one.noise for one in some if one]) == pytest.approx(0.25, rel=0.08)
    assert np.mean([one.rest for one in some if one]) == pytest.approx(0.49, rel=0.02)


def test_trainings_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(8)
    alike = table(rng, 3, 100, 0.0)
    unlike = alike + np.array([[-0.5], [0.0], [0.5]])
    b = table(rng, 1, 100, 0.0)
    narrow, wide = (compare_arms(a, b, (True, False)) for a in (alike, unlike))
    assert narrow is not None
    assert wide is not None
    assert wide.difference == pytest.approx(narrow.difference)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)
    assert wide.p_permutation == narrow.p_permutation  # which takes the trainings as they are


def test_p_and_interval_agree() -> None:
    rng = np.random.default_rng(9)
    clear = 0
    for _ in range(60):
        found = compare_arms(table(rng, 3, 30, 0.2) + 0.4, table(rng, 2, 30, 0.2))
        assert found is not None
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        clear += found.p < 0.05
    assert 5 < clear < 55


def test_intervals_cover_other_trainings_where_the_blind_ones_do_not() -> None:
    """Twenty of a hundred trials miss by chance once in a million; see benchmarks/interval_coverage.py."""
    rng = np.random.default_rng(10)
    covered = blind = positive = 0
    for _ in range(200):
        a, b = table(rng, 3, 40, 0.3), table(rng, 3, 40, 0.3)
        found, plain = compare_arms(a, b), interval_of_mean(a.mean(axis=0) - b.mean(axis=0))
        assert found is not None
        assert plain is not None
        covered += found.low <= 0 <= found.high
        blind += plain[0] <= 0 <= plain[1]
        positive += found.p < 0.05
    error = 2 * np.sqrt(0.05 * 0.95 / 200)
    assert covered / 200 > 0.95 - error
    assert positive / 200 < 0.05 + error
    assert blind / 200 < 0.80


def test_the_mean_of_an_arm_covers_its_trainings() -> None:
    rng = np.random.default_rng(11)
    values = table(rng, 3, 50, 0.5)
    whole, one = interval_of_arm(values), interval_of_arm(values[:1])
    assert whole is not None
    assert one == interval_of_mean(values[0])
    blind = interval_of_mean(values.mean(axis=0))
    assert blind is not None
    assert whole[0] < blind[0] < blind[1] < whole[1]


def test_the_interval_of_a_difference_of_shares_stays_within_them() -> None:
    rng = np.random.default_rng(12)
    a = (rng.random((2, 20)) < np.array([[0.05], [0.95]])).astype(np.float64)
    b = (rng.random((2, 20)) < np.array([[0.9], [0.1]])).astype(np.float64)
    a[0, 0] = np.nan
    shares, others = compare_arms(a, b), compare_arms(3 * a, 3 * b)
    assert shares is not None
    assert others is not None
    assert (shares.low, shares.high) == (-1.0, 1.0)
    assert others.low < -3.0
    assert others.high > 3.0
    assert shares.p == pytest.approx(others.p)


def test_a_dialogue_is_missing_only_if_no_training_of_an_arm_has_it() -> None:
    a, b = np.arange(12.0).reshape(2, 6), np.zeros((1, 6))
    a[0, 0] = a[:, 1] = b[0, 2] = np.nan
    found = compare_arms(a, b, (True, False))
    assert found is not None
    assert (found.pairs, found.missing) == (4, 2)


def test_effect_sizes_have_a_direction() -> None:
    """Of single 0/1 values the odds ratio is that of discordant pairs, which McNemar's test is about."""
    a = np.array([[1.0] * 12 + [0.0] * 4 + [1.0] * 10 + [0.0] * 4])
    b = np.array([[0.0] * 12 + [1.0] * 4 + [1.0] * 10 + [0.0] * 4])
    found, turned = compare_arms(a, b), compare_arms(b, a)
    assert found is not None
    assert turned is not None
    gaps = (a - b)[0]
    assert found.dz == pytest.approx(gaps.mean() / gaps.std(ddof=1))
    assert turned.dz == pytest.approx(-gaps.mean() / gaps.std(ddof=1))
    discordant = pd.crosstab(a[0], b[0]).to_numpy()
    assert found.odds_ratio == pytest.approx(discordant[1, 0] / discordant[0, 1]) == pytest.approx(3.0)
    assert turned.odds_ratio == pytest.approx(1 / 3)
    assert (mcnemar(discordant).pvalue < 0.1) == (found.p_permutation < 0.1)
    other = compare_arms(a + 0.5, b)
    assert other is not None
    assert other.odds_ratio is None


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_families_say_what_decides() -> None:
    arms = ["a", "b", "c", "d"]
    pairs = [(x, y) for i, x in enumerate(arms) for y in arms[i + 1 :]]
    chosen = {family: [pair for pair in pairs if family.has(arms, *pair)] for family in Family}
    assert chosen[Family.FIRST] == [("a", "b"), ("a", "c"), ("a", "d")]
    assert chosen[Family.PAIR] == [("a", "b")]
    assert chosen[Family.ALL] == pairs
    assert all(family.size(len(arms)) == len(chosen[family]) for family in Family)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"primary": ["sr@16"]}, r"statistics.primary: unknown metric 'sr@16'; did you mean sr@1"),
        ({"primary": ["at", "at"]}, "the same metric twice"),
        ({"primary": []}, "at least one"),
        ({"level": 0.1}, "at most 0.05"),
        ({"looks": 21}, "at most 20"),
        ({"family": "some"}, "must be 'first', 'pair' or 'all'"),
    ],
)
def test_what_decides_is_checked_before_anything_runs(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        resolve({"statistics": given})


def test_looks_need_dialogues_to_look_at() -> None:
    with pytest.raises(InputError, match=r"statistics\.looks: 9 looks at 12 dialogues"):
        resolve({"statistics": {"looks": 9}, "dialogues": 12})


def test_interval_of_mean_leaves_missing_values_out() -> None:
    found = interval_of_mean(np.array([1.0, np.nan, 3.0, 2.0, 2.0]))
    assert found is not None
    assert 1.0 <= found[0] < 2.0 < found[1] <= 3.0
    assert interval_of_mean(np.array([np.nan, 1.0])) is None


def row(
    metric: str, difference: float, low: float, high: float, p: float, dialogues: int = 400
) -> dict[str, object]:
    return {
        "dialogues": dialogues,
        "a": "unified",
        "b": "rso",
        "metric": metric,
        "difference": difference,
        "ci95": [low, high],
        "p": p,
    }


MEANS = {"unified": {"sr@15": 0.8, "at": 5.0}, "rso": {"sr@15": 0.7, "at": 6.0}}


def test_verdict_says_where_dialogues_are_missing() -> None:
    rows = [row("sr@15", 0.1, 0.02, 0.18, 0.01, dialogues=380), row("at", -1.0, -1.5, -0.5, 0.001)]
    said = verdict(["unified", "rso"], MEANS, rows, 400)
    assert said.count("over the 380 of 400 dialogues that both held") == 1
    assert "both held" not in verdict(["unified", "rso"], MEANS, rows)


def test_verdict_says_when_nothing_was_detected() -> None:
    rows = [row("sr@15", 0.01, -0.02, 0.04, 0.5), row("at", -0.1, -0.4, 0.2, 0.6)]
    said = verdict(["unified", "rso"], MEANS, rows)
    assert "no difference detected" in said.casefold()
    assert "succeeds" not in said


def test_verdict_names_the_winner_of_each_metric() -> None:
    rows = [row("sr@15", 0.1, 0.05, 0.15, 0.001), row("at", 1.0, 0.5, 1.5, 0.001)]
    said = verdict(["unified", "rso"], MEANS, rows)
    assert "nified succeeds more often than rso" in said
    assert "rso needs fewer turns than unified" in said
    assert "no difference" not in said


def test_verdict_is_mixed_where_the_evidence_is() -> None:
    rows = [row("sr@15", 0.01, -0.05, 0.07, 0.7), row("at", -1.0, -1.5, -0.5, 0.001)]
    said = verdict(["unified", "rso"], MEANS, rows)
    assert "nified needs fewer turns than rso" in said
    assert "no difference detected between unified and rso in SR@15" in said


def primary(found: dict[str, object], p_holm: float, **more: object) -> dict[str, object]:
    kept = {"primary": True, "p_holm": p_holm, "detected": p_holm < 0.05, "covers_seeds": True}
    return found | kept | more


def test_verdict_is_by_the_metrics_declared_and_corrected_p() -> None:
    rows = [
        primary(row("hdcg", 0.1, 0.01, 0.19, 0.01), 0.02),
        row("sr@15", 0.2, 0.1, 0.3, 0.001) | {"primary": False, "p_holm": None, "detected": True},
    ]
    means = {"unified": {"hdcg": 0.5, "sr@15": 0.8}, "rso": {"hdcg": 0.4, "sr@15": 0.6}}
    said = verdict(["unified", "rso"], means, rows)
    assert "unified is better than rso (hDCG" in said
    assert "Holm p = 0.020" in said
    assert said.endswith("(declared primary: hDCG; p corrected by Holm for 1 comparison).")
    assert "SR@15" not in said


def test_verdict_says_if_trainings_are_not_covered() -> None:
    rows = [primary(row("sr@15", 0.1, 0.05, 0.15, 0.001), 0.001, covers_seeds=False)]
    assert "other training seeds are not covered" in verdict(["unified", "rso"], MEANS, rows)


def test_verdict_never_says_equal() -> None:
    rows = [primary(row("sr@15", 0.01, -0.02, 0.04, 0.5), 0.5, detectable=0.043)]
    said = verdict(["unified", "rso"], MEANS, rows)
    assert "95% interval -0.020 to +0.040" in said
    assert "0.043 or more would have been detected with a chance of 80%" in said
    hopeless = primary(row("sr@15", 0.01, -0.9, 0.9, 0.5), 0.5, detectable=1.7)
    said = verdict(["unified", "rso"], MEANS, [hopeless])
    assert "so few training seeds and dialogues would hardly have shown any" in said
    rules = verdict(["unified", "rso"], MEANS, [hopeless], learned=False)
    assert "so few dialogues would hardly have shown any" in rules
    assert "training" not in rules


def test_verdict_says_at_which_look_it_was_decided() -> None:
    rows = [primary(row("sr@15", 0.1, 0.05, 0.15, 0.001), 0.001, looks=[], decided_at=200)]
    assert "decided at 200 dialogues" in verdict(["unified", "rso"], MEANS, rows)


def test_detection_needs_interval_and_p_value() -> None:
    assert detected({"ci95": [0.01, 0.2], "p": 0.01})
    assert not detected({"ci95": [0.01, 0.2], "p": 0.2})
    assert not detected({"ci95": [-0.01, 0.2], "p": 0.01})


def test_verdict_on_one_arm_compares_nothing() -> None:
    assert "nothing to compare" in verdict(["unified"], MEANS, [])


def test_what_it_rests_on_names_seekers_model_and_judge() -> None:
    said = rests_on(resolve({"dialogues": 7, "seeds": "3"}), "movies")
    for word in ("latent", "movies", "7 held-out", "1 training seed ", "embedded", "rubric"):
        assert word in said
    assert "do not cover other training seeds" in said
    assert "over dialogues and training seeds" in rests_on(resolve({}), "movies")
    assert "nothing was trained" in rests_on(resolve({"arms": "greedy,random"}), "movies")


def line(arm: str, seed: int, index: int, success: bool) -> dict[str, object]:
    metrics = {metric.name: float(success) for metric in METRICS} | {"prs": None}
    call = {"tokens_in": 8, "tokens_out": 2, "failure": ""}
    reply = {"text": "Yes.", "accepted": None, "left": False}
    turn = {
        "utterance": "hello there you",
        "calls": [call, call],
        "decision": {"act": "chat", "strategy": "Similarity"},
        "reply": reply,
        "latents": {},
    }
    outcome = {"success": success, "turn": 2}
    return {
        "arm": arm,
        "seed": seed,
        "index": index,
        "metrics": metrics,
        "opening": reply,
        "latents": {},
        "turns": [turn],
        "outcome": outcome,
        "intentions": (1.0, 3.0, 2.0) if index == 0 else None,
    }


def made() -> dict[str, object]:
    config = resolve({"arms": "unified,greedy", "dialogues": 4, "seeds": "0,1", "train_dialogues": 8})
    traces = [line("unified", seed, index, seed == 0) for seed in (0, 1) for index in range(4)]
    traces += [line("greedy", 0, index, index == 0) for index in range(4)]
    return results(
        config, "movies", "0" * 16, {"unified": 10, "greedy": 0}, traces, {"unified": {}, "greedy": {}}, {}
    )


def test_results_average_over_training_seeds_before_pairing() -> None:
    found = json.loads(json.dumps(made()))
    assert found["arms"]["unified"]["metrics"]["sr@15"] == 0.5
    rows = {r["metric"]: r for r in found["comparisons"]}
    assert rows["sr@15"]["difference"] == pytest.approx(0.25)
    assert rows["sr@15"]["dialogues"] == 4
    assert rows["sr@15"]["covers_seeds"]


def test_results_say_what_was_declared_and_what_decides() -> None:
    found = json.loads(json.dumps(made()))
    assert found["statistics"] == {"primary": ["sr@15", "at"], "family": "pair", "level": 0.05, "looks": 1}
    for r in found["comparisons"]:
        assert r["primary"] == (r["metric"] in ("sr@15", "at"))
        assert (r["p_holm"] is None) != r["primary"]
        assert ("detectable" in r) == r["primary"]
        assert r["p_permutation"] <= 1
        assert "looks" not in r
    assert "declared primary: SR@15 and AT" in found["verdict"]


def test_results_of_earlier_versions_are_still_valid() -> None:
    found = json.loads(json.dumps(made()))
    found["schema_version"] = 2
    del found["statistics"]
    kept = {"a", "b", "metric", "difference", "ci95", "p", "dialogues"}
    found["comparisons"] = [{k: v for k, v in r.items() if k in kept} for r in found["comparisons"]]
    jsonschema.validate(found, schema())
    assert not detected(found["comparisons"][0])


def test_results_count_what_a_mean_rests_on() -> None:
    arm = json.loads(json.dumps(made()))["arms"]["unified"]
    assert arm["counts"]["prs"] == 0
    assert arm["metrics"]["prs"] is None
    assert arm["counts"]["sr@15"] == 4
    assert arm["persuasion"] == {
        "measured": 0,
        "nothing_to_persuade": 0,
        "over_persuaded": 2,
        "nothing_recommended": 6,
    }


def test_results_report_costs_per_dialogue() -> None:
    cost = json.loads(json.dumps(made()))["arms"]["unified"]["cost"]
    assert cost["lm_calls_per_dialogue"] == 2
    assert cost["tokens_per_dialogue"] == 20
    assert cost["train_seconds"] is None


def test_results_follow_their_schema_and_the_schema_is_strict() -> None:
    found = json.loads(json.dumps(made()))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(found, schema())
    found["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, schema())


def test_the_hierarchical_bootstrap_draws_seeds_and_dialogues() -> None:
    """Where trainings differ it is wider than over dialogues alone; where nothing varies it is a point."""
    rng = np.random.default_rng(3)
    dialogues = rng.normal(size=200)
    a = dialogues + rng.normal(0, 0.5, size=(5, 1)) + rng.normal(0, 0.1, size=(5, 200))
    b = dialogues + rng.normal(0, 0.5, size=(5, 1)) + rng.normal(0, 0.1, size=(5, 200))
    both = hierarchical_interval(a, b)
    alone = paired(a.mean(axis=0), b.mean(axis=0))
    assert both is not None
    assert alone is not None
    assert both[1] - both[0] > 5 * (alone.high - alone.low)
    assert both[0] < alone.difference < both[1]
    assert hierarchical_interval(np.ones((2, 9)), np.zeros((3, 9))) == (1.0, 1.0)
    assert hierarchical_interval(a, b) == both  # seeded


def test_the_hierarchical_bootstrap_leaves_missing_values_out() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(1.0, 0.1, size=(3, 100)), rng.normal(0.0, 0.1, size=(3, 100))
    a[:, ::2] = np.nan
    found = hierarchical_interval(a, b)
    assert found is not None
    assert found[0] > 0.9
    a[:, 1:] = np.nan
    assert hierarchical_interval(a, b) is None  # a third of all draws have not one value
