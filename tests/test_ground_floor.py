"""The ground floor: the vocabulary, errors, random numbers by address, and the registry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from unicrs_rl import draws
from unicrs_rl.dialogue import (
    ELICITATION,
    STRATEGIES,
    Act,
    Decision,
    Dialogue,
    Preferences,
    Reply,
    State,
    Strategy,
    Turn,
)
from unicrs_rl.errors import InputError, unknown
from unicrs_rl.registry import Registry

# --- dialogue ---


def test_there_are_inspireds_fourteen_strategies() -> None:
    assert len(STRATEGIES) == len(set(STRATEGIES)) == 14
    assert [strategy.position for strategy in STRATEGIES] == list(range(14))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labels_are_read_in_both_spellings(strategy: Strategy) -> None:
    label = strategy.value
    for spelling in (label, label.lower().replace(" ", "_"), label.upper(), f" {label.replace(' ', '  ')} "):
        assert Strategy.parse(spelling) is strategy


@pytest.mark.parametrize("label", ["", "NaN", "opinion", "PersonalOpinion", "transparent"])
def test_other_labels_are_refused(label: str) -> None:
    with pytest.raises(ValueError, match="unknown strategy label"):
        Strategy.parse(label)


def test_eliciting_strategies_are_those_that_ask_or_check() -> None:
    assert {strategy.value for strategy in ELICITATION} == {
        "Experience Inquiry",
        "Opinion Inquiry",
        "Preference Confirmation",
        "Rephrase Preference",
    }


def ask(*attributes: int) -> Decision:
    return Decision(Act.ASK, Strategy.OPINION_INQUIRY, attributes=attributes)


def test_what_is_said_is_listed_in_order_without_silences() -> None:
    turns = [
        Turn(ask(1), "One?", Reply("Yes.")),
        Turn(ask(2), "Two?", Reply()),
        Turn(ask(3), "Three?", Reply("No.")),
    ]
    assert Dialogue("d", Reply("Hi"), turns).utterances() == [
        ("seeker", "Hi"),
        ("recommender", "One?"),
        ("seeker", "Yes."),
        ("recommender", "Two?"),
        ("recommender", "Three?"),
        ("seeker", "No."),
    ]
    assert Dialogue("silent", turns=turns[1:2]).utterances() == [("recommender", "Two?")]


def test_a_state_counts_turns_and_knows_what_needs_no_question() -> None:
    known = Preferences(liked=(1,), disliked=(2,), open=(3,))
    state = State(0, (), known, (), (ask(4, 5), Decision(Act.CHAT, Strategy.SIMILARITY), ask(1)), 15)
    assert state.turn == 3
    assert state.asked == {1, 2, 3, 4, 5}


def test_a_state_has_no_place_for_the_target() -> None:
    """Nothing hidden: what is known, what was said and done, and the rules of the game."""
    names = {field.name for field in dataclasses.fields(State)}
    assert names == {"key", "history", "preferences", "utterances", "decisions", "limit", "copy"}


def test_decisions_are_values() -> None:
    assert ask(1, 2) == ask(1, 2)
    assert len({ask(1), ask(1), ask(2)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        ask(1).act = Act.CHAT  # type: ignore[misc]


# --- errors and the registry ---


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    message = str(unknown("arm", "unifed", ["rso", "unified", "greedy"]))
    assert message == "unknown arm 'unifed'; did you mean unified?"


def test_a_name_like_nothing_is_answered_with_all() -> None:
    assert str(unknown("arm", "zzz", ["rso", "greedy"])) == "unknown arm 'zzz'; known: greedy, rso"


def test_a_registry_finds_what_was_entered() -> None:
    table: Registry[str] = Registry("fruit")
    assert table.register("apple")("red") == "red"
    table.register("pear")("green")
    assert table["apple"] == "red"
    assert list(table) == ["apple", "pear"]
    assert "pear" in table
    assert "plum" not in table


def test_a_registry_answers_a_miss_with_did_you_mean() -> None:
    table: Registry[int] = Registry("fruit")
    table.register("apple")(1)
    with pytest.raises(InputError, match="unknown fruit 'appel'; did you mean apple"):
        table["appel"]


def test_a_name_is_registered_once() -> None:
    table: Registry[int] = Registry("fruit")
    table.register("apple")(1)
    with pytest.raises(ValueError, match="fruit 'apple' is registered twice"):
        table.register("apple")(2)
    assert table["apple"] == 1


# --- draws ---


def test_draws_do_not_depend_on_the_batch() -> None:
    keys, turns = np.arange(50) * 7919, np.arange(50) % 15
    together = draws.uniform(keys, turns, "reply")
    alone = [draws.uniform(key, turn, "reply")[0] for key, turn in zip(keys, turns, strict=True)]
    assert together.tolist() == alone


def test_draws_change_with_each_part_of_their_address() -> None:
    base = draws.bits(5, 3, "reply")
    for other in (draws.bits(6, 3, "reply"), draws.bits(5, 4, "reply"), draws.bits(5, 3, "mood")):
        assert base != other


def test_draws_are_the_same_on_every_machine() -> None:
    """SplitMix64 is exact integer arithmetic: these numbers must never change."""
    assert draws.key("session", "test", 0, 1) == 8221629936740544678
    assert draws.bits(8221629936740544678, 2, "reply")[0] == 5737903941824109363
    assert draws.pick(8221629936740544678, 2, "reply", 1000) == 494


def test_the_mixer_is_splitmix64() -> None:
    """First output of the published generator seeded with 1234567 (state + golden gamma, mixed)."""
    state = np.array([1234567], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    assert int(draws._mix(state)[0]) == 6457827717110365317


@pytest.mark.parametrize("axis", ["keys", "turns"])
def test_uniform_draws_are_uniform(axis: str) -> None:
    places = np.arange(20_000)
    sample = draws.uniform(places, 0, "u") if axis == "keys" else draws.uniform(11, places, "u")
    assert kstest(sample, "uniform").pvalue > 0.001
    assert 0 <= sample.min() < sample.max() < 1


def test_neighbouring_addresses_are_unrelated() -> None:
    keys = np.arange(20_000)
    base = draws.uniform(keys, 0, "a")
    for other in (draws.uniform(keys + 1, 0, "a"), draws.uniform(keys, 1, "a"), draws.uniform(keys, 0, "b")):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.03


def test_normal_draws_are_normal() -> None:
    assert kstest(draws.normal(np.arange(20_000), 1, "n"), "norm").pvalue > 0.001


def test_picks_are_even() -> None:
    counts = np.bincount([draws.pick(key, 0, "line", 7) for key in range(14_000)], minlength=7)
    assert chisquare(counts).pvalue > 0.001


def test_keys_depend_on_every_part_and_their_order() -> None:
    keys = {draws.key(*parts) for parts in ((1, 2), (2, 1), (1,), (1, 2, 0), ("1", 2), ("ab",), ("ba",))}
    assert len(keys) == 7


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=10)), min_size=1, max_size=4))
def test_keys_fit_into_63_bits(parts: list[int | str]) -> None:
    key = draws.key(*parts)
    assert 0 <= key < 2**63
    assert key == draws.key(*parts)
    assert 0 <= draws.uniform(key)[0] < 1
