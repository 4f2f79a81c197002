"""What a turn shows, and what is read off it: worth of questions, timing, manners, interference, regret."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score

from unicrs_rl.dialogue import Act, Decision, Dialogue, Strategy
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode, views_of
from unicrs_rl.experiments.planted import settings_of
from unicrs_rl.experiments.results import schema
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.traces import trace
from unicrs_rl.experiments.why import CURVE_POINTS, estimate, interference_in, solved, why
from unicrs_rl.graphs.embeddings import EmbeddingConfig, pretrain
from unicrs_rl.graphs.planted import PROBLEMS, plant
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split

Trace = dict[str, Any]


def check(found: dict[str, Any]) -> None:
    """Against its part of the schema."""
    whole = schema()
    jsonschema.validate(found, {**whole["properties"]["why"], "$defs": whole["$defs"]})


def held(components: Components, arm: str, count: int | None = 12, size: int = 64) -> list[Trace]:
    """Traces of an arm, held in batches."""
    sessions = components.world.sessions(Split.TEST, count, 0)
    conversations, policy = Conversations(components), components.policy(arm, 0)
    return [
        trace(episode, arm, 0, components)
        for start in range(0, len(sessions), size)
        for episode in conversations.hold(policy, sessions[start : start + size])
    ]


@pytest.fixture(scope="module")
def traces(components: Components) -> list[Trace]:
    return held(components, "max-entropy")


def opened(components: Components, count: int) -> States:
    """Conversations in which nothing but the opening was said."""
    sessions = components.world.sessions(Split.TEST, count, 0)
    conversations = Conversations(components)
    policy = components.policy("max-entropy", 0)
    openings = [episode.dialogue.opening for episode in conversations.hold(policy, sessions)]
    episodes = [Episode(s, Dialogue("", opening)) for s, opening in zip(sessions, openings, strict=True)]
    return conversations.decide(policy, episodes, components.prior.log_scores(sessions))[0]


def test_a_view_is_the_belief_before_the_decision(traces: list[Trace]) -> None:
    asked = 0
    for line in traces:
        known: set[int] = set()
        reply = line["opening"]
        for turn in line["turns"]:
            known |= {*reply["liked"], *reply["disliked"]}
            view, decision, reply = turn["view"], turn["decision"], turn["reply"]
            assert {*view["wanted"], *view["unwanted"]} == known  # nobody takes anything back here
            assert view["entropy"] <= np.log2(view["left"]) + 1e-4
            weights = [weight for _, weight in view["items"]]
            assert weights == sorted(weights, reverse=True)
            assert len(weights) <= 5
            assert sum(weights) <= view["confidence"] + 1e-3
            if decision["act"] == "ask":  # this arm asks the most informative question
                asked += 1
                assert decision["attributes"] == [view["questions"][0][0]]
            elif decision["act"] == "recommend":  # and recommends the likeliest items
                assert decision["items"][:5] == [item for item, _ in view["items"]]
    assert asked


def test_its_entropy_is_that_of_the_posterior(components: Components) -> None:
    states = opened(components, 6)
    views = views_of(states, [Decision(Act.CHAT, Strategy.SIMILARITY)] * 6)
    for row, view in enumerate(views):
        weights = states.values[states.offsets[row] : states.offsets[row + 1]]
        assert view.entropy == pytest.approx(stats.entropy(weights, base=2), abs=1e-9)
        assert view.left == len(weights)
        assert view.confidence == pytest.approx(np.sort(weights)[-10:].sum() / weights.sum())
    assert len({view.entropy for view in views}) > 1


def test_what_was_asked_is_in_the_view_however_far_down_it_stands(components: Components) -> None:
    states = opened(components, 1)
    listed = states.attributes[0].tolist()
    far, near = (
        views_of(states, [Decision(Act.ASK, Strategy.OPINION_INQUIRY, (listed[place],))])[0]
        for place in (9, 2)
    )
    assert [about for about, *_ in far.questions] == [*listed[:5], listed[9]]
    assert [about for about, *_ in near.questions] == listed[:5]
    assert far.questions[-1][1:] == (states.entropies[0, 9], states.masses[0, 9])


def test_views_do_not_depend_on_the_batch(components: Components, traces: list[Trace]) -> None:
    def views(lines: list[Trace]) -> list[list[Any]]:
        return [[turn["view"] for turn in line["turns"]] for line in lines]

    assert views(held(components, "max-entropy", size=5)) == views(traces)
    assert views(held(components, "max-entropy", size=1)) == views(traces)


def test_nothing_is_noted_in_training(components: Components) -> None:
    sessions = components.world.sessions(Split.TRAIN, 2, 0)
    policy = components.policy("max-entropy", 0)
    learning = Conversations(components).hold(policy, sessions, learning=True)
    acting = Conversations(components, words=False).hold(policy, sessions)
    for episode in (*learning, *acting):
        assert all(turn.view is None for turn in episode.dialogue.turns)


@pytest.fixture(scope="module")
def planted() -> Components:
    """A world whose seekers answer truthfully, each as often as it is believed in."""
    problem = PROBLEMS["planted-coupled"]
    world = plant(problem)
    embeddings = pretrain(world, EmbeddingConfig(dim=4, epochs=1), seed=0)
    components = build(resolve(settings_of(problem)), world, embeddings)
    return components.recommending_above(components.config.recommend_above or 0.0)


def test_truthful_answers_teach_on_average_what_was_expected(planted: Components) -> None:
    curious = planted.recommending_above(0.99)
    lines = held(curious, "max-entropy", planted.config.dialogues)
    found = why(["max-entropy"], planted.config.limit, lines)
    check(found)
    worth = found["arms"]["max-entropy"]["questions"]
    assert worth["asked"] == worth["answered"] > 0
    first = worth["by_turn"][0]
    assert first["n"] == planted.config.dialogues  # the whole population: no sampling error
    assert first["drop"] == pytest.approx(first["expected"], abs=1e-4)
    assert worth["surplus"]["mean"] == pytest.approx(0.0, abs=1e-4)
    assert worth["told_nothing"]["mean"] == 0.0
    assert [row["rank"] for row in worth["by_rank"]] == [1]


def test_regret_adds_up_to_what_is_lost_against_the_optimum(planted: Components) -> None:
    config = planted.config
    problem = solved(config, planted.world.name)
    assert problem is not None
    lines = held(planted, "max-entropy", config.dialogues)
    found = why(["max-entropy"], config.limit, lines, problem=problem)
    check(found)
    entry = found["arms"]["max-entropy"]["regret"]
    success = np.mean([line["outcome"]["success"] for line in lines])
    assert entry["regret"]["mean"] == pytest.approx(entry["optimum"] - success, abs=1e-6)
    assert entry["share"] == pytest.approx(success / entry["optimum"], abs=1e-6)
    lost = sum(row["n"] * row["lost"] for row in entry["by_turn"]) / len(lines)
    assert lost == pytest.approx(entry["regret"]["mean"], abs=1e-5)
    assert lost > 0.0


def test_no_optimum_is_claimed_where_it_was_not_computed(planted: Components) -> None:
    config, name = planted.config, planted.world.name
    assert solved(config, "movies") is None
    assert solved(config.model_copy(update={"limit": 15}), name) is None
    assert solved(config.model_copy(update={"slate": 10}), name) is None
    assert solved(config.model_copy(update={"user": "latent"}), name) is None


def turn(act: str = "ask", strategy: str = "Similarity", **more: Any) -> dict[str, Any]:
    """A turn of a trace by hand."""
    view = {
        "entropy": more.get("entropy", 3.0),
        "confidence": more.get("confidence", 0.5),
        "questions": [
            [7, 1.0, 0.5],
            [8, 0.75, 0.2],
            [1, 0.7, 0.2],
            [2, 0.6, 0.2],
            [3, 0.5, 0.1],
            [9, 0.4, 0.1],
        ],
    }
    attributes = [more.get("about", 7)] if act == "ask" else []
    reply = {"liked": [], "disliked": [], "rejected": [], **more.get("reply", {})}
    items = more.get("items", [4] if act == "recommend" else [])
    decision = {"act": act, "strategy": strategy, "attributes": attributes, "items": items}
    return {"decision": decision, "reply": reply, "view": view}


def line(arm: str, index: int, turns: Sequence[dict[str, Any]], hdcg: float = 0.0, seed: int = 0) -> Trace:
    """A trace by hand."""
    outcome = {"success": hdcg > 0}
    metrics = {"hdcg": hdcg}
    return {
        "arm": arm, "seed": seed, "index": index, "turns": list(turns), "outcome": outcome, "metrics": metrics
    }  # fmt: skip


def test_the_worth_of_questions_is_read_off_two_views() -> None:
    talks = [
        line("a", 0, [
            turn(entropy=4.0, confidence=0.2),
            turn(entropy=2.5, confidence=0.3, about=8),
            turn(entropy=2.5, confidence=0.3, about=9),
            turn("recommend", entropy=3.0, confidence=0.6),
        ]),
        line("a", 1, [turn(entropy=4.0, confidence=0.2), turn(entropy=3.0, confidence=0.4, about=55)]),
    ]  # fmt: skip
    worth = why(["a"], 15, talks)["arms"]["a"]["questions"]
    assert (worth["asked"], worth["answered"]) == (5, 4)
    assert worth["drop"]["mean"] == pytest.approx((1.5 + 0.0 - 0.5 + 1.0) / 4)
    assert worth["expected"]["mean"] == pytest.approx((1.0 + 0.75 + 0.4 + 1.0) / 4)
    assert worth["confidence_gain"]["mean"] == pytest.approx((0.1 + 0.0 + 0.3 + 0.2) / 4)
    assert worth["told_nothing"]["mean"] == 0.5
    assert [(row["rank"], row["n"]) for row in worth["by_rank"]] == [(1, 2), (2, 1), (None, 1)]
    assert [(row["turn"], row["n"]) for row in worth["by_turn"]] == [(1, 2), (2, 1), (3, 1)]


def test_a_question_that_was_not_listed_has_no_expectation() -> None:
    talks = [line("a", n, [turn(about=55), turn("chat", entropy=2.0)]) for n in range(2)]
    worth = why(["a"], 15, talks)["arms"]["a"]["questions"]
    assert worth["expected"] == {"mean": None, "ci95": None, "n": 0}
    assert worth["drop"]["mean"] == 1.0
    assert worth["by_rank"][0]["expected"] is None


def test_bins_are_the_same_in_every_run_and_count_every_turn() -> None:
    beliefs = [(0.0, 1.0), (0.99, 0.95), (1.0, 0.9), (10.0, 0.05), (12.5, 0.0)]
    talks = [line("a", 0, [turn("recommend", entropy=h, confidence=c) for h, c in beliefs] + [turn("chat")])]
    timing = why(["a"], 15, talks)["arms"]["a"]["timing"]
    assert [(one["low"], one["high"], one["n"]) for one in timing["entropy"]] == [
        (0.0, 1.0, 2),
        (1.0, 2.0, 1),
        (3.0, 4.0, 1),
        (10.0, None, 2),
    ]
    assert [(one["low"], one["n"]) for one in timing["confidence"]] == [(0.0, 2), (0.5, 1), (0.9, 3)]
    chat = timing["entropy"][2]
    assert (chat["recommended"], chat["share"]) == (0, 0.0)
    interval = stats.binomtest(0, 1).proportion_ci(method="wilson")
    assert chat["ci95"] == [round(interval.low, 6), round(interval.high, 6)]


MANNERS = ("Similarity", "Credibility", "Offer Help")


def talks_in(manner: Any, dialogues: int = 30, turns: int = 6) -> list[Trace]:
    """Dialogues by hand; ``manner(dialogue, turn, heard)`` chooses the strategy."""
    rng = np.random.default_rng(5)
    made = []
    for index in range(dialogues):
        heard, talk = "none", []
        for place in range(turns):
            strategy = MANNERS[manner(index, place, heard)]
            heard = ("liked", "disliked", "none")[rng.integers(3)]
            talk.append(turn("chat", strategy, reply={heard: [1]} if heard != "none" else {}))
        made.append(line("a", index, talk))
    return made


def test_heed_to_the_state_is_found_and_chance_is_not() -> None:
    rng = np.random.default_rng(2)
    heeding = talks_in(lambda _, __, heard: ("liked", "disliked", "none").index(heard))
    heedless = talks_in(lambda *_: rng.integers(3))
    found, nothing = (why(["a"], 6, talks)["arms"]["a"]["strategies"] for talks in (heeding, heedless))
    assert found["last_reply"]["p"] == 1 / 200
    assert found["last_reply"]["bits"] == pytest.approx(np.log2(3), abs=0.05)
    table = np.array(list(nothing["last_reply"]["table"].values()))
    nats = mutual_info_score(None, None, contingency=table)
    assert nothing["last_reply"]["bits"] == pytest.approx(nats / np.log(2), abs=1e-6)
    assert found["last_reply"]["n"] == 30 * 5  # from the second turn on
    assert sum(map(sum, found["phase"]["table"].values())) == 30 * 6
    for feature in ("phase", "last_reply"):
        assert nothing[feature]["p"] > 0.02
        assert nothing[feature]["bits"] == pytest.approx(nothing[feature]["by_chance"], abs=0.05)
    assert found["after_rejection"]["p"] is None  # nothing was ever turned down


def test_differences_between_dialogues_are_not_mistaken_for_heed() -> None:
    """Long dialogues in one manner, short ones in another: strategy and phase go together, unheeded."""
    talks = talks_in(lambda index, *_: index % 2)
    for talk in talks[::2]:
        del talk["turns"][2:]
    found = why(["a"], 6, talks)["arms"]["a"]["strategies"]["phase"]
    assert found["bits"] > 0.1
    assert found["by_chance"] == pytest.approx(found["bits"])
    assert found["p"] == 1.0


def test_chance_is_called_heed_no_more_often_than_it_may() -> None:
    rng = np.random.default_rng(11)
    small = 0
    for _ in range(60):
        talks = talks_in(lambda *_: rng.integers(3), dialogues=8, turns=4)
        p = why(["a"], 4, talks)["arms"]["a"]["strategies"]["last_reply"]["p"]
        small += p <= 0.05
    assert small <= stats.binom.ppf(0.999, 60, 0.05)


def test_an_estimate_is_the_t_interval_where_nothing_is_dependent() -> None:
    values = np.random.default_rng(0).normal(size=25)
    found = estimate(values.tolist(), range(25))
    expected = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert found["ci95"] == pytest.approx([expected.low, expected.high], abs=1e-6)
    twice = estimate(values.repeat(4).tolist(), np.arange(25).repeat(4).tolist())
    width = twice["ci95"][1] - twice["ci95"][0]
    assert width == pytest.approx(expected.high - expected.low, rel=0.01)  # no narrower for copies
    assert estimate([1.0, 2.0], [3, 3])["ci95"] is None
    assert estimate([2.0, 2.0], [3, 4])["ci95"] == [2.0, 2.0]
    assert estimate([], []) == {"mean": None, "ci95": None, "n": 0}


def test_those_that_differ_most_are_shown_with_where_they_part() -> None:
    same = [turn(), turn("recommend")]
    talks = [
        line("a", 0, same, hdcg=0.5),
        line("b", 0, same, hdcg=0.5),
        line("a", 1, [turn(), turn(about=8), turn("recommend")], hdcg=0.4),
        line("b", 1, same, hdcg=0.5),
        line("a", 2, [turn(strategy="Credibility"), turn("recommend", items=[5])], hdcg=0.9),
        line("b", 2, [turn("chat")]),
        line("a", 3, [*same, turn("chat")], hdcg=0.4),
        line("b", 3, same, hdcg=0.5),
        line("a", 3, [turn("chat")], hdcg=0.0, seed=1),  # of another training: not looked at
        line("a", 4, same),
        line("c", 4, same, hdcg=1.0),
    ]
    found = why(["a", "b", "c"], 15, talks)
    check(found)
    told = found["most_different"]
    assert [(one["index"], one["parts_at"], one["parts_in"]) for one in told] == [
        (2, 1, ["act", "strategy", "attributes"]),
        (1, 2, ["act", "attributes", "items"]),
        (3, 3, []),
        (0, None, []),
    ]
    assert told[2]["a"] == {"arm": "a", "seed": 0, "index": 3, "hdcg": 0.4, "turns": 3, "success": True}
    many = [line(arm, n, same, hdcg=n / 40 if arm == "a" else 0.0) for n in range(30) for arm in "ab"]
    shown = why(["a", "b"], 15, many)["most_different"]
    assert [one["index"] for one in shown] == list(range(29, 19, -1))


def test_one_arm_is_set_against_nobody(traces: list[Trace]) -> None:
    found = why(["max-entropy"], 15, traces)
    check(found)
    assert found["most_different"] == []


def test_traces_of_earlier_versions_say_less(traces: list[Trace]) -> None:
    old = [
        line | {"turns": [{k: v for k, v in turn.items() if k != "view"} for turn in line["turns"]]}
        for line in traces
    ]
    found = why(["max-entropy"], 15, old)
    check(found)
    assert set(found["arms"]["max-entropy"]) == {"strategies"}
    whole = why(["max-entropy"], 15, traces)["arms"]["max-entropy"]
    assert whole["strategies"] == found["arms"]["max-entropy"]["strategies"]


def noted(folder: RunFolder, arm: str, seed: int, learner: dict[str, Any]) -> None:
    checkpoint.save(folder.checkpoint(arm, seed), {"weight": torch.zeros(1)}, {"learner": learner})


def test_interference_is_read_from_checkpoints(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    noted(folder, "unified", 0, {"interference": [[0, 0.5], [10, -0.5]]})
    noted(folder, "unified", 1, {"interference": [[0, 0.1], [10, -0.1], [20, -0.3]]})
    noted(folder, "grid", 0, {"parts": {"joint": {"interference": [[0, 0.2]]}, "strategy": {}}})
    noted(folder, "rso", 0, {})
    read = interference_in(folder, ["unified", "grid", "rso", "max-entropy"], [0, 1])
    assert set(read) == {"unified", "grid"}
    arms = ["unified", "grid", "rso"]
    found = why(arms, 15, [line(arm, 0, [turn()]) for arm in arms], read)
    check(found)
    entry = found["arms"]["unified"]["interference"]
    assert entry["mean"] == pytest.approx(-0.06)
    assert (entry["n"], entry["seeds"]) == (5, 2)
    assert entry["curve"] == [[0, 0.3], [10, -0.3], [20, -0.3]]
    assert found["arms"]["grid"]["interference"]["ci95"] is None  # of one training
    assert "interference" not in found["arms"]["rso"]


def test_a_long_curve_is_thinned_without_leaving_anything_out() -> None:
    points = [(step, float(step)) for step in range(1000)]
    found = why(["a"], 15, [line("a", 0, [turn()])], {"a": {0: points}})
    curve = found["arms"]["a"]["interference"]["curve"]
    assert len(curve) == CURVE_POINTS
    assert curve[0] == [9, 4.5]
    assert np.mean([value for _, value in curve]) == pytest.approx(499.5)
