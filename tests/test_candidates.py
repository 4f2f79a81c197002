"""The ragged posterior against a dense one: what answers do, what is listed, and what questions promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import catalogue_of, past_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import expit

from unicrs_rl.graphs import kernels
from unicrs_rl.graphs.belief import EXCLUDED, Reject, Scoring, binary_entropy
from unicrs_rl.graphs.candidates import AskScore, Candidates, Question, Switches
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States, latest, padded

YES, NO, OPEN = 1, 2, 3
K, SLATE, BATCH = 6, 4, 5


# --- the dense model


@dataclass
class Dense:
    """What the engine should believe, with one number for every item: ``[b, items]``."""

    owned: NDArray[np.bool_]
    switches: Switches
    vectors: Embeddings
    scores: NDArray[np.float64]
    alive: NDArray[np.bool_]
    similarity: NDArray[np.float64]

    @classmethod
    def begin(
        cls,
        owned: NDArray[np.bool_],
        switches: Switches,
        vectors: Embeddings,
        volunteered: NDArray[np.int64],
        prior: NDArray[np.float64],
        seekers: NDArray[np.float32],
    ) -> Dense:
        scores = prior.copy()
        if switches.scoring is Scoring.UNICORN:
            scores += vectors.attributes[volunteered] @ vectors.items.T
        elif switches.volunteered:
            scores -= np.log(owned.sum(axis=1))
        similarity = (seekers + vectors.attributes[volunteered]) @ vectors.attributes.T
        alive = owned.T[volunteered] & (prior > EXCLUDED / 2)
        return cls(owned, switches, vectors, scores, alive, similarity.astype(np.float64))

    def answer(self, row: int, attribute: int, answer: int) -> None:
        reject, has = self.switches.reject, self.owned[:, attribute]
        liking = (self.vectors.items @ self.vectors.attributes[attribute]).astype(np.float64)
        alike = (self.vectors.attributes @ self.vectors.attributes[attribute]).astype(np.float64)
        if answer not in (YES, NO):
            return
        self.similarity[row] += alike if answer == YES else -expit(alike)
        if reject is Reject.NOISY:
            noise = self.switches.noise
            self.scores[row] += np.log(np.where(has == (answer == YES), 1 - noise, noise))
        elif answer == YES:
            self.alive[row] &= has
            if self.switches.scoring is Scoring.UNICORN:
                self.scores[row] += liking
        elif reject is Reject.FILTER:
            self.alive[row] &= ~has
        elif reject is Reject.PENALTY:
            self.scores[row] -= expit(liking) * has

    def strike(self, row: int, shown: Sequence[int], at_least: int) -> None:
        if shown and self.alive[row].sum() > at_least:
            self.alive[row, list(shown)] = False

    def keep(self, kept: NDArray[np.bool_]) -> None:
        self.scores, self.alive = self.scores[kept], self.alive[kept]
        self.similarity = self.similarity[kept]

    def weights(self, row: int) -> NDArray[np.float64]:
        alive, scores = self.alive[row], self.scores[row]
        if not alive.any():
            return np.zeros(len(scores))
        if self.switches.scoring is Scoring.UNICORN:
            raw = np.where(alive, expit(scores), 0.0)
        else:
            raw = np.where(alive, np.exp(scores - scores[alive].max()), 0.0)
        return raw / raw.sum()

    def items(self, row: int) -> list[int]:
        """The best items, by score, ties by id."""
        those = np.flatnonzero(self.alive[row])
        return those[np.argsort(-np.round(self.scores[row, those], 7), kind="stable")][:K].tolist()

    def questions(self, row: int, asked: Sequence[int]) -> list[int]:
        """All open questions, best first, ties by id."""
        weights, alive = self.weights(row), self.alive[row]
        counts = self.owned[alive].sum(axis=0)
        mass = weights @ self.owned
        score = mass
        if self.switches.ask is AskScore.ENTROPY:
            score = counts / max(alive.sum(), 1)
        promise = np.round(0.5 - np.abs(score - 0.5), 12)
        open_ = (counts > 0) & (counts < alive.sum()) & (self.owned.sum(axis=0) >= 2) & (promise > 0)
        open_[list(asked)] = False
        by = promise if self.switches.ask is not AskScore.SIMILARITY else self.similarity[row]
        those = np.flatnonzero(open_)
        return those[np.argsort(-by[those], kind="stable")].tolist()


@dataclass
class Play:
    """Conversations of random seekers, kept by the engine and by the dense model."""

    owned: NDArray[np.bool_]
    engine: Candidates
    dense: Dense
    asked: list[list[int]]
    targets: NDArray[np.int64]

    def states(self) -> States:
        return self.engine.states(past_of(self.asked))


def world_of(seed: int) -> tuple[np.random.Generator, NDArray[np.bool_], Embeddings]:
    """A random catalogue, in some of which items have many attributes, and random vectors."""
    rng = np.random.default_rng(seed)
    n_items, n_attributes = int(rng.integers(8, 60)), int(rng.integers(6, 40))
    owned = rng.random((n_items, n_attributes)) < rng.choice([0.1, 0.3, 0.6])
    owned[np.arange(n_items), rng.integers(n_attributes, size=n_items)] = True
    vectors = rng.normal(size=(n_items + n_attributes, 4)).astype(np.float32)
    return rng, owned, Embeddings(vectors[:n_items], vectors[n_items:], np.zeros(4, dtype=np.float32))


def start(seed: int, switches: Switches, batch: int = BATCH) -> tuple[np.random.Generator, Play]:
    rng, owned, vectors = world_of(seed)
    n_items = len(owned)
    targets = rng.integers(n_items, size=batch)
    volunteered = np.array([rng.choice(np.flatnonzero(owned[target])) for target in targets])
    prior = rng.integers(-3, 1, (batch, n_items)).astype(np.float64)  # ties are frequent
    prior[rng.random((batch, n_items)) < 0.1] = EXCLUDED
    prior[np.arange(batch), targets] = 0.0
    seekers = rng.normal(size=(batch, 4)).astype(np.float32)
    engine = Candidates(catalogue_of(owned), switches, vectors, K, SLATE)
    engine.begin(volunteered, prior, seekers)
    dense = Dense.begin(owned, switches, vectors, volunteered, prior, seekers)
    return rng, Play(owned, engine, dense, [[int(a)] for a in volunteered], targets)


def ask(rng: np.random.Generator, play: Play, width: int) -> None:
    """Some conversations are asked about up to ``width`` attributes, most answered truthfully."""
    n = len(play.asked)
    attributes, answers = np.full((n, width), -1), np.zeros((n, width), dtype=np.int64)
    for row, asked in enumerate(play.asked):
        open_ = np.setdiff1d(np.arange(play.owned.shape[1]), asked)
        for column, attribute in enumerate(rng.permutation(open_)[: rng.integers(0, width + 1)].tolist()):
            truth = YES if play.owned[play.targets[row], attribute] else NO
            attributes[row, column] = attribute
            answers[row, column] = rng.choice([truth, OPEN, YES, NO], p=[0.8, 0.1, 0.05, 0.05])
            play.dense.answer(row, attribute, int(answers[row, column]))
            asked.append(attribute)
    play.engine.answer(attributes, answers)


def decline(rng: np.random.Generator, play: Play, at_least: int) -> None:
    """Some conversations are shown a list without success."""
    shown = np.full((len(play.asked), SLATE), -1)
    for row in np.flatnonzero(rng.random(len(shown)) < 0.5).tolist():
        listed = rng.permutation(len(play.owned))[: rng.integers(1, SLATE + 1)].tolist()
        shown[row, : len(listed)] = listed
        play.dense.strike(row, listed, at_least)
    play.engine.strike(shown, at_least)


def drop(rng: np.random.Generator, play: Play) -> None:
    """Some conversations end."""
    kept = rng.random(len(play.asked)) < 0.8
    play.engine.keep(kept)
    play.dense.keep(kept)
    play.targets = play.targets[kept]
    play.asked = [asked for asked, stays in zip(play.asked, kept, strict=True) if stays]


def check(play: Play) -> None:
    """Everything the engine shows is what the dense model holds."""
    states = play.states()
    for row, asked in enumerate(play.asked):
        weights = play.dense.weights(row)
        start, stop = states.offsets[row : row + 2].tolist()
        held = states.candidates[start:stop].tolist()
        assert held == np.flatnonzero(play.dense.alive[row]).tolist()
        items = play.dense.items(row)
        assert states.items[row].tolist() == items + [-1] * (K - len(items))
        assert states.item_weights[row, : len(items)] == pytest.approx(weights[items], abs=1e-6)
        assert (states.item_weights[row, len(items) :] == 0).all()
        questions = play.dense.questions(row, asked)[:K]
        assert states.attributes[row].tolist() == questions + [-1] * (K - len(questions))
        assert states.named[row, :, 0].tolist() == states.attributes[row].tolist()
        mass = (weights @ play.owned)[questions]
        assert states.masses[row, : len(questions)] == pytest.approx(mass, abs=1e-6)
        assert states.entropies[row, : len(questions)] == pytest.approx(binary_entropy(mass), abs=1e-5)
        assert states.confidence[row] == pytest.approx(weights[items[:SLATE]].sum(), abs=1e-6)
        assert states.concentration[row] == pytest.approx((weights**2).sum(), abs=1e-6)
        assert states.left[row] == len(held)
        for column, attribute in enumerate(states.attributes[row].tolist()):
            now = items[:SLATE] if play.dense.switches.reject in (Reject.NONE, Reject.PENALTY) else None
            expected = expected_hit(weights, play.owned[:, attribute], now) if attribute >= 0 else 0.0
            assert states.hits[row, column] == pytest.approx(expected, abs=1e-6)


def expected_hit(
    weights: NDArray[np.float64], has: NDArray[np.bool_], now: Sequence[int] | None = None
) -> float:
    """Mass of the best list among those that say yes, and among those that say no.

    After a "no" that removes nothing the list is what it is ``now``, and hits if the target says no.
    """
    yes, no = (float(np.sort(part)[::-1][:SLATE].sum()) for part in (weights[has], weights[~has]))
    return yes + (no if now is None else sum(float(weights[item]) for item in now if not has[item]))


SWITCHES = {
    "filter": Switches(),
    "penalty": Switches(reject=Reject.PENALTY),
    "none": Switches(reject=Reject.NONE),
    "noisy": Switches(reject=Reject.NOISY, noise=0.2),
    "any attribute volunteered": Switches(volunteered=False),
    "entropy": Switches(ask=AskScore.ENTROPY),
    "similarity": Switches(ask=AskScore.SIMILARITY),
    "unicorn": Switches(scoring=Scoring.UNICORN),
    "unicorn none": Switches(scoring=Scoring.UNICORN, reject=Reject.NONE),
    "unicorn's code": Switches(
        scoring=Scoring.UNICORN, reject=Reject.PENALTY, ask=AskScore.SIMILARITY, volunteered=False
    ),
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("seed", range(12))
def test_it_holds_what_a_dense_posterior_holds(name: str, seed: int) -> None:
    """At first, after questions about one attribute and several, after declined lists, and when some end."""
    rng, play = start(seed, SWITCHES[name])
    check(play)
    for turn in range(6):
        ask(rng, play, width=1 + turn % 3)
        check(play)
        decline(rng, play, at_least=0 if turn % 2 else 10)
        check(play)
        if turn > 2:
            drop(rng, play)
            check(play)


@pytest.mark.parametrize("name", SWITCHES)
def test_a_conversation_is_the_same_alone_and_in_a_batch(name: str) -> None:
    """To the last bit."""
    moves = np.random.default_rng(1)
    _, play = start(7, SWITCHES[name])
    n_attributes = play.owned.shape[1]
    asked = moves.permutation(n_attributes)[:4]
    answers = moves.integers(1, 3, (BATCH, 4))
    shown = moves.permutation(len(play.owned))[None, :2]

    def run(rows: slice) -> States:
        engine = Candidates(play.engine.catalogue, play.engine.switches, play.dense.vectors, K, SLATE)
        _, fresh = start(7, SWITCHES[name])
        first = np.array([row[0] for row in fresh.asked])
        prior, seekers = priors(7)
        engine.begin(first[rows], prior[rows], seekers[rows])
        for column, attribute in enumerate(asked):
            mine = answers[rows, column : column + 1]
            engine.answer(np.full_like(mine, attribute), mine)
        engine.strike(np.repeat(shown, len(first[rows]), axis=0), 0)
        return engine.states(past_of([[int(one), *asked] for one in first[rows]]))

    together = run(slice(None))
    for row in range(BATCH):
        alone = run(slice(row, row + 1))
        for column in ("items", "item_weights", "attributes", "entropies", "masses", "concentration", "hits"):
            assert np.array_equal(getattr(alone, column)[0], getattr(together, column)[row]), column


def priors(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores and seekers for the world of a seed."""
    rng, owned, _ = world_of(seed)
    return rng.normal(size=(BATCH, len(owned))), rng.normal(size=(BATCH, 4)).astype(np.float32)


@pytest.mark.parametrize("name", SWITCHES)
def test_working_memory_is_clean_afterwards(name: str) -> None:
    rng, play = start(3, SWITCHES[name])
    for _ in range(3):
        ask(rng, play, width=2)
        play.states()
        mass, count, _ = play.engine.lister._workspace
        assert not mass.any()
        assert not count.any()


# --- Bayes' rule, from the seeker's behaviour


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("seed", range(10))
def test_the_posterior_is_bayes_rule(seed: int, noise: float) -> None:
    """Prior times the chance that the seeker of an item volunteers that and answers so."""
    rng, owned, vectors = world_of(seed)
    prior = rng.dirichlet(np.ones(len(owned)))
    target = int(rng.integers(len(owned)))
    first = int(rng.choice(np.flatnonzero(owned[target])))
    switches = Switches(reject=Reject.NOISY if noise else Reject.FILTER, noise=noise)
    engine = Candidates(catalogue_of(owned), switches, vectors, K, SLATE)
    engine.begin(np.array([first]), np.log(prior)[None])
    likelihood = prior * owned[:, first] / owned.sum(axis=1)
    asked = [first]
    for attribute in np.setdiff1d(rng.permutation(owned.shape[1]), first)[:5].tolist():
        yes = owned[target, attribute] != (rng.random() < noise)
        engine.answer(np.array([[attribute]]), np.array([[YES if yes else NO]]))
        likelihood = likelihood * np.where(owned[:, attribute] == yes, 1 - noise, noise)
        asked.append(attribute)
    states = engine.states(past_of([asked]))
    found, left = np.zeros(len(owned)), int(states.left[0])
    found[states.candidates[:left]] = states.values[:left] / states.values[:left].sum()
    assert found == pytest.approx(likelihood / likelihood.sum(), abs=1e-12)


def test_the_weight_of_what_is_volunteered_is_a_switch() -> None:
    """b has both attributes, so that its seeker begins with the first one half of the time."""
    owned = np.array([[True, False], [True, True], [False, True]])
    found = []
    for volunteered in (True, False):
        engine = Candidates(catalogue_of(owned), Switches(volunteered=volunteered))
        engine.begin(np.array([0]), np.zeros((1, 3)))
        states = engine.states(past_of([[0]]))
        found.append((states.items[0, :2].tolist(), states.item_weights[0, :2].tolist()))
    assert found[0] == ([0, 1], pytest.approx([2 / 3, 1 / 3]))
    assert found[1] == ([0, 1], pytest.approx([1 / 2, 1 / 2]))


def test_many_noisy_answers_leave_finite_weights() -> None:
    """4000 answers of one question, a tenth of them wrong: in all a likelihood of e^-1300."""
    rng = np.random.default_rng(0)
    owned = rng.random((30, 4001)) < 0.5
    owned[:, 0] = True
    engine = Candidates(catalogue_of(owned), Switches(reject=Reject.NOISY, noise=0.1))
    engine.begin(np.array([0]), np.zeros((1, 30)))
    for part in np.array_split(np.arange(1, 4001), 20):
        truth = owned[7, part] != (rng.random(len(part)) < 0.1)
        engine.answer(part[None], np.where(truth, YES, NO)[None])
    states = engine.states(past_of([[0]]))
    assert states.items[0, 0] == 7
    assert states.item_weights[0, 0] == pytest.approx(1.0)


# --- what is listed


def lettered(seeker: tuple[float, float] = (0.0, 0.0), **switches: Any) -> States:
    """Items a to d, weights 4 : 2 : 1 : 1. All have 0; a has 1; b, c have 2; a, b, c have 3; d has 4."""
    owned = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [1, 0, 1, 1, 0], [1, 0, 0, 0, 1]], dtype=bool)
    vectors = Embeddings(
        np.zeros((4, 2), dtype=np.float32),
        np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 2]], dtype=np.float32),
        np.zeros(2, dtype=np.float32),
    )
    engine = Candidates(catalogue_of(owned), Switches(volunteered=False, **switches), vectors, 4, 2)
    prior = np.log([[0.5, 0.25, 0.125, 0.125]])
    engine.begin(np.array([0]), prior, np.array([seeker], dtype=np.float32))
    return engine.states(past_of([[0]]))


def test_questions_that_teach_nothing_are_not_listed() -> None:
    """All have s, and what only one item has at all is no question."""
    for ask_ in AskScore:
        assert set(lettered(ask=ask_).attributes[0].tolist()) == {2, 3, -1}


def test_a_certain_answer_is_no_question_even_if_not_all_candidates_would_give_it() -> None:
    """Item c has not 1, but no weight either; all but nobody say yes."""
    owned = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=bool)
    engine = Candidates(catalogue_of(owned), Switches(volunteered=False))
    engine.begin(np.array([0]), np.array([[0.0, 0.0, -1000.0]]))
    states = engine.states(past_of([[0]]))
    assert states.left.tolist() == [3]
    assert states.attributes[0, :2].tolist() == [2, -1]


def test_rankings_of_questions_differ() -> None:
    """2 has 3/8 of the weight, 3 has 7/8, but points where the seeker does."""
    assert lettered().attributes[0, :2].tolist() == [2, 3]
    assert lettered(ask=AskScore.ENTROPY).attributes[0, :2].tolist() == [2, 3]
    assert lettered(ask=AskScore.SIMILARITY, seeker=(1.0, 0.0)).attributes[0, :2].tolist() == [3, 2]
    assert lettered(ask=AskScore.SIMILARITY, seeker=(-1.0, 0.0)).attributes[0, :2].tolist() == [2, 3]


def test_counting_items_and_weighing_them_differ() -> None:
    """Of 9 items the first has a weight of 12/20: its attribute halves the weight, that of four the items."""
    owned = np.ones((9, 3), dtype=bool)
    owned[:, 1:] = False
    owned[[0, 1], 1] = True  # 13/20 of the weight, 2/9 of the items
    owned[4:8, 2] = True  # 4/20, 4/9
    prior = np.log(np.array([[12, 1, 1, 1, 1, 1, 1, 1, 1]]) / 20)
    found = {}
    for ask_ in (AskScore.WEIGHTED_ENTROPY, AskScore.ENTROPY):
        engine = Candidates(catalogue_of(owned), Switches(ask=ask_, volunteered=False))
        engine.begin(np.array([0]), prior)
        states = engine.states(past_of([[0]]))
        found[ask_] = states.attributes[0, :2].tolist()
        assert dict(zip(found[ask_], states.masses[0, :2], strict=True)) == pytest.approx({1: 0.65, 2: 0.2})
    assert found == {AskScore.WEIGHTED_ENTROPY: [1, 2], AskScore.ENTROPY: [2, 1]}


def test_similarity_follows_the_answers() -> None:
    """u·p + sum of p·q over accepted q - sum of sigmoid(p·q) over rejected q."""
    rng, owned, vectors = world_of(5)
    engine = Candidates(catalogue_of(owned), SWITCHES["unicorn's code"], vectors, 40, SLATE)
    seeker = rng.normal(size=(1, 4)).astype(np.float32)
    first = int(np.flatnonzero(owned[0])[0])
    engine.begin(np.array([first]), np.zeros((1, len(owned))), seeker)
    yes, no = (int(a) for a in np.setdiff1d(np.flatnonzero(owned.sum(axis=0) > 3), first)[:2])
    engine.answer(np.array([[yes, no]]), np.array([[YES, NO]]))
    states = engine.states(past_of([[first, yes, no]]))
    listed = states.attributes[0][states.attributes[0] >= 0]
    p = vectors.attributes
    score = p @ seeker[0] + p @ p[first] + p @ p[yes] - expit(p @ p[no])
    assert len(listed) > 3
    assert listed.tolist() == sorted(listed.tolist(), key=lambda a: -score[a])


def test_equals_are_listed_by_id() -> None:
    """Items of one weight; attributes 1 (of 3 of 10 items) and 2 (of 7 of 10) are equally informative."""
    owned = np.zeros((10, 4), dtype=bool)
    owned[:, 0] = True
    owned[7:, 1] = True
    owned[:7, 2] = True
    owned[3:6, 3] = True
    engine = Candidates(catalogue_of(owned), Switches(volunteered=False))
    engine.begin(np.array([0]), np.log(np.full((1, 10), 0.1)))
    states = engine.states(past_of([[0]]))
    assert states.items[0].tolist() == list(range(10))
    assert states.attributes[0, :4].tolist() == [1, 2, 3, -1]


def test_unicorns_items_are_ranked_by_score_where_sigmoids_are_equal() -> None:
    owned = np.ones((3, 1), dtype=bool)
    vectors = Embeddings(
        np.zeros((3, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.float32), np.zeros(2, dtype=np.float32)
    )
    engine = Candidates(catalogue_of(owned), Switches(scoring=Scoring.UNICORN), vectors)
    engine.begin(np.array([0]), np.array([[50.0, 70.0, 60.0]]))
    states = engine.states(past_of([[0]]))
    assert states.items[0, :3].tolist() == [1, 2, 0]
    assert states.item_weights[0, :3].tolist() == pytest.approx([1 / 3] * 3)


def test_what_was_asked_is_never_listed_again() -> None:
    rng, play = start(4, Switches(reject=Reject.NONE))
    for _ in range(5):
        ask(rng, play, width=1)
        states = play.states()
        for row, asked in enumerate(play.asked):
            assert not set(asked) & set(states.attributes[row].tolist())


# --- questions about several attributes


def dishes(**switches: Any) -> tuple[Candidates, States]:
    """Eight equally likely dishes with attributes of two categories, and 7, which is in none.

    Chances of a yes: food 1: 1/2, 2: 1/4, 3: 1/8; mood 4: 1/2, 5: 1/2, 6: 0 (nobody has it); 7: 1/4.
    """
    owned = np.zeros((8, 8), dtype=bool)
    owned[:, 0] = True
    owned[:4, 1] = True
    owned[4:6, 2] = True
    owned[6:7, 3] = True
    owned[::2, 4] = True
    owned[1::2, 5] = True
    owned[:2, 7] = True
    taxonomy = {"food": (1, 2, 3), "mood": (6, 5, 4, 3), "any": (0,)}
    engine = Candidates(catalogue_of(owned, taxonomy), Switches(volunteered=False, **switches))
    engine.begin(np.array([0]), np.zeros((1, 8)))
    return engine, engine.states(past_of([[0]]))


QUARTER = 0.8112781244591328  # entropy of 1/4 in bits


def test_categories_are_those_of_the_taxonomy_and_a_rest() -> None:
    """3 stands in two and counts for the first."""
    engine, _ = dishes()
    assert engine.catalogue.members == ((1, 2, 3), (6, 5, 4), (0,), (7,))
    assert engine.catalogue.groups.tolist() == [2, 0, 0, 0, 1, 1, 1, 3]


def test_without_a_taxonomy_attributes_of_a_kind_belong_together() -> None:
    catalogue = catalogue_of(np.ones((1, 4), dtype=bool), kinds=["genre", "person", "genre", "person"])
    assert catalogue.members == ((0, 2), (1, 3))
    assert catalogue.groups.tolist() == [0, 1, 0, 1]


def test_binary_questions_name_one_attribute() -> None:
    _, states = dishes()
    assert states.attributes[0, :5].tolist() == [1, 4, 5, 2, 7]
    assert states.named[0].tolist() == [[attribute] for attribute in states.attributes[0].tolist()]


def test_enumerated_questions_name_all_of_a_category() -> None:
    """Worth what its attributes are together; first those that teach something, then the rest."""
    _, states = dishes(question=Question.ENUMERATED)
    assert states.attributes[0, :4].tolist() == [4, 1, 7, -1]
    assert states.named[0, :3].tolist() == [[4, 5, 6], [1, 2, 3], [7, -1, -1]]
    assert states.entropies[0, :3] == pytest.approx([2.0, 1 + QUARTER, QUARTER])
    assert states.masses[0, :3] == pytest.approx([0.5, 0.5, 0.25])


def test_enumerated_questions_leave_out_what_was_asked() -> None:
    engine, _ = dishes(question=Question.ENUMERATED)
    states = engine.states(past_of([[0, 4, 2]]))
    assert states.named[0, :3].tolist() == [[1, 3, -1], [5, 6, -1], [7, -1, -1]]


@pytest.mark.parametrize(
    ("choices", "named"), [(2, [[4, 5], [1, 2], [7, -1]]), (3, [[4, 5, -1], [1, 2, -1]])]
)
def test_multi_choice_questions_name_the_most_informative_of_a_kind(
    choices: int, named: list[list[int]]
) -> None:
    """Not 3, which one item has only, nor 6, which teaches nothing."""
    _, states = dishes(question=Question.MULTI_CHOICE, choices=choices)
    assert states.named[0, : len(named)].tolist() == named


def test_multi_choice_questions_name_no_more_than_the_choices() -> None:
    rng, owned, _ = world_of(2)
    engine = Candidates(catalogue_of(owned), Switches(question=Question.MULTI_CHOICE, choices=2))
    engine.begin(np.array([0]), rng.normal(size=(1, len(owned))))
    states = engine.states(past_of([[0]]))
    assert states.named.shape == (1, 10, 2)
    assert (states.attributes[0, 1:] == -1).all()  # they are all of one kind
    single = Candidates(catalogue_of(owned), Switches())
    single.begin(np.array([0]), np.zeros((1, len(owned))))
    single.values[:] = engine.values
    alone = single.states(past_of([[0]]))
    assert states.named[0, 0].tolist() == alone.attributes[0, :2].tolist()
    assert states.entropies[0, 0] == pytest.approx(alone.entropies[0, :2].sum())


# --- what questions promise


def test_an_answer_and_a_list_hit_by_hand() -> None:
    """Lists of two. After 2: b c or a d, so all. After 3: a b or d, and c is missed."""
    states = lettered()
    assert states.attributes[0, :2].tolist() == [2, 3]
    assert states.hits[0].tolist() == pytest.approx([1.0, 0.875, 0.0, 0.0])


def test_an_answer_that_removes_nothing_leaves_the_list_as_it_is() -> None:
    """a b is the list now. After 2: b c, or a of the list. After 3: a b, or nothing of the list."""
    states = lettered(reject=Reject.NONE)
    assert states.attributes[0, :2].tolist() == [2, 3]
    assert states.hits[0].tolist() == pytest.approx([0.375 + 0.5, 0.75, 0.0, 0.0])


@pytest.mark.parametrize("name", ["filter", "noisy", "unicorn"])
@pytest.mark.parametrize("seed", range(5))
def test_disagreement_is_the_information_between_answer_and_member(name: str, seed: int) -> None:
    """Entropy of the mean chance of a yes, less the mean entropy."""
    rng, play = start(seed, SWITCHES[name])
    ask(rng, play, width=1)
    doubts = rng.exponential(size=(len(play.owned), 3))
    states = play.states()
    found = states.disagreement(doubts)
    for row, column in np.ndindex(*found.shape):
        attribute = states.attributes[row, column]
        if attribute < 0:
            assert found[row, column] == 0
            continue
        members = play.dense.weights(row)[:, None] * doubts
        chances = members[play.owned[:, attribute]].sum(axis=0) / members.sum(axis=0)
        expected = binary_entropy(np.array([chances.mean()]))[0] - binary_entropy(chances).mean()
        assert found[row, column] == pytest.approx(expected, abs=1e-6)
        assert found[row, column] >= -1e-12


def test_members_who_believe_the_same_disagree_about_nothing() -> None:
    _, play = start(0, Switches())
    states = play.states()
    same = np.tile(np.random.default_rng(0).exponential(size=(len(play.owned), 1)), 4)
    assert states.disagreement(same) == pytest.approx(np.zeros_like(states.entropies), abs=1e-12)


# --- loops


@settings(deadline=None)
@given(rows=st.lists(st.sets(st.integers(0, 99), max_size=60), min_size=1, max_size=4))
def test_ownership_is_found_in_rows_of_any_length(rows: list[set[int]]) -> None:
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    ids = np.array([one for row in rows for one in sorted(row)], dtype=np.int32)
    items = np.arange(len(rows))
    asked = np.tile(np.arange(-1, 100), (len(rows), 1))
    found = kernels.owned(indptr, ids, items, asked)
    assert found.tolist() == [[attribute in row for attribute in range(-1, 100)] for row in rows]


def test_the_latest_entries_of_each_row() -> None:
    rows = padded([[1, 2, 3], [4], []])
    assert rows.tolist() == [[1, 2, 3], [4, -1, -1], [-1, -1, -1]]
    assert latest(rows, 2).tolist() == [[2, 3], [4, -1], [-1, -1]]
    assert latest(rows, 4).tolist() == [[1, 2, 3, -1], [4, -1, -1, -1], [-1, -1, -1, -1]]


def test_the_latest_of_entries_that_may_be_nothing() -> None:
    """Two turns were about nothing, and are turns all the same."""
    about = np.array([[5, -1, -1], [6, 7, -1]])
    there = np.array([[True, True, True], [True, True, False]])
    assert latest(about, 2, there).tolist() == [[-1, -1], [6, 7]]


# --- settings


def test_the_papers_reading_is_the_default() -> None:
    plain = Switches()
    assert plain.reject is Reject.FILTER
    assert plain.scoring is Scoring.POSTERIOR
    assert plain.ask is AskScore.WEIGHTED_ENTROPY
    assert plain.question is Question.BINARY
    assert plain.volunteered
    assert plain.noise == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": 0.5},
        {"noise": -0.1},
        {"reject": "noisy"},
        {"reject": "noisy", "noise": 0.1, "scoring": "unicorn"},
        {"choices": 1},
        {"ask": "at random"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Switches.model_validate(wrong)


@pytest.mark.parametrize(
    "switches",
    [Switches(scoring=Scoring.UNICORN), Switches(reject=Reject.PENALTY), Switches(ask=AskScore.SIMILARITY)],
)
def test_arithmetic_with_vectors_needs_vectors(switches: Switches) -> None:
    with pytest.raises(ValueError, match="need embeddings"):
        Candidates(catalogue_of(np.ones((2, 2), dtype=bool)), switches)
