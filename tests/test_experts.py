"""The experts: each can be switched off or replaced, singly, and each does something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unicrs_rl.dialogue import Dialogue, Preferences, Reply
from unicrs_rl.errors import InputError
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.experiments.evaluation import evaluate
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.language.experts import Experts, Planning, Reading, Retrieval
from unicrs_rl.language.wording import WARMEST
from unicrs_rl.policy.arms import policy_class

VARIANTS: dict[str, dict[str, str]] = {
    "rso@no-planner": {"planner": "off"},
    "rso@no-reasoner": {"reasoner": "off"},
    "rso@latest": {"reasoner": "latest"},
    "rso@no-retriever": {"retriever": "off"},
    "rso@similarity": {"retriever": "similarity"},
    "rso@interleaved": {"actor": "interleaved"},
}
Traces = list[dict[str, Any]]


@pytest.fixture(scope="module")
def crews(movies: World, movies_embeddings: Embeddings) -> Components:
    """Components with variants of ``rso`` that lack or replace one expert each."""
    settings = {name: {"experts": crew} for name, crew in VARIANTS.items()}
    return build(resolve({"arm": settings}), movies, movies_embeddings)


@pytest.fixture(scope="module")
def full(crews: Components) -> Traces:
    """A hundred conversations of the whole crew, untrained."""
    return held(crews, "rso")


def held(components: Components, arm: str, count: int = 100) -> Traces:
    sessions = components.world.sessions(Split.TEST, count, 0)
    policy = components.policy(arm, 0)
    return [line for batch in evaluate(policy, arm, 0, components, sessions) for line in batch]


def tasks(traces: Traces) -> Counter[str]:
    return Counter(call["task"] for line in traces for turn in line["turns"] for call in turn["calls"])


def turns(traces: Traces) -> int:
    return sum(len(line["turns"]) for line in traces)


def mean(traces: Traces, metric: str) -> float:
    return float(np.mean([v for t in traces if (v := t["metrics"][metric]) is not None]))


def gap(more: Traces, less: Traces, metric: str) -> tuple[float, float]:
    """Mean difference over the conversations that both have a value for, and its standard error."""
    pairs = [(a["metrics"][metric], b["metrics"][metric]) for a, b in zip(more, less, strict=True)]
    differences = np.array([a - b for a, b in pairs if a is not None and b is not None])
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))


def test_the_whole_crew_takes_three_calls_a_turn(full: Traces) -> None:
    assert tasks(full) == dict.fromkeys(("preference_reasoner", "fact_retriever", "actor"), turns(full))


def test_without_planner_the_strategy_is_the_actors(crews: Components, full: Traces) -> None:
    sessions = crews.world.sessions(Split.TEST, 20, 0)
    arm = "rso@no-planner"
    episodes = Conversations(crews.of(arm)).hold(crews.policy(arm, 0), sessions)
    done = [turn for episode in episodes for turn in episode.dialogue.turns]
    assert all(turn.plan is not None and turn.plan.strategy is None for turn in done)
    taken = [episode.dialogue.turns[0].decision.strategy for episode in episodes]
    assert set(taken) == {WARMEST[0]}  # as the embedded one chooses
    planned = {turn["decision"]["strategy"] for line in full for turn in line["turns"]}
    assert planned - {strategy.value for strategy in WARMEST}


def test_without_planner_there_is_nothing_to_train(crews: Components) -> None:
    assert crews.config.trains("rso")
    assert not crews.config.trains("rso@no-planner")
    assert crews.config.trains("rso@no-retriever")
    untouched = resolve({"arm": {"unified": {"experts": {"planner": "off"}}}})
    assert untouched.trains("unified")  # it decides more than the strategy


def preferences(components: Components, dialogue: Dialogue) -> Preferences:
    ((known, _),) = components.reasoner.perceive([dialogue])
    return known


def talk(components: Components) -> tuple[Episode, Components]:
    """A conversation in which wishes are told in several turns."""
    sessions = components.world.sessions(Split.TEST, 300, 0)
    for episode in Conversations(components).hold(components.policy("rso", 0), sessions):
        told = [turn for turn in episode.dialogue.turns if turn.reply.liked]
        if len(told) > 1 and episode.dialogue.turns[-2].reply.disliked:
            return episode, components
    raise AssertionError("no such conversation")


def test_what_the_reasoner_reads(crews: Components) -> None:
    episode, _ = talk(crews)
    dialogue = Dialogue("d", episode.dialogue.opening, episode.dialogue.turns[:-1])
    everything = preferences(crews.of("rso"), dialogue)
    latest = preferences(crews.of("rso@latest"), dialogue)
    nothing = preferences(crews.of("rso@no-reasoner"), dialogue)
    last = dialogue.turns[-1].reply
    assert set(everything.liked) >= {*dialogue.opening.liked, *last.liked}
    assert (latest.liked, latest.disliked) == (last.liked, last.disliked)
    assert not set(dialogue.opening.liked) & set(latest.liked)
    assert nothing == Preferences()


def test_the_opening_is_the_latest_exchange_at_first(crews: Components) -> None:
    comedy = crews.world.catalogue.attributes.index("comedy")
    opening = Dialogue("d", Reply("Hello, I would like a comedy.", liked=(comedy,)))
    assert preferences(crews.of("rso@latest"), opening).liked == (comedy,)


@pytest.mark.parametrize("arm", ["rso@no-reasoner", "rso@latest"])
def test_without_the_global_view_less_is_found(crews: Components, full: Traces, arm: str) -> None:
    traces = held(crews, arm)
    read = tasks(traces)["preference_reasoner"]
    assert read == (0 if arm == "rso@no-reasoner" else turns(traces))
    for metric in ("sr@15", "recall@5"):
        difference, error = gap(full, traces, metric)
        assert difference > 2.5 * error


def test_without_retriever_claims_come_from_memory(crews: Components, full: Traces) -> None:
    traces = held(crews, "rso@no-retriever")
    assert tasks(traces)["fact_retriever"] == 0
    assert not any(turn["facts"] for line in traces for turn in line["turns"])
    assert mean(full, "cred") == 5.0
    difference, error = gap(full, traces, "cred")
    assert difference > 4 * error


def test_a_perfect_memory_needs_no_retriever_for_its_facts(
    movies: World, movies_embeddings: Embeddings
) -> None:
    parts = build(resolve({"misremembered": 0.0, "experts": {"retriever": "off"}}), movies, movies_embeddings)
    traces = held(parts, "max-entropy", 60)
    assert sum(t["metrics"]["cred"] is not None for t in traces) > 50
    assert mean(traces, "cred") == 5.0


def test_retrieval_by_similarity_lays_out_other_items(crews: Components) -> None:
    sessions = crews.world.sessions(Split.TEST, 40, 0)
    states = []

    class Listening(type(crews.policy("max-entropy", 0))):  # type: ignore[misc]  # a policy that shows its states
        def decide(self, seen: Any) -> Any:
            states.append(seen)
            return super().decide(seen)

    policy = Listening(crews.policy("max-entropy", 0).context)
    Conversations(crews).hold(policy, sessions)
    plans = [crews.policy("rso", 0).decide(batch) for batch in states]
    by_graph = [g for b, p in zip(states, plans, strict=True) for g in crews.retriever.ground(b, p)]
    similar = crews.of("rso@similarity").retriever
    by_similarity = [g for b, p in zip(states, plans, strict=True) for g in similar.ground(b, p)]
    rows = [state for batch in states for state in batch.rows]
    different = 0
    for state, graph, near in zip(rows, by_graph, by_similarity, strict=True):
        different += set(graph.items) != set(near.items)
        assert len(near.items) == crews.config.slate
        assert not set(near.items) & {*state.history, *state.preferences.rejected_items}
        assert near.facts is not None
        assert (near.attributes, near.confidence) == (graph.attributes, graph.confidence)
    assert different > len(rows) / 2


def test_similar_items_have_what_is_wished_for(crews: Components) -> None:
    catalogue = crews.world.catalogue
    wished = [catalogue.attributes.index(name) for name in ("comedy", "crime", "horror")]
    sessions = crews.world.sessions(Split.TEST, 1, 0)
    from unicrs_rl.dialogue import State

    for attribute in wished:
        state = State(1, (), Preferences(liked=(attribute,)), (), (), 15)
        states = crews.beliefs.states([state], crews.prior.log_scores(sessions))
        (found,) = crews.of("rso@similarity").retriever.ground(states, crews.policy("llm", 0).decide(states))
        assert all(attribute in catalogue.attributes_of(item) for item in found.items)


def test_the_actor_can_be_replaced(crews: Components) -> None:
    traces = held(crews, "rso@interleaved", 30)
    assert tasks(traces)["interleaved"] == turns(traces)
    assert tasks(traces)["actor"] == 0
    acts = [turn["decision"]["act"] for line in traces for turn in line["turns"][:2]]
    assert acts.count("ask") > 20
    assert acts.count("recommend") > 20


def test_settings_of_a_variant_are_over_those_of_its_arm_over_those_of_all() -> None:
    config = resolve(
        {
            "experts": {"reasoner": "latest", "retriever": "similarity"},
            "arm": {
                "rso": {"entropy": 0.5, "clip": 2.0, "experts": {"retriever": "off"}},
                "rso@x": {"entropy": 0.1, "experts": {"planner": "off"}},
            },
        }
    )
    assert config.experts_of("rso") == Experts(reasoner=Reading.LATEST, retriever=Retrieval.OFF)
    assert config.experts_of("rso@x") == Experts(
        planner=Planning.OFF, reasoner=Reading.LATEST, retriever=Retrieval.OFF
    )
    assert config.experts_of("unified") == Experts(reasoner=Reading.LATEST, retriever=Retrieval.SIMILARITY)
    assert config.settings("rso") == {"entropy": 0.5, "clip": 2.0}
    assert config.settings("rso@x") == {"entropy": 0.1, "clip": 2.0}


@pytest.mark.parametrize("arm", ["llm", "intercrs", "pccrs"])
def test_what_an_arm_needs_is_over_the_setting_of_all_and_under_its_own(arm: str) -> None:
    needs = policy_class(arm).experts
    everybody = resolve({"experts": {"actor": "persuasive", "planner": "policy"}})
    assert everybody.experts_of(arm).actor == needs["actor"]
    own = resolve({"arm": {arm: {"experts": {"actor": "persuasive"}}}})
    assert own.experts_of(arm).actor == "persuasive"
    assert own.experts_of(f"{arm}@x").actor == "persuasive"


def test_an_arm_is_compared_with_itself(tmp_path: Path) -> None:
    config = {
        "arms": "rso@no-planner,rso@no-retriever,rso@plain",
        "dialogues": 12,
        "train_dialogues": 16,
        "seeds": "0",
        "embeddings": {"epochs": 2},
        "arm": {
            "rso": {"width": 32, "warm_up_epochs": 1},
            "rso@no-planner": {"experts": {"planner": "off"}},
            "rso@no-retriever": {"experts": {"retriever": "off"}},
        },
    }
    found, _ = compare(resolve(config), tmp_path / "run")
    assert list(found["arms"]) == ["rso@no-planner", "rso@no-retriever", "rso@plain"]
    trained = {path.name for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors")}
    assert any(name.startswith("rso@plain") for name in trained)
    assert not any(name.startswith("rso@no-planner") for name in trained)
    assert found["arms"]["rso@plain"]["metrics"]["cred"] == 5.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"experts": {"actor": "credibel"}}, r"^experts\.actor: unknown actor .*did you mean credible\?$"),
        (
            {"experts": {"retriever": "of"}},
            r"^experts\.retriever: must be 'graph', 'similarity' or 'off' \(it is 'of'\)$",
        ),
        ({"experts": {"critic": "off"}}, r"^experts\.critic: there is no such setting$"),
        ({"experts": "off"}, r"^experts: must be a table"),
        (
            {"arm": {"rso": {"experts": {"reasoner": "all"}}}},
            r"^arm\.rso\.experts\.reasoner: must be 'global', 'latest' or 'off'",
        ),
        (
            {"arm": {"rso": {"experts": {"actor": "actr"}}}},
            r"^arm\.rso\.experts\.actor: unknown actor 'actr'; did you mean actor\?$",
        ),
        (
            {"arm": {"rso@x": {"experts": {"rewarder": "off"}}}},
            r"^arm\.rso@x\.experts\.rewarder: there is no",
        ),
        ({"arm": {"rso": {"experts": "off"}}}, r"^arm\.rso\.experts: must be a table"),
        ({"arms": "rso@No"}, r"^--arms: arm 'rso@No': a variant is named in small letters"),
        ({"arms": "rso@"}, r"^--arms: arm 'rso@': a variant is named in small letters"),
        ({"arms": "rso@../x"}, r"^--arms: arm 'rso@\.\./x': a variant is named"),
        ({"arms": "rsoo@x"}, r"^--arms: unknown arm 'rsoo'; did you mean rso"),
        ({"arm": {"rso@x": {"entropi": 1}}}, r"^arm\.rso@x\.entropi: "),
        ({"arms": "llm", "user": "mcr", "surface": "semantic"}, r"without words, which arm 'llm' needs$"),
    ],
)
def test_wrong_names_are_refused_in_one_line(settings: Mapping[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        resolve(settings)
    assert "\n" not in str(caught.value)
