"""The entity-level seeker and its protocol, against the reference environment and by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act
from unicrs_rl.graphs.belief import Reject, Scoring, top_items
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.simulators.environment import (
    CHAT,
    FIRST_QUESTION,
    RECOMMEND,
    ConversationVectorEnv,
    Protocol,
)
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.seekers import NOTHING, Actions, Answer, SeekerContext

CERTAIN = [reject for reject in Reject if reject is not Reject.NOISY]
N_USERS = 1801  # of LastFM: rows of the released vectors before the items'


def session(target: int, key: int = 0, seeker: str = "0") -> Session:
    return Session(0, seeker, target, (), key)


def knowing(world: World) -> Any:
    """A prior that puts all weight on the target, so that recommending succeeds."""

    def prior(sessions: list[Session]) -> NDArray[np.float64]:
        scores = np.zeros((len(sessions), world.catalogue.n_items))
        scores[np.arange(len(sessions)), [one.target for one in sessions]] = 50.0
        return scores

    return prior


def ignorant(world: World) -> Any:
    """A prior that puts the target last, so that a list fails while enough others are left."""
    prior = knowing(world)
    return lambda sessions: -prior(sessions)


def volunteering(world: World, target: int, attribute: int) -> int:
    """The first key under which the seeker of this target opens with this attribute."""
    owned = world.catalogue.attributes_of(target).tolist()
    chosen = (draws.uniform(np.arange(2000), 0, "opening") * len(owned)).astype(int)
    return int(np.flatnonzero(chosen == owned.index(attribute))[0])


def start(world: World, sessions: list[Session], **options: Any) -> ConversationVectorEnv:
    env = ConversationVectorEnv(world, len(sessions), user="mcr", **options)
    env.reset(options={"sessions": sessions})
    return env


def play(env: ConversationVectorEnv, codes: list[int]) -> list[tuple[float, bool, bool]]:
    """Reward, terminated and truncated of each action in a batch of one, up to the end."""
    found = []
    for code in codes:
        _, rewards, over, late, _ = env.step(np.array([code]))
        found.append((float(rewards[0]), bool(over[0]), bool(late[0])))
        if over[0] or late[0]:
            break
    return found


# --- the reference environment


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[dict[str, Any]]:
    """200 dialogues with UNICORN's released environment on LastFM."""
    lines = (shared / "fixtures" / "unicorn_env_lastfm.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def lastfm(shared: Path) -> World:
    return make_world("lastfm", shared / "data" / "lastfm")


def replay(
    lastfm: World, shared: Path, recorded: list[dict[str, Any]], reject: Reject = Reject.PENALTY
) -> ConversationVectorEnv:
    """The recorded users, targets and first attributes under the reference's switches and vectors."""
    vectors = np.load(shared / "data" / "lastfm" / "transe.npz")
    users, items = vectors["user_item"][:N_USERS], vectors["user_item"][N_USERS:]
    sessions = [
        session(
            line["target"], volunteering(lastfm, line["target"], line["first_attribute"]), str(line["user"])
        )
        for line in recorded
    ]
    return start(
        lastfm,
        sessions,
        protocol=Protocol.UNICORN_CODE,
        reject=reject,
        scoring=Scoring.UNICORN,
        embeddings=Embeddings(items, vectors["attribute"], np.zeros(64, dtype=np.float32)),
        prior=lambda those: (users[[int(one.seeker) for one in those]] @ items.T).astype(np.float64),
    )


def code_of(turn: dict[str, Any]) -> int:
    action = turn["action"]
    return FIRST_QUESTION + action["ask"] if "ask" in action else RECOMMEND


def test_every_recorded_turn_of_the_reference_environment_is_reproduced(
    lastfm: World, shared: Path, recorded: list[dict[str, Any]]
) -> None:
    env = replay(lastfm, shared, recorded)
    compared = 0
    for step in range(15):
        live = [row for row, line in enumerate(recorded) if step < len(line["turns"])]
        now = {row: recorded[row]["turns"][step] for row in live}
        weights, counts, entropies = env.weights.copy(), env.candidates.sum(axis=1), env.question_entropies()
        best = top_items(weights, 10)
        for row, turn in now.items():
            listed = [item for item in best[row].tolist() if item != NOTHING]
            assert counts[row] == turn["n_candidates"]
            assert listed == turn["top10"]
            assert weights[row, listed].sum() == pytest.approx(turn["p10"], abs=1e-6)
            assert entropies[row].max() == pytest.approx(turn["max_entropy"], abs=1e-6)
            assert turn["action"].get("recommend", listed) == listed
        codes = np.full(len(recorded), CHAT)
        codes[live] = [code_of(turn) for turn in now.values()]
        asked = np.maximum(codes - FIRST_QUESTION, 0)
        observation, rewards, over, late, info = env.step(codes)
        for row, turn in now.items():
            line, last = recorded[row], step + 1 == len(recorded[row]["turns"])
            assert rewards[row] == turn["reward"]
            assert (over[row], late[row]) == (last and line["success"], last and not line["success"])
            if last and line["success"]:
                assert info["rank"][row] == line["rank"]
                assert step == line["success_turn"]
            if "answer" in turn and "ask" in turn["action"] and not last:
                given = Answer.YES if turn["answer"] else Answer.NO
                assert observation["attributes"][row, asked[row]] == given
            compared += 1
    assert compared == 2057


def test_the_record_covers_every_reward_and_both_endings(recorded: list[dict[str, Any]]) -> None:
    """What the replay rests on: 158 successes, 42 failures after 14 acting turns and one more call."""
    rewards = Counter(turn["reward"] for line in recorded for turn in line["turns"])
    assert set(rewards) == {1.0, 0.01, -0.1, -0.3}
    assert (rewards[1.0], rewards[-0.3]) == (158, 42)


@pytest.mark.parametrize("reject", CERTAIN)
def test_only_the_penalty_reproduces_the_lists_after_a_no(
    lastfm: World, shared: Path, recorded: list[dict[str, Any]], reject: Reject
) -> None:
    refused = [line for line in recorded if line["turns"][0].get("answer") is False][:20]
    env = replay(lastfm, shared, refused, reject)
    env.step(np.array([code_of(line["turns"][0]) for line in refused]))
    found = top_items(env.weights, 10).tolist()
    same = [listed == line["turns"][1]["top10"] for listed, line in zip(found, refused, strict=True)]
    assert len(same) == 20
    assert all(same) == (reject is Reject.PENALTY)


# --- protocol


LIMIT = 5


@pytest.mark.parametrize(
    ("protocol", "acting"), [(Protocol.DEFAULT, LIMIT), (Protocol.UNICORN_CODE, LIMIT - 1)]
)
def test_protocols_differ_by_one_acting_turn(movies: World, protocol: Protocol, acting: int) -> None:
    """The last acting turn can succeed; one turn later it is too late."""
    for idle in range(LIMIT):
        env = start(movies, [session(9)], protocol=protocol, limit=LIMIT, prior=knowing(movies))
        last = play(env, [CHAT] * idle + [RECOMMEND])[-1]
        assert last == ((1.0, True, False) if idle < acting else (-0.3, False, True))


@pytest.mark.parametrize("protocol", list(Protocol))
def test_both_protocols_end_at_call_t_with_the_out_of_turns_reward(movies: World, protocol: Protocol) -> None:
    env = start(movies, [session(9)], protocol=protocol, limit=LIMIT)
    found = play(env, [CHAT] * 20)
    assert found == [(-0.1, False, False)] * (LIMIT - 1) + [(-0.3, False, True)]


def test_the_default_is_fifteen_system_turns_and_ten_items(movies: World) -> None:
    env = start(movies, [session(9)], prior=ignorant(movies))
    assert len(play(env, [CHAT] * 20)) == 15
    before = env.candidates[0].sum()
    env.step(np.array([RECOMMEND]))  # starts anew
    env.step(np.array([RECOMMEND]))
    assert before - env.candidates[0].sum() == 10


def common_and_rare(world: World) -> tuple[Session, Session]:
    """A seeker who opens with an attribute of more than ten items, and one with 3 to 10."""
    found: dict[bool, Session] = {}
    degrees = world.catalogue.degrees
    for target in range(world.catalogue.n_items):
        for attribute in world.catalogue.attributes_of(target).tolist():
            size = int(degrees[attribute])
            if size >= 3:
                found.setdefault(size > 10, session(target, volunteering(world, target, attribute)))
        if len(found) == 2:
            return found[True], found[False]
    raise AssertionError("no such seekers")


@pytest.mark.parametrize(("protocol", "removed_of_few"), [(Protocol.DEFAULT, 1), (Protocol.UNICORN_CODE, 0)])
def test_a_declined_list_leaves_few_candidates_only_by_default(
    movies: World, protocol: Protocol, removed_of_few: int
) -> None:
    sessions = list(common_and_rare(movies))
    env = start(movies, sessions, protocol=protocol)
    before = env.candidates.copy()
    wrong = [
        int(np.setdiff1d(np.flatnonzero(row), [one.target])[0])
        for row, one in zip(before, sessions, strict=True)
    ]
    listing = np.full(2, int(Act.RECOMMEND))
    nothing = np.full((2, 1), NOTHING)
    env.act(
        np.arange(2), Actions(listing, np.zeros(2, int), nothing, np.array(wrong)[:, None], np.zeros(2, int))
    )
    assert (before.sum(axis=1) - env.candidates.sum(axis=1)).tolist() == [1, removed_of_few]


# --- what a "no" does


def refused(world: World, embeddings: Embeddings, reject: Reject, scoring: Scoring) -> tuple[Any, ...]:
    """Candidates and weights before and after a "no", and which items have the refused attribute."""
    catalogue = world.catalogue
    drama, comedy = catalogue.attributes.index("drama"), catalogue.attributes.index("comedy")
    target = next(
        item for item in catalogue.items_with(drama).tolist() if comedy not in catalogue.attributes_of(item)
    )
    one = session(target, volunteering(world, target, drama))
    env = start(world, [one], reject=reject, scoring=scoring, embeddings=embeddings)
    before = env.candidates[0].copy(), env.weights[0].copy()
    assert play(env, [FIRST_QUESTION + comedy]) == [(-0.1, False, False)]
    has = np.isin(np.arange(catalogue.n_items), catalogue.items_with(comedy)) & before[0]
    assert 0 < has.sum() < before[0].sum()
    return (*before, env.candidates[0], env.weights[0], has, drama, comedy)


def test_filter_removes_the_items_that_have_the_refused_attribute(
    movies: World, movies_embeddings: Embeddings
) -> None:
    candidates, _, left, weights, has, *_ = refused(
        movies, movies_embeddings, Reject.FILTER, Scoring.POSTERIOR
    )
    np.testing.assert_array_equal(left, candidates & ~has)
    np.testing.assert_allclose(weights, left / left.sum())


@pytest.mark.parametrize("scoring", list(Scoring))
def test_none_changes_nothing_but_closes_the_question(
    movies: World, movies_embeddings: Embeddings, scoring: Scoring
) -> None:
    candidates, before, left, weights, *_ = refused(movies, movies_embeddings, Reject.NONE, scoring)
    np.testing.assert_array_equal(left, candidates)
    np.testing.assert_array_equal(weights, before)


def test_penalty_removes_nothing_and_lowers_scores_by_the_sigmoid_of_the_affinity(
    movies: World, movies_embeddings: Embeddings
) -> None:
    """score = sum v·p accepted - sum sigmoid(v·p) rejected and owned; weight = sigmoid(score)."""
    candidates, before, left, weights, has, drama, comedy = refused(
        movies, movies_embeddings, Reject.PENALTY, Scoring.UNICORN
    )
    np.testing.assert_array_equal(left, candidates)
    score = (movies_embeddings.items @ movies_embeddings.attributes[drama]).astype(np.float64)
    liking = (movies_embeddings.items @ movies_embeddings.attributes[comedy]).astype(np.float64)
    score -= has / (1 + np.exp(-liking))
    expected = candidates / (1 + np.exp(-score))
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-5)
    assert weights[has].sum() < before[has].sum()


@pytest.mark.parametrize("reject", CERTAIN)
def test_a_refused_question_is_not_asked_again(
    movies: World, movies_embeddings: Embeddings, reject: Reject
) -> None:
    env = ConversationVectorEnv(movies, 1, reject=reject, embeddings=movies_embeddings)
    _, info = env.reset(options={"sessions": [session(9)]})
    askable = np.flatnonzero(info["action_mask"][0, FIRST_QUESTION:])
    code = FIRST_QUESTION + int(np.setdiff1d(askable, movies.catalogue.attributes_of(9))[0])
    *_, info = env.step(np.array([code]))
    assert not info["action_mask"][0, code]


def test_the_environments_seekers_make_no_mistakes_to_allow_for(movies: World) -> None:
    with pytest.raises(ValueError, match="noisy answers need"):
        start(movies, [session(9)], reject=Reject.NOISY)


def test_a_yes_keeps_the_items_that_have_the_attribute(movies: World) -> None:
    opening, wish = movies.catalogue.attributes_of(9)[[0, 1]].tolist()
    env = start(movies, [session(9, volunteering(movies, 9, opening))])
    owners = [set(movies.catalogue.items_with(attribute).tolist()) for attribute in (opening, wish)]
    assert set(np.flatnonzero(env.candidates[0])) == owners[0]
    assert play(env, [FIRST_QUESTION + wish]) == [(0.01, False, False)]
    assert set(np.flatnonzero(env.candidates[0])) == owners[0] & owners[1]


# --- rewards


def test_rewards_of_each_event(movies: World) -> None:
    """Recommend success 1, failure -0.1; ask success 0.01, failure -0.1; out of turns -0.3."""
    owned = movies.catalogue.attributes_of(9).tolist()
    opening = session(9, volunteering(movies, 9, owned[0]))
    wish, other = FIRST_QUESTION + owned[1], FIRST_QUESTION + next(a for a in range(99) if a not in owned)
    failing = start(movies, [opening], limit=4, prior=ignorant(movies), slate=1)
    assert [reward for reward, _, _ in play(failing, [RECOMMEND, wish, other, CHAT])] == [
        -0.1,
        0.01,
        -0.1,
        -0.3,
    ]
    succeeding = start(movies, [opening], limit=4, prior=knowing(movies))
    assert play(succeeding, [wish, RECOMMEND]) == [(0.01, False, False), (1.0, True, False)]


# --- the seeker


def test_it_volunteers_each_attribute_of_the_target_equally_often(movies: World) -> None:
    seekers = McrSeekers(SeekerContext(movies))
    opened = Counter(seekers.reset([session(9, key) for key in range(4000)]).tolist())
    owned = movies.catalogue.attributes_of(9).tolist()
    assert set(opened) == set(owned)
    for count in opened.values():
        assert abs(count / 4000 - 1 / len(owned)) < 0.03


def test_it_affirms_exactly_the_targets_attributes_and_takes_exactly_the_target(movies: World) -> None:
    sessions = movies.sessions(Split.TEST, 50, 0)
    seekers = McrSeekers(SeekerContext(movies))
    seekers.reset(sessions)
    rows, n = np.arange(50), movies.catalogue.n_attributes
    everything = np.tile(np.arange(n), (50, 1))
    zero, nothing = np.zeros(50, dtype=np.int64), np.full((50, 1), NOTHING)
    asked = seekers.respond(rows, Actions(zero + Act.ASK, zero, everything, nothing, zero))
    targets = np.array([one.target for one in sessions])
    truth = movies.catalogue.item_attributes[targets].toarray() > 0
    np.testing.assert_array_equal(asked.answers, np.where(truth, Answer.YES, Answer.NO))
    lists = (targets[:, None] + np.arange(-3, 4)) % movies.catalogue.n_items
    lists[::2, 3] = NOTHING  # half of the lists without the target
    offered = seekers.respond(rows, Actions(zero + Act.RECOMMEND, zero, nothing, lists, zero))
    np.testing.assert_array_equal(offered.place, np.where(rows % 2, 3, NOTHING))


def test_it_is_deaf_to_strategy_volunteers_nothing_more_and_never_leaves(movies: World) -> None:
    sessions = movies.sessions(Split.TEST, 14, 0)
    seekers = McrSeekers(SeekerContext(movies))
    seekers.reset(sessions)
    zero, nothing = np.zeros(14, dtype=np.int64), np.full((14, 1), NOTHING)
    drama = np.full((14, 1), movies.catalogue.attributes.index("drama"))
    answers = []
    for turn in range(30):
        strategies = (np.arange(14) + turn) % len(STRATEGIES)
        replies = seekers.respond(np.arange(14), Actions(zero, strategies, drama, nothing, zero))
        answers.append(replies.answers.tolist())
        assert not replies.left.any()
        assert (replies.volunteered == NOTHING).all()
    assert all(answer == answers[0] for answer in answers)
