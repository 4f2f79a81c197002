"""Worlds: what is in them, who lives there, and that training never meets the test."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers import movies as reader
from unicrs_rl.graphs.readers import redial
from unicrs_rl.graphs.world import Seeker, Split, World, split_by_seeker
from unicrs_rl.graphs.worlds import make_world, worlds


def names_by_relation(catalogue: Catalogue, item: int) -> dict[str, set[str]]:
    facts: dict[str, set[str]] = {}
    for fact in catalogue.facts_about(item):
        facts.setdefault(fact.relation, set()).add(fact.value)
    return facts


# --- movies ---


def test_movies_has_at_least_400_films_with_all_their_facts(movies: World) -> None:
    catalogue = movies.catalogue
    assert catalogue.n_items >= 400
    assert len(set(catalogue.items)) == catalogue.n_items
    for item in range(catalogue.n_items):
        facts = names_by_relation(catalogue, item)
        assert len(facts["genre"]) >= 1
        assert len(facts["director"]) >= 1
        assert len(facts["star"]) >= 3
        assert len(facts["tag"]) >= 1
        (year,) = facts["year"]
        assert 1900 < int(year) < 2030
        assert catalogue.items[item].endswith(f"({year})")


def test_movies_facts_are_what_anybody_can_check(movies: World) -> None:
    catalogue = movies.catalogue
    facts = names_by_relation(catalogue, catalogue.items.index("12 Monkeys (1995)"))
    assert facts["director"] == {"Terry Gilliam"}
    assert {"Bruce Willis", "Brad Pitt"} <= facts["star"]
    assert "sci-fi" in facts["genre"]
    assert "time travel" in facts["tag"]


def test_movies_are_real_films(movies: World, shared: Path) -> None:
    """Nearly all are in ReDial's knowledge graph, and there they have the same director."""
    known = redial.read(shared / "data" / "redial").catalogue
    ids = {title: item for item, title in enumerate(known.items)}
    found = [(item, ids[title]) for item, title in enumerate(movies.catalogue.items) if title in ids]
    assert len(found) >= 400
    agree = [
        bool(
            names_by_relation(movies.catalogue, ours)["director"]
            & names_by_relation(known, theirs)["director"]
        )
        for ours, theirs in found
        if "director" in names_by_relation(known, theirs)
    ]
    assert np.mean(agree) > 0.98


def test_movies_kinds_and_relations(movies: World) -> None:
    catalogue = movies.catalogue
    assert set(catalogue.kinds) == {"genre", "person", "tag"}
    assert set(catalogue.relations) == {"director", "genre", "star", "tag"}
    kind_of = {"director": "person", "star": "person", "genre": "genre", "tag": "tag"}
    for _, relation, attribute in catalogue.edges.tolist():
        assert catalogue.kinds[attribute] == kind_of[catalogue.relations[relation]]


def test_one_person_who_acts_and_directs_is_one_attribute(movies: World) -> None:
    catalogue = movies.catalogue
    gibson = catalogue.attributes.index("Mel Gibson")
    roles = {catalogue.relations[r] for _, r, attribute in catalogue.edges.tolist() if attribute == gibson}
    assert roles == {"director", "star"}


def test_movies_seekers_are_seeded() -> None:
    catalogue = reader.read_catalogue()
    once, again, other = (reader.generate_seekers(catalogue, 30, seed) for seed in (5, 5, 6))
    assert once == again
    assert once != other


def test_movies_seekers_like_as_many_films_as_documented(movies: World) -> None:
    assert len(movies.seekers) == reader.N_SEEKERS
    sizes = Counter(len(seeker.liked) for seeker in movies.seekers)
    assert (min(sizes), max(sizes)) == reader.HISTORY == (8, 15)
    assert all(len(set(seeker.liked)) == len(seeker.liked) for seeker in movies.seekers)


def test_movies_seekers_have_a_taste(movies: World) -> None:
    """Two films that one seeker likes share more attributes than two films of different seekers."""
    table = movies.catalogue.item_attributes
    shared = (table @ table.T).toarray()

    def overlap(one: Seeker, other: Seeker) -> float:
        pairs = [(a, b) for a in one.liked for b in other.liked if a != b]
        return float(np.mean([shared[pair] for pair in pairs]))

    seekers = movies.seekers[:200]
    own = np.mean([overlap(seeker, seeker) for seeker in seekers])
    others = np.mean([overlap(*pair) for pair in pairwise(seekers)])
    assert own > 1.15 * others


def test_movies_documents_its_preference_model() -> None:
    """The numbers in the docstring are the numbers of the code."""
    text = " ".join((reader.__doc__ or "").split())
    for kind, noun in (("genre", "genres"), ("person", "people"), ("tag", "tags")):
        fewest, most, weight = reader.LIKED_KINDS[kind]
        assert re.search(rf"{fewest}-{most} {noun} \((weight )?{weight}", text)
    assert f"dislikes one genre ({reader.DISLIKED_GENRE})" in text
    assert f"the {reader.HISTORY[0]}-{reader.HISTORY[1]} films" in text


# --- splits ---


def likers(count: int, likes: int = 3) -> list[Seeker]:
    return [Seeker(str(index), tuple(range(index, index + likes))) for index in range(count)]


def test_splits_are_by_seeker(movies: World) -> None:
    groups = [{seeker for seeker, _ in movies.targets[split]} for split in Split]
    groups.append(set(movies.likes[:, 0].tolist()))
    everybody = [seeker for group in groups for seeker in group]
    assert len(everybody) == len(set(everybody)) == len(movies.seekers)


def test_split_sizes_are_as_documented() -> None:
    likes, targets = split_by_seeker("w", likers(100))
    assert {split: len({seeker for seeker, _ in pairs}) for split, pairs in targets.items()} == {
        Split.TRAIN: 20,
        Split.VALID: 10,
        Split.TEST: 20,
    }
    assert len(set(likes[:, 0].tolist())) == 50


def test_every_like_is_used_once() -> None:
    seekers = likers(40)
    likes, targets = split_by_seeker("w", seekers)
    used = [*map(tuple, likes.tolist()), *(pair for pairs in targets.values() for pair in pairs)]
    assert sorted(used) == [(index, item) for index, seeker in enumerate(seekers) for item in seeker.liked]


def test_split_is_seeded() -> None:
    seekers = likers(40)
    first, again, other = (split_by_seeker("w", seekers, seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first[Split.TEST] != other[Split.TEST]


def test_seekers_with_one_like_are_in_no_split() -> None:
    """Without a history there is nobody to recommend to."""
    likes, targets = split_by_seeker("w", [*likers(8), *likers(5, likes=1)])
    used = {*likes[:, 0].tolist(), *(seeker for pairs in targets.values() for seeker, _ in pairs)}
    assert used == set(range(8))


def test_four_seekers_fill_every_split_and_three_do_not() -> None:
    likes, targets = split_by_seeker("w", likers(4))
    assert all(targets.values())
    assert len(likes) == 3
    with pytest.raises(InputError, match="at least 4"):
        split_by_seeker("w", likers(3))


# --- sessions ---


def test_a_session_hides_its_target_from_the_history(movies: World) -> None:
    by_id = {seeker.id: seeker for seeker in movies.seekers}
    for session in movies.sessions(Split.TEST, 100, 0):
        assert session.target in by_id[session.seeker].liked
        assert set(session.history) == set(by_id[session.seeker].liked) - {session.target}


def test_held_out_triples_are_disjoint_from_training_ones(movies: World) -> None:
    triples = [
        {(session.seeker, session.target, session.key) for session in movies.sessions(split, 500, seed)}
        for split in Split
        for seed in (0, 1)
    ]
    assert len(set().union(*triples)) == sum(map(len, triples)) == 3000
    seekers = [{session.seeker for session in movies.sessions(split, None, 0)} for split in Split]
    assert not seekers[0] & seekers[1]
    assert not (seekers[0] | seekers[1]) & seekers[2]


def test_sessions_are_seeded(movies: World) -> None:
    assert movies.sessions(Split.TEST, 20, 3) == movies.sessions(Split.TEST, 20, 3)
    assert movies.sessions(Split.TEST, 20, 3) != movies.sessions(Split.TEST, 20, 4)


def test_fewer_sessions_are_the_first_of_more(movies: World) -> None:
    assert movies.sessions(Split.TEST, 50, 0)[:20] == movies.sessions(Split.TEST, 20, 0)


def test_all_sessions_are_each_pair_once(movies: World) -> None:
    sessions = movies.sessions(Split.VALID, None, 0)
    pairs = {(int(session.seeker.removeprefix("seeker-")), session.target) for session in sessions}
    assert pairs == set(movies.targets[Split.VALID])
    assert len(sessions) == len(pairs)


def test_more_sessions_than_pairs_are_still_new_triples(movies: World) -> None:
    count = 2 * len(movies.targets[Split.VALID]) + 7
    sessions = movies.sessions(Split.VALID, count, 0)
    assert len({session.key for session in sessions}) == len(sessions) == count
    assert Counter((session.seeker, session.target) for session in sessions).most_common(1)[0][1] == 3


def test_a_key_says_nothing_about_the_target(movies: World) -> None:
    """Another target on the same place of the list has the same random numbers."""
    moved = World(
        movies.name,
        movies.catalogue,
        movies.seekers,
        movies.likes,
        {split: [(seeker, 0) for seeker, _ in pairs] for split, pairs in movies.targets.items()},
    )
    ours, theirs = (world.sessions(Split.TEST, 40, 0) for world in (movies, moved))
    assert [session.key for session in ours] == [session.key for session in theirs]
    assert {session.target for session in theirs} == {0}


# --- registry ---


def test_worlds_are_found_by_name() -> None:
    planted = {f"planted-{name}" for name in ("coupled", "separable", "strategic", "indifferent")}
    assert set(worlds) == {"movies", "redial", "lastfm"} | planted
    assert make_world("movies").name == "movies"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("movie", "movies"), ("Movies", "movies"), ("lastfn", "lastfm"), ("redail", "redial")],
)
def test_an_unknown_world_is_answered_with_did_you_mean(wrong: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"unknown world '{wrong}'; did you mean {meant}"):
        make_world(wrong)


def test_a_hopeless_name_is_answered_with_the_list() -> None:
    with pytest.raises(InputError, match=r"known: lastfm, movies, planted-coupled, planted-.*, redial"):
        make_world("xyzzy")


def test_a_world_is_found_by_path(bistros: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_world(str(bistros)).name == "bistros"
    monkeypatch.chdir(bistros.parent)
    assert make_world("bistros").catalogue.noun == "restaurant"


def test_a_worlds_seed_moves_its_splits(bistros: Path) -> None:
    tests = [tuple(make_world(str(bistros), seed=seed).targets[Split.TEST]) for seed in (0, 0, 1, 2, 3)]
    assert tests[0] == tests[1]
    assert len(set(tests)) > 1


def test_fingerprint_depends_on_catalogue_and_training_graph(movies: World, bistros: Path) -> None:
    assert make_world("movies").fingerprint == movies.fingerprint
    assert make_world("movies", seed=1).fingerprint != movies.fingerprint
    before = make_world(str(bistros)).fingerprint
    items = bistros / "items.csv"
    items.write_text(items.read_text().replace("romantic", "noisy"))
    assert make_world(str(bistros)).fingerprint != before


# --- catalogue ---


@pytest.fixture
def small() -> Catalogue:
    """Item 0 has x (twice, by two relations) and y, item 1 has x, item 2 has z; z is of two kinds."""
    facts = [
        (0, "genre", "genre", "x"),
        (0, "mood", "genre", "x"),
        (0, "genre", "genre", "y"),
        (1, "genre", "genre", "x"),
        (2, "genre", "genre", "z"),
        (2, "tag", "tag", "z"),
    ]
    return Catalogue.build("thing", ["a", "b", "c"], facts, {"year": ("1", "2", "3")})


def test_catalogue_indexes_both_ways(small: Catalogue) -> None:
    assert small.attributes == ("x", "y", "z (genre)", "z (tag)")
    assert [small.attributes_of(item).tolist() for item in range(3)] == [[0, 1], [0], [2, 3]]
    assert [small.items_with(attribute).tolist() for attribute in range(4)] == [[0, 1], [0], [2], [2]]
    assert small.degrees.tolist() == [2, 1, 1, 1]
    assert small.askable.tolist() == [0]


def test_catalogue_keeps_every_relation_as_a_fact(small: Catalogue) -> None:
    said = [(fact.relation, fact.value) for fact in small.facts_about(0)]
    assert sorted(said) == [("genre", "x"), ("genre", "y"), ("mood", "x"), ("year", "1")]
    assert said[-1] == ("year", "1")


def test_content_vectors_have_length_one_and_weigh_rare_attributes_more(small: Catalogue) -> None:
    """Item 0: ln(1 + 3/2) for x, ln(1 + 3) for y."""
    content = small.content.toarray()
    weights = np.log([1 + 3 / 2, 1 + 3])
    assert content[0, :2] == pytest.approx(weights / np.linalg.norm(weights))
    assert np.linalg.norm(content, axis=1) == pytest.approx(np.ones(3))


def test_spellings_of_one_kind_are_one_attribute_and_the_most_frequent_is_shown() -> None:
    names = ("italian", "Italian", "Italian", "new  york", "New York", "ITALIAN")
    facts = [(item, "style", "style", name) for item, name in enumerate(names)]
    catalogue = Catalogue.build("dish", list("abcdef"), [*facts, (0, "mood", "mood", "italian")])
    assert catalogue.attributes == ("italian (mood)", "Italian (style)", "New York")
    assert catalogue.items_with(1).tolist() == [0, 1, 2, 5]


def test_spellings_are_told_apart_where_names_are_entities() -> None:
    facts = [(0, "star", "person", "Sabu"), (0, "star", "person", "SABU")]
    catalogue = Catalogue.build("movie", ["a"], facts, merge_spellings=False)
    assert catalogue.attributes == ("SABU", "Sabu #2")
