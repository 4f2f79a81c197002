"""The prior over items: what each kind says, what it may know and when, and that it is worth having."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from unicrs_rl.experiments.components import Components
from unicrs_rl.graphs.affinity import FEATURES, Ease, Evidence, likes_table
from unicrs_rl.graphs.belief import EXCLUDED
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.prior import Prior, PriorKind
from unicrs_rl.graphs.world import Seeker, Session, Split, World
from unicrs_rl.graphs.worlds import make_world

VECTORS = Embeddings(
    items=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=np.float32),
    attributes=np.zeros((3, 2), dtype=np.float32),
    likes=np.zeros(2, dtype=np.float32),
)


def asked_by(history: tuple[int, ...], seeker: str = "") -> Session:
    return Session(0, seeker, 0, history, 0)


def four() -> Catalogue:
    """Items a: x y, b: y, c: y z, d: z."""
    facts = [(0, "x"), (0, "y"), (1, "y"), (2, "y"), (2, "z"), (3, "z")]
    return Catalogue.build("item", tuple("abcd"), [(item, "has", "tag", tag) for item, tag in facts])


def generated(seed: int = 0, n_seekers: int = 30, n_items: int = 40) -> World:
    """Two tastes, with interactions parted as in LastFM."""
    rng = np.random.default_rng(seed)
    facts = [(item, "has", "tag", f"t{item % 2}") for item in range(n_items)]
    facts += [(item, "has", "tag", f"s{rng.integers(5)}") for item in range(n_items)]
    pairs: dict[Split | None, list[tuple[int, int]]] = {part: [] for part in (None, *Split)}
    for seeker in range(n_seekers):
        mine = 2 * rng.permutation(n_items // 2)[:12] + seeker % 2
        for place, item in enumerate(mine.tolist()):
            part = (None, None, None, None, None, Split.TRAIN, Split.TRAIN, Split.VALID, Split.VALID)
            pairs[part[place] if place < len(part) else Split.TEST].append((seeker, item))
    likes = np.array(pairs.pop(None))
    seekers = tuple(
        Seeker(str(index), tuple(likes[likes[:, 0] == index, 1].tolist())) for index in range(n_seekers)
    )
    return World(
        name="generated",
        catalogue=Catalogue.build("item", [f"i{item}" for item in range(n_items)], facts),
        seekers=seekers,
        likes=likes,
        targets={split: pairs[split] for split in Split},
        by_interaction=True,
        friends=np.array([[0, 2], [2, 4], [1, 3]]),
    )


def vectors_for(world: World) -> Embeddings:
    rng = np.random.default_rng(1)
    table = rng.normal(size=(world.catalogue.n_items + world.catalogue.n_attributes, 4)).astype(np.float32)
    return Embeddings(table[: world.catalogue.n_items], table[world.catalogue.n_items :], table[0] * 0)


@pytest.fixture(scope="module")
def world() -> World:
    return generated()


@pytest.fixture(scope="module")
def prior(world: World) -> Prior:
    return Prior(world, vectors_for(world))


# --- every kind ---


@pytest.mark.parametrize("kind", list(PriorKind))
@pytest.mark.parametrize("split", list(Split))
def test_it_is_a_distribution_without_what_is_known(world: World, kind: PriorKind, split: Split) -> None:
    sessions = world.sessions(split, 20, 0)
    scores = Prior(world, vectors_for(world), kind).log_scores(sessions)
    assert scores.shape == (20, world.catalogue.n_items)
    assert scores.dtype == np.float64
    assert np.exp(scores).sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    for row, session in zip(scores, sessions, strict=True):
        assert (row[list(session.history)] == EXCLUDED).all()
        assert row[session.target] > EXCLUDED


@pytest.mark.parametrize("kind", list(PriorKind))
def test_excluding_the_history_is_a_switch(world: World, kind: PriorKind) -> None:
    sessions = world.sessions(Split.TEST, 5, 0)
    scores = Prior(world, vectors_for(world), kind, exclude_history=False).log_scores(sessions)
    assert (scores > EXCLUDED).all()
    assert np.exp(scores).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)


def test_uniform_popular_and_translated(world: World) -> None:
    vectors = vectors_for(world)
    session = world.sessions(Split.TEST, 1, 0)[0]
    open_ = np.setdiff1d(np.arange(world.catalogue.n_items), session.history)
    uniform = Prior(world, vectors, PriorKind.UNIFORM).log_scores([session])[0]
    assert uniform[open_] == pytest.approx(-np.log(len(open_)), abs=1e-5)
    popular = np.exp(Prior(world, vectors, PriorKind.POPULARITY).log_scores([session])[0])
    known = 1 + np.bincount(world.known(Split.TEST)[:, 1], minlength=world.catalogue.n_items)
    assert popular[open_] == pytest.approx(known[open_] / known[open_].sum(), abs=1e-5)
    translated = Prior(world, vectors, PriorKind.TRANSE).log_scores([session])[0]
    product = vectors.items @ vectors.fold_in([session.history])[0]
    assert np.diff(translated[open_]) == pytest.approx(np.diff(product[open_]), abs=1e-4)


def test_a_history_alone_is_enough(prior: Prior) -> None:
    scores = prior.log_scores([asked_by((1, 3)), asked_by(())])
    assert np.exp(scores).sum(axis=1) == pytest.approx(np.ones(2), abs=1e-5)
    assert scores[0, 5::2].mean() > scores[0, 4::2].mean()


# --- the features ---


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_ease_is_the_textbook_inverse(shape: tuple[int, int]) -> None:
    table = (np.random.default_rng(0).random(shape) < 0.4).astype(float)
    chosen = (np.random.default_rng(1).random((3, shape[1])) < 0.4).astype(float)
    inverse = np.linalg.inv(table.T @ table + 2.0 * np.eye(shape[1]))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    found = Ease(sparse_of(table), regularisation=2.0).scores(sparse_of(chosen))
    assert found == pytest.approx(chosen @ weights, abs=1e-5)


def sparse_of(table: np.ndarray):  # type: ignore[no-untyped-def]
    return likes_table(np.argwhere(table > 0), table.shape)


def test_features_by_hand() -> None:
    """Seeker 0 likes a, lately b; seeker 1 likes a and c; they are friends."""
    early, late = (
        sparse_of(np.array([[1, 0, 0, 0], [1, 0, 1, 0]])),
        sparse_of(np.array([[0, 1, 0, 0], [0] * 4])),
    )
    friends = sparse_of(np.array([[0, 1], [1, 0]]))
    evidence = Evidence(four(), VECTORS, early, late, friends)
    found = dict(zip(FEATURES, evidence.features([0], [(0, 1)]), strict=True))
    assert found["early"] == pytest.approx(np.log([3, 1, 2, 1]))
    assert found["late"] == pytest.approx(np.log([1, 2, 1, 1]))
    assert found["no_early"].tolist() == [0, 1, 0, 1]
    assert found["no_late"].tolist() == [1, 0, 1, 1]
    assert found["degree"] == pytest.approx(np.log([2, 1, 2, 1]))
    assert found["friends"][0] == pytest.approx(np.log([2, 1, 2, 1]))
    assert found["embedding"][0] == pytest.approx([0.5, 0.5, 1, 0])
    content = evidence.catalogue.content.toarray()
    mean = content[0] + content[1]
    cosine = content @ mean / np.linalg.norm(mean)
    assert found["content"][0] == pytest.approx(cosine)
    assert found["content_squared"][0] == pytest.approx(cosine**2)
    assert found["content_nearest"][0] == pytest.approx((content[:2] @ content.T).max(axis=0))
    # a's columns: both seekers, b's: seeker 0, c's: seeker 1
    roots = np.sqrt(2)
    assert found["item_knn"][0] == pytest.approx(np.log1p([10 + 10 / roots, 10 / roots + 10, 10 / roots, 0]))
    assert found["item_knn_late"][0] == pytest.approx(np.log1p([10 / roots, 10, 0, 0]))
    # from a (1/2) to either seeker and on to two items each; from b (1/2) to seeker 0
    assert found["walk"][0] == pytest.approx(np.log(0.005 + np.array([0.5, 0.375, 0.125, 0])))
    assert found["walk_late"][0] == pytest.approx(np.log(0.005 + np.array([0, 0.375, 0, 0])))
    # rows weighted by 1/likes: seeker 0 is H itself, so the cosine is 1
    assert found["user_knn"][0] == pytest.approx(np.log1p([0, 10, 0, 0]))
    usual = np.array([3, 7, 3]) / 8  # likes plus one of the owners
    lift = np.log((np.array([1, 2, 0]) + 5 * usual) / 7 / usual)
    sums = [(lift[0] + lift[1]) / roots, lift[1], (lift[1] + lift[2]) / roots, lift[2]]
    assert found["attributes"][0] == pytest.approx(sums)


def test_friends_matter_for_a_known_seeker_only(world: World) -> None:
    alone = dataclasses.replace(world, friends=np.zeros((0, 2), dtype=np.int64))
    with_friends, without = Prior(world, vectors_for(world)), Prior(alone, vectors_for(world))
    with_friends.weights = without.weights = np.array([float(name == "friends") for name in FEATURES])
    known = world.sessions(Split.TEST, None, 0)
    mine = [session for session in known if session.seeker == "2"][:1]
    assert not np.array_equal(with_friends.log_scores(mine), without.log_scores(mine))
    stranger = [asked_by(mine[0].history, "nobody")]
    assert np.array_equal(with_friends.log_scores(stranger), without.log_scores(stranger))


# --- what it may know ---


def test_a_valid_pair_does_not_count_in_its_own_conversation(world: World, prior: Prior) -> None:
    for session in world.sessions(Split.VALID, 8, 0):
        pair = (world.places[session.seeker], session.target)
        others = [one for one in world.targets[Split.VALID] if one != pair]
        without = Prior(
            dataclasses.replace(world, targets={**world.targets, Split.VALID: others}), vectors_for(world)
        )
        without.weights = prior.weights
        assert np.array_equal(without.log_scores([session]), prior.log_scores([session]))


def test_other_valid_pairs_count(world: World, prior: Prior) -> None:
    emptied = dataclasses.replace(world, targets={**world.targets, Split.VALID: []})
    without = Prior(emptied, vectors_for(world))
    without.weights = prior.weights
    for split in Split:
        sessions = world.sessions(split, 10, 0)
        assert not np.array_equal(without.log_scores(sessions), prior.log_scores(sessions))


@pytest.mark.parametrize("split", list(Split))
def test_test_targets_are_never_known(world: World, prior: Prior, split: Split) -> None:
    items = world.catalogue.n_items
    moved = [(seeker, (item + 7) % items) for seeker, item in world.targets[Split.TEST]]
    other = Prior(
        dataclasses.replace(world, targets={**world.targets, Split.TEST: moved}), vectors_for(world)
    )
    assert np.array_equal(other.weights, prior.weights)
    sessions = world.sessions(split, 10, 0)
    assert np.array_equal(other.log_scores(sessions), prior.log_scores(sessions))


def test_training_targets_are_not_known_in_training(world: World, prior: Prior) -> None:
    moved = [(seeker, (item + 6) % 40) for seeker, item in world.targets[Split.TRAIN]]
    other = Prior(
        dataclasses.replace(world, targets={**world.targets, Split.TRAIN: moved}), vectors_for(world)
    )
    other.weights = prior.weights
    sessions = world.sessions(Split.TRAIN, 10, 0)
    assert np.array_equal(other.log_scores(sessions), prior.log_scores(sessions))
    tests = world.sessions(Split.TEST, 10, 0)
    assert not np.array_equal(other.log_scores(tests), prior.log_scores(tests))


def test_where_seekers_are_split_all_know_the_training_graph(
    movies: World, movies_embeddings: Embeddings, components: Components
) -> None:
    session = movies.sessions(Split.TEST, 1, 0)[0]
    rows = components.prior.log_scores([dataclasses.replace(session, split=split) for split in Split])
    assert (rows == rows[0]).all()


# --- the fit ---


def moved(world: World, split: Split) -> World:
    """The same world with other targets in one split."""
    pairs = [(seeker, (item + 7) % world.catalogue.n_items) for seeker, item in world.targets[split]]
    return dataclasses.replace(world, targets={**world.targets, split: pairs})


@pytest.mark.parametrize("split", [Split.TEST, Split.TRAIN])
def test_it_is_fitted_without_the_split(
    movies: World, movies_embeddings: Embeddings, components: Components, split: Split
) -> None:
    assert np.array_equal(Prior(moved(movies, split), movies_embeddings).weights, components.prior.weights)
    emptied = dataclasses.replace(movies, targets={**movies.targets, split: []})
    assert np.array_equal(Prior(emptied, movies_embeddings).weights, components.prior.weights)


def test_it_is_fitted_on_the_valid_split(
    movies: World, movies_embeddings: Embeddings, components: Components
) -> None:
    other = Prior(moved(movies, Split.VALID), movies_embeddings).weights
    assert not np.allclose(other, components.prior.weights, atol=0.01)


def test_the_fit_is_deterministic(world: World, prior: Prior) -> None:
    assert np.array_equal(Prior(world, vectors_for(world)).weights, prior.weights)


def test_without_valid_there_is_popularity(world: World) -> None:
    emptied = dataclasses.replace(world, targets={**world.targets, Split.VALID: []})
    weights = Prior(emptied, vectors_for(world)).weights
    assert dict(zip(FEATURES, weights.tolist(), strict=True)) == {
        name: float(name == "early") for name in FEATURES
    }


def test_it_knows_more_than_none_about_unseen_targets(
    movies: World, movies_embeddings: Embeddings, components: Components
) -> None:
    sessions = movies.sessions(Split.TEST, 300, 0)
    targets = [session.target for session in sessions]
    uniform = Prior(movies, movies_embeddings, PriorKind.UNIFORM).log_scores(sessions)
    gain = (components.prior.log_scores(sessions) - uniform)[np.arange(300), targets]
    assert gain.mean() > 3 * gain.std() / np.sqrt(300)


# --- rows ---


@pytest.mark.parametrize("kind", list(PriorKind))
def test_a_row_depends_on_its_session_alone(world: World, kind: PriorKind) -> None:
    sessions = [session for split in Split for session in world.sessions(split, 25, 0)]
    together = Prior(world, vectors_for(world), kind)
    together.weights = weights = Prior(world, vectors_for(world), kind).weights
    rows = together.log_scores(sessions)
    assert np.array_equal(rows, together.log_scores(sessions))
    alone = Prior(world, vectors_for(world), kind)
    alone.weights = weights
    for row, session in zip(rows[::-1], sessions[::-1], strict=True):
        assert np.array_equal(alone.log_scores([session])[0], row)


def test_rows_beyond_the_memory_are_worked_out_again(
    world: World, prior: Prior, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = world.sessions(Split.TEST, None, 0)
    expected = prior.log_scores(sessions)
    monkeypatch.setattr("unicrs_rl.graphs.prior._CACHE_BYTES", 4 * 40 * 3)
    forgetful = Prior(world, vectors_for(world))
    for _ in range(2):
        assert np.array_equal(forgetful.log_scores(sessions), expected)
    assert len(forgetful._rows) == 3


# --- on real data ---


@pytest.mark.slow
def test_on_lastfm_it_beats_popularity_and_chance_in_valid(shared: Path) -> None:
    world = make_world("lastfm", shared / "data" / "lastfm")
    vectors = vectors_for(world)
    fitted = Prior(world, vectors)
    sessions = world.sessions(Split.VALID, 1000, 0)[-300:]  # beyond those that the weights are fitted on
    targets = [session.target for session in sessions]
    likelihood = {
        kind: prior.log_scores(sessions)[np.arange(300), targets].mean()
        for kind, prior in (
            (PriorKind.FITTED, fitted),
            (PriorKind.POPULARITY, Prior(world, vectors, PriorKind.POPULARITY)),
            (PriorKind.UNIFORM, Prior(world, vectors, PriorKind.UNIFORM)),
        )
    }
    assert likelihood[PriorKind.FITTED] > likelihood[PriorKind.UNIFORM] + 1.5
    assert likelihood[PriorKind.FITTED] > likelihood[PriorKind.POPULARITY] + 1.0
