"""The prompted baselines: one prompt for everything, interleaving, and explanations that check themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Act, Preferences, State, Strategy
from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.evaluation import evaluate
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.language.boundary import RETRIES, Prompt, Raw, Task
from unicrs_rl.language.credible import (
    ROUNDS,
    CriticInput,
    ExplanationInput,
    RefinerInput,
    choose_explanation,
    criticise,
    explanations,
    refine,
)
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.memory import Memory
from unicrs_rl.language.single_prompt import SINGLE_PROMPT

ARMS = ("llm", "intercrs", "pccrs")
Traces = list[dict[str, Any]]


def variants(world: World, embeddings: Embeddings, user: str = "latent") -> Components:
    """Components with the arms as they are, and ``pccrs`` from memory, with and without its self-check."""
    settings = {
        "pccrs@memory": {"experts": {"retriever": "off"}},
        "pccrs@unchecked": {"experts": {"retriever": "off", "actor": "persuasive"}},
    }
    return build(resolve({"user": user, "arm": settings}), world, embeddings)


def held(components: Components, arm: str, count: int, batch_size: int = 128) -> Traces:
    """Traces of held-out conversations, without what differs between two runs."""
    sessions = components.world.sessions(Split.TEST, count, 0)
    batches = evaluate(components.policy(arm, 0), arm, 0, components, sessions, batch_size=batch_size)
    traces = [line for batch in batches for line in batch]
    for call in (call for line in traces for turn in line["turns"] for call in turn["calls"]):
        del call["seconds"]
    return traces


def mean(traces: Traces, metric: str) -> float:
    return float(np.mean([v for t in traces if (v := t["metrics"][metric]) is not None]))


def tasks(turn: dict[str, Any]) -> list[str]:
    return [call["task"] for call in turn["calls"]]


@pytest.mark.parametrize("user", ["latent", "mcr"])
@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_leads_whole_conversations(
    movies: World, movies_embeddings: Embeddings, arm: str, user: str
) -> None:
    parts = variants(movies, movies_embeddings, user)
    traces = held(parts, arm, 60)
    for turn in (turn for line in traces for turn in line["turns"]):
        decision = turn["decision"]
        assert turn["utterance"]
        assert (decision["act"] == "recommend") == bool(decision["items"])
        assert (decision["act"] == "ask") == bool(decision["attributes"])
        assert len(decision["items"]) == len(set(decision["items"])) <= parts.config.slate
        assert not any(call["failure"] or call["retries"] for call in turn["calls"])
        assert not turn["invented"]
    assert sum(line["outcome"]["success"] for line in traces) > 25


@pytest.mark.parametrize("arm", [*ARMS, "pccrs@memory"])
def test_outcomes_do_not_depend_on_the_batch(movies: World, movies_embeddings: Embeddings, arm: str) -> None:
    parts = variants(movies, movies_embeddings)
    assert held(parts, arm, 40, batch_size=7) == held(parts, arm, 40)


def test_they_are_compared_and_evaluated_like_any_arm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    settings = {"arms": ",".join((*ARMS, "max-entropy")), "dialogues": 40, "embeddings": {"epochs": 2}}
    found, _ = compare(resolve(settings), run)
    costs = {arm: found["arms"][arm]["cost"]["lm_calls_per_dialogue"] for arm in ARMS}
    turns = Counter(
        arm for line in (run / "traces.jsonl").open() for arm in [json.loads(line)["arm"]] * turns_in(line)
    )
    assert costs["llm"] == pytest.approx(turns["llm"] / 40)  # one call a turn
    assert costs["intercrs"] == pytest.approx(3 * turns["intercrs"] / 40)
    assert costs["pccrs"] > 4 * turns["pccrs"] / 40
    capsys.readouterr()
    assert main(["evaluate", str(run), "--arm", "llm", "--dialogues", "40", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert (evaluated["arm"], evaluated["dialogues"]) == ("llm", 40)
    assert evaluated["sr@15"] > 0.4


def turns_in(line: str) -> int:
    return len(json.loads(line)["turns"])


# -- llm


def test_one_prompt_a_turn_decides_everything(components: Components) -> None:
    for line in held(components, "llm", 40):
        for turn in line["turns"]:
            assert tasks(turn) == ["single_prompt"]
            assert turn["facts"] == []


def test_its_prompt_holds_the_dialogue_and_nothing_that_others_found(components: Components) -> None:
    actor = components.of("llm").actor
    seen: list[str] = []

    class Listening(EmbeddedModel):
        def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
            assert task is SINGLE_PROMPT
            seen.extend(prompt.text for prompt in prompts)
            return super().generate(task, prompts)

    actor.model = Listening(components.world.catalogue.lexicon)
    states = components.beliefs.states(
        [
            State(
                key=1,
                history=(3, 4),
                preferences=Preferences(liked=(5,), summary="SECRET"),
                utterances=(("seeker", "Hello, a comedy please."),),
                decisions=(),
                limit=15,
            )
        ],
        components.prior.log_scores(components.world.sessions(Split.TEST, 1, 0)),
    )
    policy = components.policy("llm", 0)
    plans = policy.decide(states)
    actor.speak(states.rows, plans, components.retriever.ground(states, plans))
    (prompt,) = seen
    assert "Hello, a comedy please." in prompt
    assert "SECRET" not in prompt
    items = components.world.catalogue.items
    assert not [items[i] for i in (*states.items[0].tolist(), 3, 4) if items[i] in prompt]


def test_it_does_not_offer_again_what_was_turned_down(components: Components) -> None:
    offers = 0
    for line in held(components, "llm", 60):
        seen: set[int] = set()
        for turn in line["turns"]:
            assert not seen & set(turn["decision"]["items"])
            seen |= set(turn["reply"]["rejected"])
            offers += bool(turn["decision"]["items"])
    assert offers > 60


def invented_memory(world: World, share: float) -> Memory:
    """A memory of the world's films in which a share bears titles that no film has."""
    catalogue = world.catalogue
    items = [
        f"Zzyzx Number {index} (2099)" if index % 10 < share * 10 else name
        for index, name in enumerate(catalogue.items)
    ]
    known = np.asarray(world.interactions.sum(axis=0), dtype=np.float64).ravel()
    return Memory(items, catalogue.attributes, catalogue.relations, catalogue.edges, known, 0.0)


def test_titles_that_do_not_exist_are_dropped_and_kept_with_the_turn(components: Components) -> None:
    world = components.world
    model = EmbeddedModel(world.catalogue.lexicon, invented_memory(world, 0.4))
    traces = held(replace(components, model=model), "llm", 40)
    listed, invented = 0, 0
    for turn in (turn for line in traces for turn in line["turns"]):
        assert all(0 <= item < world.catalogue.n_items for item in turn["decision"]["items"])
        assert all(name.startswith("Zzyzx") and name in turn["utterance"] for name in turn["invented"])
        if turn["decision"]["items"]:
            assert len(turn["decision"]["items"]) + len(turn["invented"]) == components.config.slate
        listed += len(turn["decision"]["items"])
        invented += len(turn["invented"])
    assert 0.25 < invented / (listed + invented) < 0.8  # what was never on offer is not turned down


def test_a_list_of_nothing_but_inventions_is_talk(components: Components) -> None:
    world = components.world
    model = EmbeddedModel(world.catalogue.lexicon, invented_memory(world, 1.0))
    traces = held(replace(components, model=model), "llm", 10)
    turns = [turn for line in traces for turn in line["turns"]]
    assert any(turn["invented"] for turn in turns)
    assert all(turn["decision"]["act"] == "chat" for turn in turns if turn["invented"])
    assert not any(line["outcome"]["success"] for line in traces)


# -- intercrs


def test_questions_and_recommendations_take_turns(components: Components) -> None:
    for line in held(components, "intercrs", 40):
        acts = [turn["decision"]["act"] for turn in line["turns"]]
        assert acts[:14] == (["ask", "recommend"] * 7)[: len(acts[:14])]


# -- pccrs


def test_each_explanation_strategy_has_a_label_of_its_own() -> None:
    assert len({explanation.strategy for explanation in explanations().values()}) == 6


@pytest.mark.parametrize(
    ("state", "choice"),
    [
        ({}, "emotion appeal"),
        ({"used": ["emotion appeal"]}, "anchoring"),
        ({"wishes": 2}, "logical appeal"),
        ({"wishes": 2, "refused": 10}, "evidence-based"),
        ({"wishes": 2, "refused": 10, "used": ["evidence-based"]}, "social proof"),
        ({"wishes": 2, "refused": 10, "mood": "impatient"}, "framing"),
    ],
)
def test_the_strategy_follows_the_state(state: dict[str, Any], choice: str) -> None:
    inputs = {
        "noun": "movie",
        "dialogue": [],
        "turn": 0,
        "limit": 15,
        "preferences": "",
        "wishes": 0,
        "refused": 0,
        "mood": "neutral",
        "used": [],
        "strategies": {name: explanation.about for name, explanation in explanations().items()},
    }
    assert choose_explanation(ExplanationInput.model_validate(inputs | state)).strategy == choice


def test_a_decision_carries_the_label_of_its_explanation(components: Components) -> None:
    known = {explanation.strategy.value for explanation in explanations().values()}
    used = Counter(t["decision"]["strategy"] for x in held(components, "pccrs", 40) for t in x["turns"])
    assert set(used) <= known
    assert len(used) > 3


HEAT = {
    "Heat (1995)": {
        "director": ["Michael Mann"],
        "star": ["Al Pacino", "Robert De Niro"],
        "genre": ["crime"],
        "year": ["1995"],
    }
}


def heat_lexicon() -> Lexicon:
    people = ("Michael Mann", "J. J. Abrams", "Al Pacino", "Robert De Niro", "Robert Downey Jr.")
    names = (*people, "crime", "comedy")
    kinds = ("person",) * len(people) + ("genre",) * 2
    return Lexicon("movie", ("Heat (1995)", "Crime Story (2001)"), names, kinds)


DRAFT = (
    "What about Heat (1995)? It was directed by J. J. Abrams. It stars Robert Downey Jr.. Its genre is "
    "crime. It is from 1994. Give it a try. Otherwise, consider Crime Story (2001)."
)


def test_the_critic_finds_what_the_facts_do_not_bear_out() -> None:
    inputs = CriticInput(noun="movie", utterance=DRAFT, facts=HEAT)
    found = criticise(heat_lexicon(), inputs).wrong
    assert [wrong.claim for wrong in found] == [
        "It was directed by J. J. Abrams.",
        "It stars Robert Downey Jr..",
        "It is from 1994.",
    ]
    assert "Michael Mann" in found[0].problem


def test_the_refiner_tells_what_is_true_instead_or_nothing() -> None:
    facts = {"Heat (1995)": {relation: HEAT["Heat (1995)"][relation] for relation in ("director", "star")}}
    wrong = criticise(heat_lexicon(), CriticInput(noun="movie", utterance=DRAFT, facts=HEAT)).wrong
    inputs = RefinerInput(noun="movie", utterance=DRAFT, facts=facts, wrong=wrong, variant=7)
    text = refine(inputs).utterance
    assert "Abrams" not in text
    assert "Michael Mann" in text
    assert "Downey" not in text
    assert "Al Pacino" in text
    assert "1994" not in text  # nothing true to say instead: left out
    assert text.startswith("What about Heat (1995)? ")
    assert text.endswith("Give it a try. Otherwise, consider Crime Story (2001).")
    again = criticise(heat_lexicon(), CriticInput(noun="movie", utterance=text, facts=HEAT))
    assert again.wrong == []


def test_claims_from_memory_are_put_right(movies: World, movies_embeddings: Embeddings) -> None:
    parts = variants(movies, movies_embeddings)
    checked, unchecked = (held(parts, arm, 120) for arm in ("pccrs@memory", "pccrs@unchecked"))
    assert mean(unchecked, "cred") < 4.8
    assert mean(checked, "cred") > mean(unchecked, "cred") + 0.2
    rewritten = [t for x in checked for t in x["turns"] if "refiner" in tasks(t)]
    assert len(rewritten) > 20
    assert not any("refiner" in tasks(turn) for line in unchecked for turn in line["turns"])


def test_the_check_ends_with_the_first_clean_draft(components: Components) -> None:
    for turn in (turn for line in held(components, "pccrs", 40) for turn in line["turns"]):
        before = ["preference_reasoner", "fact_retriever", "explanation_strategy", "actor"]
        listed = turn["decision"]["act"] == "recommend"
        assert tasks(turn) == [*before, *(["critic"] if listed else [])]


class Stubborn(EmbeddedModel):
    """Refines one mistake into another, for ever."""

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        if task.name != "refiner":
            return super().generate(task, prompts)
        answers = []
        for prompt in prompts:
            text, claim = prompt.inputs.utterance, prompt.inputs.wrong[0].claim
            other = "It stars Nobody." if "Nobody" not in text else "It was directed by Nobody."
            answers.append(Raw(json.dumps({"utterance": text.replace(claim, other)}), 1, 1))
        return answers


def from_memory(components: Components, model: type[EmbeddedModel]) -> Components:
    """Components whose model remembers everything wrong."""
    world = components.world
    c = world.catalogue
    known = np.asarray(world.interactions.sum(axis=0), dtype=np.float64).ravel()
    memory = Memory(c.items, c.attributes, c.relations, c.edges, known, 1.0)
    return replace(components, model=model(c.lexicon, memory))


def test_there_are_two_rounds_at_most(movies: World, movies_embeddings: Embeddings) -> None:
    parts = from_memory(variants(movies, movies_embeddings), Stubborn)
    counts = Counter(
        (tasks(turn).count("critic"), tasks(turn).count("refiner"))
        for line in held(parts, "pccrs@memory", 60)
        for turn in line["turns"]
    )
    assert counts[ROUNDS, ROUNDS] > 5
    assert max(critics for critics, _ in counts) == max(refiners for _, refiners in counts) == ROUNDS


class Mumbling(EmbeddedModel):
    """A critic that never answers in the format."""

    def generate(self, task: Task[Any, Any], prompts: Sequence[Prompt[Any]]) -> list[Raw]:
        if task.name == "critic":
            return [Raw("Looks fine to me!", 1, 1) for _ in prompts]
        return super().generate(task, prompts)


def test_a_critic_that_fails_leaves_the_draft_and_a_record(
    movies: World, movies_embeddings: Embeddings
) -> None:
    parts = variants(movies, movies_embeddings)
    mumbled = held(from_memory(parts, Mumbling), "pccrs@memory", 10)
    unchecked = held(from_memory(parts, EmbeddedModel), "pccrs@unchecked", 10)
    said = [[turn["utterance"] for turn in line["turns"]] for line in mumbled]
    assert said == [[turn["utterance"] for turn in line["turns"]] for line in unchecked]
    failed = [call for x in mumbled for t in x["turns"] for call in t["calls"] if call["task"] == "critic"]
    assert failed
    assert all(call["failure"] and call["retries"] == RETRIES for call in failed)


def test_what_is_planned_stays_whoever_acts(components: Components) -> None:
    for name in ("single-prompt", "interleaved", "persuasive", "credible"):
        crew = components.experts.model_copy(update={"actor": name})
        parts = components.with_experts(crew)
        sessions = components.world.sessions(Split.TEST, 5, 0)
        states = components.beliefs.states(
            [
                State(s.key, s.history, Preferences(), (("seeker", "Hi, a comedy please."),), (), 15)
                for s in sessions
            ],
            components.prior.log_scores(sessions),
        )
        plans = components.policy("greedy", 0).decide(states)
        spoken = parts.actor.speak(states.rows, plans, parts.retriever.ground(states, plans))
        for plan, said in zip(plans, spoken, strict=True):
            assert said.decision.act is plan.act is Act.RECOMMEND
            assert said.decision.items == plan.items
            assert said.decision.strategy is plan.strategy is Strategy.PERSONAL_OPINION
