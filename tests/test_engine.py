"""The batched engine against the reference environment, the Gymnasium environment and by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import catalogue_of
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import Act, Decisions, Plan
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.experiments.rollout import evaluate, hold
from unicrs_rl.graphs.belief import Reject, Scoring, top_items
from unicrs_rl.graphs.candidates import Question, Switches
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States, padded
from unicrs_rl.graphs.world import Seeker, Session, Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.policy.base import ArmContext, Policy
from unicrs_rl.policy.rules import MaxEntropy
from unicrs_rl.simulators.engine import Engine, Scores
from unicrs_rl.simulators.environment import ConversationVectorEnv
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.protocol import Protocol
from unicrs_rl.simulators.seekers import Actions, Answer, SeekerContext

N_USERS = 1801  # of LastFM: rows of the released vectors before the items'


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[dict[str, Any]]:
    """200 dialogues with UNICORN's released environment on LastFM."""
    lines = (shared / "fixtures" / "unicorn_env_lastfm.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def lastfm(shared: Path) -> World:
    return make_world("lastfm", shared / "data" / "lastfm")


def engine_of_the_reference(lastfm: World, shared: Path, first: dict[int, int]) -> Engine:
    """The reference's arithmetic with its released vectors; ``first`` by session index."""
    vectors = np.load(shared / "data" / "lastfm" / "transe.npz")
    users, items = vectors["user_item"][:N_USERS], vectors["user_item"][N_USERS:]
    engine = Engine(
        lastfm,
        lambda those: (users[[int(one.seeker) for one in those]] @ items.T).astype(np.float64),
        Switches(reject=Reject.PENALTY, scoring=Scoring.UNICORN),
        protocol=Protocol.UNICORN_CODE,
        embeddings=Embeddings(items, vectors["attribute"], np.zeros(64, dtype=np.float32)),
    )
    opening = np.array([first[index] for index in sorted(first)])
    engine.seekers.opening = lambda rows: opening[rows]  # type: ignore[method-assign]
    return engine


def test_every_recorded_turn_of_the_reference_environment_is_reproduced(
    lastfm: World, shared: Path, recorded: list[dict[str, Any]]
) -> None:
    first = {index: line["first_attribute"] for index, line in enumerate(recorded)}
    engine = engine_of_the_reference(lastfm, shared, first)
    sessions = [Session(i, str(line["user"]), line["target"], (), i) for i, line in enumerate(recorded)]
    states = engine.begin(sessions)
    compared = 0
    for step in range(15):
        lines = [recorded[row] for row in engine.rows]
        turns = [line["turns"][step] for line in lines]
        best = states.item_weights.sum(axis=1)
        act, asked = np.full(len(turns), Act.CHAT), np.full((len(turns), 1), -1)
        for row, turn in enumerate(turns):
            listed = [item for item in states.items[row].tolist() if item >= 0]
            assert states.left[row] == turn["n_candidates"]
            assert listed == turn["top10"]
            assert best[row] == pytest.approx(turn["p10"], abs=1e-5)
            assert states.entropies[row].max() == pytest.approx(turn["max_entropy"], abs=1e-5)
            assert turn["action"].get("recommend", listed) == listed
            act[row] = Act.ASK if "ask" in turn["action"] else Act.RECOMMEND
            asked[row] = turn["action"].get("ask", -1)
        items = np.where((act == Act.RECOMMEND)[:, None], states.items, -1)
        turnout, states = engine.step(Decisions(act, np.zeros_like(act), asked, items))
        for row, (line, turn) in enumerate(zip(lines, turns, strict=True)):
            last = step + 1 == len(line["turns"])
            assert turnout.rewards[row] == turn["reward"]
            assert turnout.over[row] == last
            if last:
                assert turnout.success[row] == line["success"]
                if line["success"]:
                    assert (turnout.rank[row], step) == (line["rank"], line["success_turn"])
            elif "ask" in turn["action"]:
                assert turnout.yes[row] == bool(turn["answer"])
            compared += 1
        if not len(states):
            break
    assert compared == sum(len(line["turns"]) for line in recorded) == 2057


# --- small worlds


def world_of(owned: NDArray[np.bool_], taxonomy: dict[str, tuple[int, ...]] | None = None) -> World:
    """A world of a catalogue alone, from ``[items, attributes]`` of bool."""
    nothing: dict[Split, list[tuple[int, int]]] = {split: [] for split in Split}
    seekers = (Seeker("0", ()),)
    return World("small", catalogue_of(owned, taxonomy), seekers, np.zeros((0, 2), dtype=np.int64), nothing)


def scattered(seed: int, n_items: int = 60, n_attributes: int = 20) -> World:
    """A random catalogue whose items have from one attribute to many."""
    rng = np.random.default_rng(seed)
    owned = rng.random((n_items, n_attributes)) < rng.choice([0.05, 0.2, 0.5], size=(n_items, 1))
    owned[:, 0] |= ~owned.any(axis=1)
    return world_of(owned)


def indifferent(world: World) -> Scores:
    """Every item is as likely."""
    n = world.catalogue.n_items
    return lambda sessions: np.full((len(sessions), n), -np.log(n))


def knowing(world: World, weight: float = 50.0) -> Scores:
    """Almost all weight on the target; with a negative ``weight``, almost none."""
    n = world.catalogue.n_items
    return lambda sessions: weight * (np.arange(n) == [[one.target] for one in sessions])


def sessions_for(targets: Sequence[int], key: int = 0) -> list[Session]:
    return [Session(i, "0", int(target), (), draws.key(key, i)) for i, target in enumerate(targets)]


def do(
    states: States, act: Act, attributes: Sequence[int] = (), items: Sequence[int] | None = None
) -> Decisions:
    """The same decision in every conversation; a recommendation shows the best items, or those given."""
    n = len(states)
    asked = padded([attributes] * n)
    listed = states.items[:, : states.slate] if items is None else padded([items] * n)
    nothing = np.full((n, 1), -1)
    return Decisions(
        act=np.full(n, int(act)),
        strategy=np.zeros(n, dtype=np.int64),
        attributes=asked if act is Act.ASK else nothing,
        items=listed if act is Act.RECOMMEND else nothing,
    )


def foreign_to(world: World, item: int) -> int:
    """An attribute that an item has not."""
    return int(np.setdiff1d(np.arange(world.catalogue.n_attributes), world.catalogue.attributes_of(item))[0])


# --- protocols and rewards


@pytest.mark.parametrize(("protocol", "acting"), [(Protocol.DEFAULT, 15), (Protocol.UNICORN_CODE, 14)])
def test_protocols_differ_by_one_acting_turn(movies: World, protocol: Protocol, acting: int) -> None:
    """The last acting turn can succeed; the fifteenth call is too late for the released code."""
    for idle in (acting - 1, 14):
        engine = Engine(movies, knowing(movies), protocol=protocol)
        states = engine.begin(sessions_for([9]))
        assert states.past.limit == acting
        for _ in range(idle):
            turnout, states = engine.step(do(states, Act.CHAT))
            assert (turnout.rewards.tolist(), turnout.over.tolist()) == ([-0.1], [False])
        turnout, states = engine.step(do(states, Act.RECOMMEND))
        success = idle < acting
        assert turnout.success.tolist() == [success]
        assert turnout.rewards.tolist() == [1.0 if success else -0.3]
        assert turnout.rank.tolist() == [1 if success else 0]
        assert turnout.over.tolist() == [True]
        assert len(states) == 0


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("what", ["chat", "wanted", "unwanted", "wrong list"])
def test_the_fifteenth_call_without_success_is_out_of_turns(
    movies: World, protocol: Protocol, what: str
) -> None:
    engine = Engine(movies, knowing(movies, -50.0), protocol=protocol)
    states = engine.begin(sessions_for([9]))
    for _ in range(14):
        _, states = engine.step(do(states, Act.CHAT))
    own = int(movies.catalogue.attributes_of(9)[0])
    last = {
        "chat": do(states, Act.CHAT),
        "wanted": do(states, Act.ASK, [own]),
        "unwanted": do(states, Act.ASK, [foreign_to(movies, 9)]),
        "wrong list": do(states, Act.RECOMMEND, items=[8]),
    }
    turnout, states = engine.step(last[what])
    assert (turnout.rewards.tolist(), turnout.over.tolist(), turnout.success.tolist()) == (
        [-0.3],
        [True],
        [False],
    )


def test_rewards_of_every_event(movies: World) -> None:
    """Ask success 0.01, failure -0.1; chat -0.1; recommend failure -0.1, success 1; out of turns -0.3."""
    engine = Engine(movies, knowing(movies), limit=5)
    states = engine.begin(sessions_for([9, 9]))
    own = int(np.setdiff1d(movies.catalogue.attributes_of(9), states.past.wanted[:, 0])[0])
    other = foreign_to(movies, 9)
    found = []
    for decisions in (
        lambda s: do(s, Act.ASK, [own]),
        lambda s: do(s, Act.ASK, [other]),
        lambda s: do(s, Act.CHAT),
        lambda s: do(s, Act.RECOMMEND, items=[8, 7]),
    ):
        turnout, states = engine.step(decisions(states))
        found.append(turnout.rewards.tolist())
    lists = do(states, Act.RECOMMEND, items=[8, 9])
    lists.items[1, 1] = 10
    turnout, _ = engine.step(lists)
    assert [*found, turnout.rewards.tolist()] == [[0.01] * 2, [-0.1] * 2, [-0.1] * 2, [-0.1] * 2, [1.0, -0.3]]
    assert turnout.rank.tolist() == [2, 0]


def test_a_question_about_several_attributes_succeeds_with_any(movies: World) -> None:
    engine = Engine(movies, indifferent(movies))
    states = engine.begin(sessions_for([9]))
    own = int(np.setdiff1d(movies.catalogue.attributes_of(9), states.past.wanted[:, 0])[0])
    turnout, _ = engine.step(do(states, Act.ASK, [foreign_to(movies, 9), own]))
    assert (turnout.rewards.tolist(), turnout.yes.tolist()) == ([0.01], [True])


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("n_items", [10, 11])
def test_a_declined_list_leaves_few_candidates_only_by_default(protocol: Protocol, n_items: int) -> None:
    """The released code removes it only where more than ten are left."""
    world = world_of(np.ones((n_items, 2), dtype=bool))
    engine = Engine(world, indifferent(world), protocol=protocol)
    states = engine.begin(sessions_for([n_items - 1]))
    assert states.left.tolist() == [n_items]
    _, states = engine.step(do(states, Act.RECOMMEND, items=[0, 1, 2]))
    removed = 3 if protocol is Protocol.DEFAULT or n_items > 10 else 0
    assert states.left.tolist() == [n_items - removed]
    assert states.past.declined[0, 0] == 0
    assert states.past.streak.tolist() == [1]


# --- questions that name several attributes


MENU = np.array(
    [
        [1, 1, 0, 0, 1, 0],
        [1, 0, 1, 0, 1, 0],
        [1, 0, 0, 1, 0, 1],
        [1, 1, 1, 0, 0, 1],
        [1, 1, 0, 0, 0, 1],
        [1, 0, 1, 0, 0, 1],
    ],
    dtype=bool,
)
"""Six dishes; attributes 1 to 3 are of one category, 4 and 5 of another."""


@pytest.mark.parametrize(
    ("question", "named", "left"),
    [
        (Question.BINARY, [[1]], [0, 3, 4]),
        (Question.ENUMERATED, [[1, 2, 3]], [0, 4]),
        (Question.MULTI_CHOICE, [[1, 2]], [0, 4]),
    ],
)
def test_every_named_attribute_is_answered(
    question: Question, named: list[list[int]], left: list[int]
) -> None:
    """The seeker of dish 0 (1 and 4) says yes to 1 and no to the others that were named."""
    world = world_of(MENU, {"food": (1, 2, 3), "mood": (4, 5), "any": (0,)})
    engine = Engine(world, indifferent(world), Switches(question=question, choices=2, volunteered=False))
    engine.seekers.opening = lambda rows: np.zeros(len(rows), dtype=np.int64)  # type: ignore[method-assign]
    states = engine.begin(sessions_for([0]))
    assert states.named[0, :1].tolist() == named
    turnout, states = engine.step(do(states, Act.ASK, named[0]))
    assert states.candidates[: states.offsets[1]].tolist() == left
    assert set(states.past.wanted[0].tolist()) == {0, 1, -1}
    assert set(states.past.unwanted[0].tolist()) == {*named[0][1:], -1}
    assert set(states.past.asked[0].tolist()) == {0, *named[0], -1}
    assert not set(states.attributes[0].tolist()) & set(named[0])
    assert turnout.rewards.tolist() == [0.01]


@pytest.mark.parametrize("question", list(Question))
def test_rules_hold_conversations_with_every_kind_of_question(movies: World, question: Question) -> None:
    """Questions that name more need fewer turns."""
    engine = Engine(movies, indifferent(movies), Switches(question=question, choices=4))
    policy = MaxEntropy(context_of(movies))
    found = hold(engine, policy, movies.sessions(Split.TEST, 60, 0))
    plain = hold(Engine(movies, indifferent(movies)), policy, movies.sessions(Split.TEST, 60, 0))
    assert found.success.mean() > 0.7
    assert found.turn.mean() <= plain.turn.mean()


def context_of(world: World, **changes: Any) -> ArmContext:
    """What a rule needs."""
    n_items, n_attributes = world.catalogue.n_items, world.catalogue.n_attributes
    vectors = np.zeros((n_items + n_attributes, 4), dtype=np.float32)
    nowhere = Embeddings(vectors[:n_items], vectors[n_items:], vectors[0])
    return ArmContext(world.catalogue, nowhere, seed=0, **changes)


# --- answers that are wrong


def test_answers_are_flipped_at_the_rate_of_the_noise() -> None:
    world = scattered(0)
    targets = np.random.default_rng(0).integers(60, size=2000)
    seekers = McrSeekers(SeekerContext(world, noise=0.2))
    seekers.reset(sessions_for(targets))
    rows, zero = np.arange(2000), np.zeros(2000, dtype=np.int64)
    everything = np.tile(np.arange(20), (2000, 1))
    move = Actions(zero + Act.ASK, zero, everything, np.full((2000, 1), -1), zero)
    answers = seekers.respond(rows, move).answers
    truth = np.where(world.catalogue.item_attributes[targets].toarray() > 0, Answer.YES, Answer.NO)
    wrong = answers != truth
    assert wrong.mean() == pytest.approx(0.2, abs=0.01)
    assert wrong.mean(axis=0) == pytest.approx(np.full(20, 0.2), abs=0.04)
    assert np.corrcoef(wrong[:, 0], wrong[:, 1])[0, 1] == pytest.approx(0.0, abs=0.08)
    np.testing.assert_array_equal(seekers.respond(rows, move).answers, answers)  # asked again


def test_nobody_begins_with_a_mistake() -> None:
    world = scattered(0)
    sessions = sessions_for(np.random.default_rng(0).integers(60, size=500))
    found = [
        Engine(world, indifferent(world), Switches(noise=noise)).begin(sessions).past.wanted[:, 0]
        for noise in (0.0, 0.4)
    ]
    np.testing.assert_array_equal(*found)
    for session, attribute in zip(sessions, found[0].tolist(), strict=True):
        assert attribute in world.catalogue.attributes_of(session.target)


def targets_left(engine: Engine, policy: Policy, sessions: list[Session]) -> float:
    """Share of the conversations in which the target was a candidate all the time."""
    lost = np.zeros(len(sessions), dtype=bool)
    states = engine.begin(sessions)
    while len(states):
        for index, row in enumerate(engine.rows.tolist()):
            part = slice(*states.offsets[index : index + 2].tolist())
            lost[row] |= sessions[row].target not in states.candidates[part]
        _, states = engine.step(policy.choose(states))
    return 1.0 - float(lost.mean())


@pytest.mark.parametrize(("noise", "reject", "all_left"), [
    (0.0, Reject.FILTER, True), (0.2, Reject.FILTER, False), (0.2, Reject.NOISY, True)
])  # fmt: skip
def test_a_mistake_loses_the_target_unless_it_is_allowed_for(
    noise: float, reject: Reject, all_left: bool
) -> None:
    world = scattered(1)
    sessions = sessions_for(np.random.default_rng(1).integers(60, size=200))
    engine = Engine(world, indifferent(world), Switches(reject=reject, noise=noise), slate=3)
    left = targets_left(engine, MaxEntropy(context_of(world, slate=3)), sessions)
    assert (left == 1.0) == all_left
    assert left > 0.1


def test_allowing_for_mistakes_finds_more() -> None:
    world = scattered(2, n_items=300, n_attributes=60)
    sessions = sessions_for(np.random.default_rng(2).integers(300, size=400))
    policy = MaxEntropy(context_of(world, slate=3))
    found = {
        reject: hold(
            Engine(world, indifferent(world), Switches(reject=reject, noise=0.1), slate=3), policy, sessions
        )
        for reject in (Reject.FILTER, Reject.NOISY)
    }
    assert found[Reject.NOISY].success.mean() > found[Reject.FILTER].success.mean() + 0.1


# --- what is believed is what happens


@pytest.mark.parametrize(
    "switches", [Switches(), Switches(reject=Reject.NOISY, noise=0.15)], ids=["certain", "noisy"]
)
def test_confidence_is_how_often_the_list_hits(switches: Switches) -> None:
    """With wishes as likely as the prior has it, after 0 to 5 questions: within three standard errors."""
    world = scattered(3)
    sessions = sessions_for(np.random.default_rng(3).integers(60, size=3000))
    engine = Engine(world, indifferent(world), switches, slate=4)
    policy = MaxEntropy(context_of(world, slate=4, recommend_above=2.0))
    states = engine.begin(sessions)
    for _ in range(6):
        targets = np.array([sessions[row].target for row in engine.rows])
        hit = (states.items[:, :4] == targets[:, None]).any(axis=1)
        gap = states.confidence - hit
        assert abs(gap.mean()) < 3 * gap.std() / np.sqrt(len(gap)) + 1e-9
        _, states = engine.step(policy.choose(states))


def test_weighing_what_is_volunteered_makes_the_target_likelier() -> None:
    world = scattered(4)
    sessions = sessions_for(np.random.default_rng(4).integers(60, size=1000))
    targets = np.array([session.target for session in sessions])
    found = []
    for volunteered in (True, False):
        states = Engine(world, indifferent(world), Switches(volunteered=volunteered), k=60).begin(sessions)
        at = (states.items == targets[:, None]).argmax(axis=1)
        found.append(np.log(states.item_weights[np.arange(1000), at]))
    gain = found[0] - found[1]
    assert gain.mean() > 5 * gain.std() / np.sqrt(1000)


# --- the same as elsewhere


@pytest.fixture(scope="module")
def mcr(movies: World, movies_embeddings: Embeddings) -> Components:
    """Components on ``movies`` with ``mcr`` seekers."""
    return build(resolve({"user": "mcr"}), movies, movies_embeddings)


RULES = ("max-entropy", "few-left", "halving", "minicorn", "greedy", "random")


@pytest.mark.parametrize("arm", ["max-entropy", "greedy", "halving", "few-left", "unified"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_engine_holds_the_conversations_of_the_general_loop(
    movies: World, movies_embeddings: Embeddings, arm: str, noise: float
) -> None:
    settings = {"user": "mcr"} | ({"noise": noise, "reject": "noisy"} if noise else {})
    parts = build(resolve(settings), movies, movies_embeddings)
    policy = parts.policy(arm, 0)
    sessions = movies.sessions(Split.TEST, 80, 0)
    found = hold(parts.engine(), policy, sessions)
    for row, episode in enumerate(Conversations(parts, words=False).hold(policy, sessions)):
        outcome = episode.dialogue.outcome
        assert outcome is not None
        assert found.success[row] == outcome.success
        assert found.turn[row] == outcome.turn
        assert found.rank[row] == (outcome.rank or 0)
        assert found.reward[row] == pytest.approx(sum(turn.reward for turn in episode.dialogue.turns))
    assert found.success.any()
    assert len(set(found.turn.tolist())) > 1


def test_policies_are_shown_the_same_by_the_engine_and_the_general_loop(
    mcr: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasts and beliefs, turn by turn."""
    policy = mcr.policy("max-entropy", 0)
    sessions = mcr.world.sessions(Split.TEST, 30, 1)
    seen: list[States] = []
    decide = policy.decide

    def recording(states: States) -> list[Plan]:
        seen.append(states)
        return decide(states)

    monkeypatch.setattr(policy, "decide", recording)
    Conversations(mcr, words=False).hold(policy, sessions)
    engine = mcr.engine()
    states = engine.begin(sessions)
    for other in seen:
        for name in ("keys", "turn", "mood", "streak"):
            np.testing.assert_array_equal(getattr(states.past, name), getattr(other.past, name), name)
        for name in ("wanted", "unwanted", "indifferent", "declined", "events", "strategies"):
            mine, theirs = getattr(states.past, name), getattr(other.past, name)
            width = max(mine.shape[1], theirs.shape[1])
            wide = [
                np.pad(one, ((0, 0), (0, width - one.shape[1])), constant_values=-1) for one in (mine, theirs)
            ]
            np.testing.assert_array_equal(*wide, name)
        assert [set(row) - {-1} for row in states.past.asked.tolist()] == [
            set(row) - {-1} for row in other.past.asked.tolist()
        ]
        assert states.past.limit == other.past.limit
        for name in ("items", "attributes", "named", "left"):
            np.testing.assert_array_equal(getattr(states, name), getattr(other, name), name)
        for name in ("item_weights", "masses", "entropies", "concentration", "confidence", "hits"):
            np.testing.assert_allclose(getattr(states, name), getattr(other, name), atol=1e-9, err_msg=name)
        _, states = engine.step(policy.choose(states))
    assert not len(states)


def test_the_engine_believes_what_the_gymnasium_environment_believes(movies: World) -> None:
    """The same random questions and lists: candidates, best items, confidence, rewards, ends."""
    sessions = movies.sessions(Split.TEST, 20, 2)
    env = ConversationVectorEnv(movies, 20, user="mcr")
    env.reset(options={"sessions": sessions})
    engine = Engine(movies, indifferent(movies), Switches(volunteered=False))
    states = engine.begin(sessions)
    rng = np.random.default_rng(0)
    ended = 0
    while len(states):
        rows = engine.rows
        assert env.candidates[rows].sum(axis=1).tolist() == states.left.tolist()
        best = top_items(env.weights[rows], 10)
        np.testing.assert_array_equal(best, states.items)
        listing = rng.random(len(rows)) < 0.3
        asked = states.attributes[np.arange(len(rows)), rng.integers(0, 3, len(rows))]
        listing |= asked < 0
        codes = np.zeros(20, dtype=np.int64)
        codes[rows] = np.where(listing, 1, 2 + asked)
        observation, rewards, over, late, _ = env.step(codes)
        decisions = Decisions(
            act=np.where(listing, int(Act.RECOMMEND), int(Act.ASK)),
            strategy=np.zeros(len(rows), dtype=np.int64),
            attributes=np.where(listing, -1, asked)[:, None],
            items=np.where(listing[:, None], states.items, -1),
        )
        turnout, states = engine.step(decisions)
        assert turnout.rewards.tolist() == rewards[rows].tolist()
        assert turnout.success.tolist() == over[rows].tolist()
        assert turnout.over.tolist() == (over | late)[rows].tolist()
        np.testing.assert_allclose(states.confidence, observation["confidence"][engine.rows, 0], rtol=1e-6)
        ended += int(turnout.over.sum())
    assert ended == 20


@pytest.mark.parametrize("arm", [*RULES, "unified"])
def test_results_do_not_depend_on_the_batch(mcr: Components, arm: str) -> None:
    sessions = mcr.world.sessions(Split.TEST, 60, 3)
    policy = mcr.policy(arm, 0)
    whole = evaluate(mcr.engine(), policy, sessions)
    for size in (1, 7):
        parts = evaluate(mcr.engine(), policy, sessions, batch_size=size)
        for name in ("success", "turn", "rank", "reward"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_every_policy_meets_the_same_first_attribute(mcr: Components) -> None:
    """Whatever the policy, the belief, the protocol, the batch, or what the engine held before."""
    sessions = mcr.world.sessions(Split.TEST, 40, 4)
    world = mcr.world
    expected = Conversations(mcr, words=False).hold(mcr.policy("random", 0), sessions)
    first = [episode.dialogue.opening.liked[0] for episode in expected]
    used = mcr.engine()
    hold(used, mcr.policy("max-entropy", 0), sessions[:5])
    engines = [
        used,
        Engine(world, indifferent(world), Switches(reject=Reject.NONE), protocol=Protocol.UNICORN_CODE),
        Engine(world, knowing(world), Switches(question=Question.MULTI_CHOICE, noise=0.3), limit=5),
    ]
    for engine in engines:
        assert engine.begin(sessions).past.wanted[:, 0].tolist() == first
        assert engine.begin(sessions[7:9]).past.wanted[:, 0].tolist() == first[7:9]
    seen = []
    for arm in RULES:
        policy = mcr.policy(arm, 0)
        choose = policy.choose
        policy.choose = lambda states, _c=choose: (seen.append(states.past.events[:, 0]), _c(states))[1]  # type: ignore[method-assign]
        hold(mcr.engine(), policy, sessions)
    assert {tuple(events.tolist()) for events in seen if len(events) == 40} == {
        tuple(world.catalogue.n_items + attribute for attribute in first)
    }


def test_who_has_ended_is_shown_no_more(movies: World) -> None:
    engine = Engine(movies, indifferent(movies))
    sessions = movies.sessions(Split.TEST, 6, 5)
    states = engine.begin(sessions)
    decisions = do(states, Act.CHAT)
    decisions.act[[1, 4]] = Act.RECOMMEND
    lists = np.full((6, 1), -1)
    lists[[1, 4], 0] = [sessions[1].target, sessions[4].target]
    turnout, states = engine.step(Decisions(decisions.act, decisions.strategy, decisions.attributes, lists))
    assert turnout.rows.tolist() == list(range(6))
    assert turnout.over.tolist() == [False, True, False, False, True, False]
    assert engine.rows.tolist() == [0, 2, 3, 5]
    assert states.past.keys.tolist() == [sessions[row].key for row in (0, 2, 3, 5)]
    assert (states.past.events[:, 1] == -1).all()
    assert (states.past.strategies[:, 1] == 0).all()
    turnout, _ = engine.step(do(states, Act.CHAT))
    assert turnout.rows.tolist() == [0, 2, 3, 5]
