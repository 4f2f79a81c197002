"""Intervals, tests, results and the verdict."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.results import results, schema
from unicrs_rl.experiments.statistics import interval_of_mean, paired
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
