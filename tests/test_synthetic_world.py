"""The generator of synthetic worlds: worlds of the size asked for, whole, and the same for the same seed."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unicrs_rl.errors import InputError
from unicrs_rl.graphs.readers import unicorn_directory
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.graphs.worlds import make_world

ROOT = Path(__file__).resolve().parents[1]
SIZES: dict[str, Any] = {"items": 2000, "attributes": 120, "per_item": 4.1, "users": 300}


@pytest.fixture(scope="module")
def generator() -> Iterator[Any]:
    """``benchmarks/`` is no package; its commands import one another as scripts do."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("synthetic_world")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def town(generator: Any) -> World:
    made: World = generator.world(**SIZES, interactions_per_user=30)
    return made


def run(generator: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["synthetic_world.py", *map(str, arguments)])
    generator.main()


COMMAND = ("--items", 500, "--attributes", 40, "--users", 60, "--interactions-per-user", 20, "--seed", 3)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("categories", [None, 6])
def test_the_directory_reads_back_as_the_world_made_in_memory(
    generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, categories: int | None
) -> None:
    extra = () if categories is None else ("--two-layers", categories)
    run(generator, monkeypatch, tmp_path / "town", *COMMAND, *extra)
    read = make_world(str(tmp_path / "town"), seed=3)
    made = generator.world(500, 40, users=60, interactions_per_user=20, categories=categories, seed=3)
    assert read.catalogue.fingerprint == made.catalogue.fingerprint
    assert read.fingerprint == made.fingerprint
    assert (read.catalogue.noun, read.catalogue.taxonomy) == (made.catalogue.noun, made.catalogue.taxonomy)
    assert (read.seekers, read.targets, read.by_interaction) == (made.seekers, made.targets, True)
    assert np.array_equal(read.friends, made.friends)
    assert read.notes == made.notes == ()


def test_two_layers_are_yelps_files_and_every_attribute_has_one_category(
    generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(generator, monkeypatch, tmp_path / "town", *COMMAND, "--two-layers", 6)
    assert {path.name for path in (tmp_path / "town" / "Graph_generate_data").iterdir()} == {
        "2-layer taxonomy.json",
        "first-layer_merged_tag_map.json",
        "item_dict-original_tag.json",
        "second-layer_oringinal_tag_map.json",
        "user_dict.json",
        "user_item_train.json",
    }
    catalogue = make_world(str(tmp_path / "town")).catalogue
    assert catalogue.noun == "business"
    assert len(catalogue.taxonomy) == 6
    assert sorted(itertools.chain.from_iterable(catalogue.taxonomy.values())) == list(range(40))


def test_counts_are_as_asked(town: World) -> None:
    catalogue = town.catalogue
    per_item = np.diff(catalogue.item_attributes.indptr)
    pairs = len(town.likes) + sum(len(targets) for targets in town.targets.values())
    assert (catalogue.n_items, catalogue.n_attributes, len(town.seekers)) == (2000, 120, 300)
    assert per_item.mean() == pytest.approx(4.1, rel=0.05)
    assert pairs / 300 == pytest.approx(30, rel=0.05)
    assert per_item.min() == 1
    assert np.mean(per_item >= 2) > 0.95
    assert per_item.max() > 3 * 4.1
    assert catalogue.degrees.min() >= 1
    assert len(town.friends) / 300 == pytest.approx(6, rel=0.2)


@pytest.mark.parametrize("per_item", [1.0, 1.5, 2.0, 8.0])
def test_the_mean_number_of_attributes_is_as_asked(generator: Any, per_item: float) -> None:
    catalogue = generator.world(3000, 200, per_item=per_item, users=10).catalogue
    assert len(catalogue.edges) / 3000 == pytest.approx(per_item, rel=0.05)


def test_splits_are_70_15_15_of_every_user(town: World) -> None:
    pairs = {split: set(town.targets[split]) for split in Split}
    pairs[Split.TRAIN] |= set(map(tuple, town.likes.tolist()))
    total = sum(map(len, pairs.values()))
    assert len(pairs[Split.TRAIN] | pairs[Split.VALID] | pairs[Split.TEST]) == total
    assert len(pairs[Split.VALID]) == len(pairs[Split.TEST])
    assert len(pairs[Split.TEST]) / total == pytest.approx(0.15, abs=0.01)
    for split in Split:
        assert {user for user, _ in pairs[split]} == set(range(300))


def test_attributes_are_unequally_popular_and_come_together(town: World) -> None:
    """Against a world in which they are drawn one by one with the same popularity."""
    catalogue = town.catalogue
    degrees = np.sort(catalogue.degrees)[::-1]
    assert degrees[:12].sum() > 0.3 * degrees.sum()
    together = (catalogue.attribute_items @ catalogue.item_attributes).toarray()
    expected = np.outer(catalogue.degrees, catalogue.degrees) / catalogue.n_items
    apart = ~np.eye(len(expected), dtype=bool)
    lift = together[apart] / expected[apart]
    assert np.mean(lift > 3) > 0.05
    assert np.mean(lift < 0.5) > 0.5


def test_users_have_tastes_and_items_are_unequally_popular(town: World) -> None:
    likes = town.interactions
    popular = np.sort(np.bincount(town.likes[:, 1], minlength=2000))[::-1]
    assert popular[:200].sum() > 0.3 * popular.sum()
    content = town.catalogue.content
    taste = likes @ content
    users, items = np.array(town.targets[Split.TEST]).T
    own = taste[users].multiply(content[items]).sum()
    others = taste[users].multiply(content[np.random.default_rng(0).permutation(items)]).sum()
    assert own > 1.5 * others


def test_some_items_have_exactly_the_same_attributes(generator: Any) -> None:
    catalogue = generator.world(1000, 250, per_item=12, users=10).catalogue
    sets = {tuple(catalogue.attributes_of(item)) for item in range(1000)}
    assert 5 <= 1000 - len(sets) <= 60


def test_equal_seeds_give_equal_bytes(
    generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        run(generator, monkeypatch, tmp_path / name, *COMMAND)
    run(generator, monkeypatch, tmp_path / "other", *COMMAND, "--seed", 4)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    other = contents(tmp_path / "other")
    changed = {name for name, content in contents(tmp_path / "one").items() if other[name] != content}
    assert changed == set(other) - {"Graph_generate_data/original_tag_map.json"}


@pytest.mark.parametrize("users", [1, 7])
def test_the_smallest_worlds_are_whole(generator: Any, users: int) -> None:
    for seed in range(5):
        town = generator.world(20, 4, per_item=1, users=users, interactions_per_user=5, seed=seed)
        assert town.catalogue.degrees.min() >= 1
        assert all(town.targets[split] for split in Split)
        assert all(town.sessions(split, None, 0) for split in Split)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--users", 0),
        ("--interactions-per-user", 4),
        ("--interactions-per-user", 400),
        ("--per-item", 0.5),
        ("--per-item", 30),
        ("--attributes", 2000),
        ("--two-layers", 0),
        ("--two-layers", 41),
    ],
)
def test_an_impossible_size_is_one_line(
    generator: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    option: str,
    value: object,
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(generator, monkeypatch, tmp_path / "town", *COMMAND, option, value)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith(f"{option} {value}")
    assert error.count("\n") == 1
    assert not (tmp_path / "town").exists()


def test_a_folder_with_something_in_it_is_left_alone(
    generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(SystemExit):
        run(generator, monkeypatch, tmp_path, *COMMAND)
    assert contents(tmp_path) == {"note": b"mine"}


# --- like LastFM* ---


def test_the_real_lastfm_keeps_everything_but_its_attributes(
    generator: Any, monkeypatch: pytest.MonkeyPatch, shared: Path, tmp_path: Path
) -> None:
    source = shared / "data" / "lastfm"
    run(generator, monkeypatch, tmp_path / "lastfm-star", "--like-lastfm-star", source)
    names = {path.name for path in (tmp_path / "lastfm-star" / "Graph_generate_data").iterdir()}
    assert names == {"item_dict.json", "original_tag_map.json", "user_dict.json", "user_item_train.json"}
    star, real = make_world(str(tmp_path / "lastfm-star")), unicorn_directory.read(source)
    assert (star.catalogue.n_items, star.catalogue.n_attributes) == (7432, 8438)
    assert star.catalogue.noun == "artist"
    assert len(star.catalogue.edges) / 7432 == pytest.approx(12.7, rel=0.05)
    assert star.catalogue.degrees.min() >= 1
    assert (star.seekers, star.targets, star.notes) == (real.seekers, real.targets, real.notes)
    assert np.array_equal(star.friends, real.friends)
    path = Path("Graph_generate_data") / "user_dict.json"
    ours, theirs = (json.loads((root / path).read_text()) for root in (tmp_path / "lastfm-star", source))
    assert [(user, entry["friends"]) for user, entry in ours.items()] == [
        (user, entry["friends"]) for user, entry in theirs.items()
    ]
    for user, entry in ours.items():
        assert len(entry["like"]) == len(set(theirs[user]["like"]))
        assert all(0 <= attribute < 8438 for attribute in entry["like"])


def test_an_item_keeps_its_merged_attributes_as_refinements(generator: Any, shared: Path) -> None:
    table = unicorn_directory.read(shared / "data" / "lastfm").catalogue.item_attributes
    merged = generator.Rows(table.indptr.astype(np.int64), table.indices.astype(np.int64))
    features, things = generator._refine(np.random.default_rng(0), merged, 33)
    refines = np.repeat(np.arange(33), np.diff(things.starts))[np.argsort(things.order)]
    drifted = 0
    for old, new in zip(merged.lists(0, 7432), features.lists(0, 7432), strict=True):
        kept = set(refines[new])
        assert set(old) <= kept
        drifted += kept != set(old)
    assert drifted < 75  # items that want more than their merged attributes give


def test_the_real_data_are_never_written_into_the_repository(generator: Any, shared: Path) -> None:
    with pytest.raises(InputError, match="repository"):
        generator.write_like_lastfm_star(shared / "data" / "lastfm", ROOT / "star")
    assert not (ROOT / "star").exists()
