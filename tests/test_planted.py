"""Planted worlds: what was computed against brute force, the real arms against what was computed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unicrs_rl.dialogue import STRATEGIES, Act, Decision, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import planted
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.traces import trace
from unicrs_rl.experiments.training import train
from unicrs_rl.graphs.planted import COMMON, PROBLEMS, Problem, plant
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.policy.base import Learner
from unicrs_rl.policy.control import COLUMNS, Control, Controller
from unicrs_rl.simulators.planted import PlantedSeekers
from unicrs_rl.simulators.seekers import Actions, SeekerContext

NAMES = tuple(PROBLEMS)
WHY = Strategy.CREDIBILITY
"""The one strategy that convinces in the tiny problem."""


def tiny(weights: tuple[int, ...], tags: dict[str, tuple[int, ...]], limit: int, reserved: bool) -> Problem:
    titles = ("Saltmarsh", "Nine Winters", "Kestrel Point", "Winterbourne Hall")[: len(weights)]
    return Problem("tiny", "", titles, tags, weights, limit, reserved, frozenset({WHY}))


def made(name: str, **settings: Any) -> Components:
    config = resolve({"world": name, **settings})
    return build(config, make_world(name), recommend_above=config.recommend_above or 0.5)


@pytest.fixture(scope="module")
def worlds() -> dict[str, Components]:
    return {name: made(name) for name in NAMES}


def played(components: Components, arm: str, words: bool = True) -> list[dict[str, Any]]:
    """Traces of an untrained arm over the whole population of the test split."""
    return held(components, components.policy(arm, seed=0), arm, words)


def held(components: Components, policy: Any, arm: str, words: bool = True) -> list[dict[str, Any]]:
    own = components.of(arm)
    sessions = own.world.sessions(Split.TEST, None, 0)
    return [trace(episode, arm, 0, own) for episode in Conversations(own, words).hold(policy, sessions)]


def success(lines: list[dict[str, Any]]) -> Fraction:
    return Fraction(sum(line["outcome"]["success"] for line in lines), len(lines))


# --- the dynamic programming against brute force ---

Tree = tuple[Any, dict[Any, Any]]
"""An action, and the tree to go on with after each answer."""


def actions_of(problem: Problem) -> list[tuple[str, Any, Strategy]]:
    listed = [
        ("recommend", item, h) for item in range(len(problem.items)) for h in (WHY, Strategy.NO_STRATEGY)
    ]
    asked = [("ask", tag, Strategy.NO_STRATEGY) for tag in problem.tags]
    return [*listed, *asked, ("chat", None, Strategy.NO_STRATEGY)]


def policies(problem: Problem, turns: int) -> Iterator[Tree]:
    """Every deterministic policy: it may do whatever it likes after whatever it has heard."""
    if not turns:
        yield None, {}
        return
    for action in actions_of(problem):
        answers = ("yes", "no") if action[0] == "ask" else ("no",)
        for later in product(list(policies(problem, turns - 1)), repeat=len(answers)):
            yield action, dict(zip(answers, later, strict=True))


def wins(problem: Problem, tree: Tree, item: int, reserved: bool) -> bool:
    """Play a policy against one seeker, without a belief or anything else of the solver's."""
    action, after = tree
    while action is not None:
        kind, about, strategy = action
        if kind == "recommend" and about == item and (strategy is WHY or not reserved):
            return True
        yes = kind == "ask" and item in problem.tags[about]
        action, after = after["yes" if yes else "no"]
    return False


@pytest.mark.parametrize(
    ("weights", "tags", "limit", "reserved"),
    [
        ((3, 2, 1), {"gothic": (0, 1)}, 2, True),
        ((1, 2, 2), {"gothic": (0, 1), "alpine": (0, 2)}, 2, True),
        ((2, 2, 1, 1), {"gothic": (0, 1), "alpine": (0, 2)}, 2, False),
        ((3, 2), {}, 3, True),
    ],
)
def test_no_policy_at_all_beats_the_computed_optimum(
    weights: tuple[int, ...], tags: dict[str, tuple[int, ...]], limit: int, reserved: bool
) -> None:
    problem = tiny(weights, tags, limit, reserved)
    pairs = [(i, kind) for i, weight in enumerate(weights) for kind in problem.kinds for _ in range(weight)]
    best = max(
        sum(wins(problem, tree, item, kind) for item, kind in pairs) for tree in policies(problem, limit)
    )
    assert planted.optimum(problem, Control()).success == Fraction(best, len(pairs))


# --- the truths, each of which can be found by hand ---


def test_the_four_truths() -> None:
    found = {
        name: (t.joint, t.decomposed, t.rules, t.without_strategy)
        for name in NAMES
        for t in (planted.truth(name),)
    }
    assert found == {
        # halve the four that are wanted (3/20 each), then list two; by rule: list three of them
        "planted-coupled": (4 * 3 / 20, 3 * 3 / 20, 3 * 3 / 20, 4 * 3 / 20),
        # two questions leave one of the four that are wanted (2/12 each) and one other: the former is listed
        "planted-separable": (8 / 12, 8 / 12, 8 / 12, 8 / 12),
        # two questions leave two of eight; the rules' strategies convince nobody who is reserved
        "planted-strategic": (0.5, 0.5, 0.25, 0.25),
        "planted-indifferent": (0.5, 0.5, 0.5, 0.5),
    }
    assert planted.truth("planted-coupled").margin == pytest.approx(0.15)
    assert planted.truth("planted-strategic").strategy_margin == 0.25


def test_in_coupled_the_question_is_worth_what_it_does_for_the_lists_that_follow() -> None:
    problem = PROBLEMS["planted-coupled"]
    solver, everything = planted.best(problem), frozenset(range(12))
    ids = {name: problem.catalogue.attributes.index(name) for name in problem.tags}
    assert solver.questions(everything)[0] == ids["bestselling"]
    worth = {name: solver.asked(everything, 3, ids[name]) for name in problem.tags}
    assert worth == {"bestselling": 8, "seafaring": 12, "alpine": 12}
    # with a turn more than it takes to list all four, the most informative question is as good
    assert solver.asked(everything, 5, ids["bestselling"]) >= solver.asked(everything, 5, ids["seafaring"])


def test_more_control_is_never_worse() -> None:
    some = [Controller.JOINT, Controller.RULE]
    for name in ("planted-coupled", "planted-strategic"):
        problem = PROBLEMS[name]
        value = {
            switches: planted.optimum(problem, Control(**dict(zip(COLUMNS, switches, strict=True)))).success
            for switches in product(some, repeat=4)
        }
        for switches, less in value.items():
            for column, switch in enumerate(switches):
                if switch is Controller.RULE:
                    freer = (*switches[:column], Controller.JOINT, *switches[column + 1 :])
                    assert value[freer] >= less


def test_nothing_is_computed_of_experts_and_unknown_worlds() -> None:
    with pytest.raises(ValueError, match="when: nothing can be computed"):
        planted.optimum(PROBLEMS["planted-coupled"], Control(when=Controller.EXPERT))
    with pytest.raises(InputError, match="planted-coupled"):
        planted.truth("planted-couple")


# --- the real arms, through the real conversations ---


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_max_entropy_reaches_exactly_what_was_computed_for_rules(
    name: str, words: bool, worlds: dict[str, Components]
) -> None:
    lines = played(worlds[name], "max-entropy", words)
    assert success(lines) == planted.optimum(PROBLEMS[name], planted.RULES).success


def test_every_threshold_does_what_was_computed_for_it(worlds: dict[str, Components]) -> None:
    name = "planted-coupled"
    everything, seen = frozenset(range(12)), set()
    for threshold in (0.1, 0.2, 0.4, 0.7):
        solver = planted.Solver(PROBLEMS[name], planted.RULES, threshold)
        lines = played(worlds[name].recommending_above(threshold), "max-entropy", words=False)
        assert success(lines) == Fraction(solver.value(everything, 3), 20)
        seen.add(success(lines))
    assert len(seen) > 1


@pytest.mark.parametrize("arm", ["max-entropy", "greedy", "halving"])
@pytest.mark.parametrize("name", NAMES)
def test_regret_is_what_an_arm_loses(name: str, arm: str, worlds: dict[str, Components]) -> None:
    lines = played(worlds[name], arm, words=False)
    lost = [planted.regret(PROBLEMS[name], line) for line in lines]
    assert min(map(min, lost)) >= 0.0
    assert planted.expected_success(PROBLEMS[name], lines) == pytest.approx(float(success(lines)), abs=1e-12)


def test_regret_says_which_turn_was_wrong() -> None:
    problem = PROBLEMS["planted-coupled"]
    ids = {name: problem.catalogue.attributes.index(name) for name in problem.tags}

    def turn(act: str, attributes: list[int], items: list[int], yes: bool = False) -> dict[str, Any]:
        answered = {"liked": attributes if yes else [], "disliked": [] if yes else attributes}
        decision = {"act": act, "strategy": "No Strategy", "attributes": attributes, "items": items}
        return {"decision": decision, "reply": {"accepted": None, **answered}}

    halved = [turn("ask", [ids["seafaring"]], [], yes=True), turn("recommend", [], [0])]
    assert planted.regret(problem, {"turns": [*halved, turn("recommend", [], [1])]}) == [0.0, 0.0, 0.0]
    told_apart = [turn("ask", [ids["bestselling"]], [], yes=True), turn("chat", [], [])]
    # 12 - 8 of 20 conversations are lost by the question; then one of two lists, 3 of the 12 left
    assert planted.regret(problem, {"turns": told_apart}) == [pytest.approx(0.2), pytest.approx(0.25)]


def test_beliefs_are_the_exact_prior(worlds: dict[str, Components]) -> None:
    for name, components in worlds.items():
        weights = np.array(PROBLEMS[name].weights) / sum(PROBLEMS[name].weights)
        for split in Split:
            sessions = components.world.sessions(split, None, 0)
            prior = np.exp(components.prior.log_scores(sessions))
            np.testing.assert_allclose(prior, np.tile(weights, (len(sessions), 1)), atol=1e-6)
            assert all(not session.history for session in sessions)
            counts = np.bincount([session.target for session in sessions], minlength=len(weights))
            np.testing.assert_array_equal(counts / len(sessions), weights)


def test_rewards_are_successes(worlds: dict[str, Components]) -> None:
    for line in played(worlds["planted-separable"], "max-entropy"):
        assert sum(turn["reward"] for turn in line["turns"]) == float(line["outcome"]["success"])


# --- the seekers ---


def test_reserved_seekers_take_what_they_want_with_some_strategies_only() -> None:
    for name in NAMES:
        problem, world = PROBLEMS[name], plant(PROBLEMS[name])
        sessions = world.sessions(Split.TEST, None, 0)
        seekers = PlantedSeekers(SeekerContext(world))
        for strategy in STRATEGIES:
            opening = seekers.reset(sessions)
            assert {world.catalogue.attributes[a] for a in opening.tolist()} == {COMMON}
            offers = [Decision(Act.RECOMMEND, strategy, items=(session.target,)) for session in sessions]
            rows = np.arange(len(sessions))
            accepted = seekers.respond(rows, Actions.of(offers)).accepted
            reserved = np.array([seekers.latents(row)["reserved"] == 1.0 for row in rows.tolist()])
            assert reserved.sum() == (len(rows) // 2 if problem.reserved else 0)
            assert accepted[~reserved].all()
            assert (accepted[reserved] == (strategy in problem.convincing)).all()
            wrong = [replace(offer, items=((offer.items[0] + 1) % len(problem.items),)) for offer in offers]
            assert not seekers.respond(rows, Actions.of(wrong)).accepted.any()


def test_planted_seekers_live_in_planted_worlds_only(movies: World) -> None:
    with pytest.raises(InputError, match="planted worlds only, not in 'movies'"):
        PlantedSeekers(SeekerContext(movies))
    with pytest.raises(InputError, match="takes no --data"):
        make_world("planted-coupled", Path("somewhere"))


def test_a_planted_world_brings_its_settings() -> None:
    config = resolve({"world": "planted-coupled"})
    assert (config.user, config.limit, config.slate, config.dialogues) == ("planted", 3, 1, 20)
    assert config.reward.signal == "success"
    given = resolve({"world": "planted-coupled", "limit": 5, "arm": {"unified": {"dim": 32}}})
    assert given.limit == 5
    assert given.settings("unified")["dim"] == 32
    assert given.settings("unified")["discount"] == 1.0


# --- what is learned ---


def learned(name: str, arm: str, seed: int, folder: Path) -> float:
    """Expected success of an arm once it is trained."""
    components = made(name, arms=(arm,))
    policy = components.of(arm).policy(arm, seed, components.config.train_dialogues)
    assert isinstance(policy, Learner)
    train(policy, arm, seed, components, RunFolder.open(folder, components.config, "refuse"))
    return planted.expected_success(PROBLEMS[name], held(components, policy, arm))


def test_the_notebook_is_kept_without_what_it_printed() -> None:
    path = Path(__file__).parent.parent / "docs" / "notebooks" / "joint_or_modular.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 3
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arm"), [("planted-coupled", "unified"), ("planted-strategic", "grid@decomposed")]
)
def test_learned_policies_come_within_two_percent_of_the_optimum(name: str, arm: str, tmp_path: Path) -> None:
    truth = planted.truth(name)
    best = truth.joint if arm == "unified" else truth.decomposed
    assert learned(name, arm, 0, tmp_path / "run") >= 0.98 * best
