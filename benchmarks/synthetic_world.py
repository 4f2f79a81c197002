"""Synthetic worlds of multi-round conversational recommendation: as UNICORN directories or in memory.

Usage: python benchmarks/synthetic_world.py OUT --items 70000 --attributes 590 --users 27000

Attributes come in clusters and are as unequally popular as words (Zipf). An item draws one cluster or
two and most of its attributes from them; 2% of the items are twins of another one, with exactly its
attributes. A user draws three clusters and most items from them, popular ones more often. Counts have
long tails. The interactions of each user are split 70/15/15 into train, valid and test.

--two-layers C writes Yelp's files, the C clusters being the first layer. --like-lastfm-star DIR reads the
real LastFM at DIR and keeps its users, interactions and friends, but refines its 33 merged attributes
into 8,438 of which an item has 12.7 in the mean, as many as LastFM* has.

Equal seeds give equal bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TaskID
from scipy.special import ndtri

from unicrs_rl import draws
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers import unicorn_directory
from unicrs_rl.graphs.world import Split, World

Ints = NDArray[np.int64]
Show = Callable[[str, int, int], None]
"""Called with (what is done, steps done, steps)."""

TWINS = 0.02
"""Share of the items that have exactly the attributes of another one."""
ONE_ATTRIBUTE = 0.03
"""Share of the items with a single attribute."""
TWO_CLUSTERS = 0.4
"""Share of the items that draw from two clusters."""
HELD_OUT = 0.15
"""Share of a user's interactions in each of valid and test."""
FEWEST_INTERACTIONS = 4
"""Of a user: enough for every split."""
FRIENDS = 12
"""Mean number of friends of a user."""
STAR_ATTRIBUTES = 8438
STAR_PER_ITEM = 12.7
"""LastFM*'s number of attributes, and its mean number of them per item."""

GRAPH = "Graph_generate_data"
REVIEWS = "UI_Interaction_data"
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Sizes:
    """How large a world is, and the seed it is drawn with.

    Args:
        per_item: mean number of attributes of an item; nobody has more than half of all attributes,
            which cuts the tail, and so the mean, of small catalogues.
        interactions: mean number of items of a user, over all splits; half of all items at most.
        categories: clusters of attributes, written as a first layer; ``None``: the square root of the
            number of attributes, and no first layer.
    """

    items: int
    attributes: int
    per_item: float = 4.1
    users: int = 1800
    interactions: float = 40.0
    categories: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            InputError: naming the option at fault.
        """
        if self.users < 1:
            raise InputError(f"--users {self.users}: at least 1 is needed")
        if not FEWEST_INTERACTIONS < self.interactions <= self.items / 4:
            raise InputError(
                f"--interactions-per-user {self.interactions}: must be over {FEWEST_INTERACTIONS} "
                f"and at most a quarter of --items {self.items}"
            )
        if not 1 <= self.per_item <= self.attributes / 4:
            raise InputError(
                f"--per-item {self.per_item}: must be at least 1 "
                f"and at most a quarter of --attributes {self.attributes}"
            )
        if self.attributes > self.items * self.per_item / 2:
            raise InputError(f"--attributes {self.attributes}: too many for {self.items} items to have")
        if self.categories is not None and not 1 <= self.categories <= self.attributes:
            raise InputError(f"--two-layers {self.categories}: must be from 1 to --attributes")

    @property
    def clusters(self) -> int:
        """How many clusters of attributes there are."""
        return self.categories or max(1, round(self.attributes**0.5))

    def rng(self, part: str) -> np.random.Generator:
        """Random numbers of one part of the world, independent of the other parts."""
        return np.random.default_rng(draws.key("synthetic", part, self.seed))


@dataclass(frozen=True)
class Rows:
    """Lists of different lengths: row ``r`` is ``values[starts[r] : starts[r + 1]]``."""

    starts: Ints
    values: Ints

    @classmethod
    def of(cls, rows: Ints, values: Ints, n_rows: int) -> Rows:
        """From the row of each value, ascending."""
        starts = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=starts[1:])
        return cls(starts, values)

    @property
    def lengths(self) -> Ints:
        """Number of values in each row."""
        return np.diff(self.starts)

    @property
    def rows(self) -> Ints:
        """The row of each value."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def take(self, rows: Ints) -> Rows:
        """Some rows, in the order given; one may be taken more than once."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], lengths)
        return Rows(starts, self.values[places])

    def lists(self, start: int, stop: int) -> Iterator[list[int]]:
        """Rows ``start`` to ``stop`` as Python lists."""
        values = self.values[self.starts[start] : self.starts[stop]].tolist()
        for one, end in pairwise((self.starts[start : stop + 1] - self.starts[start]).tolist()):
            yield values[one:end]


@dataclass(frozen=True)
class Popularity:
    """Things in groups, each as likely within its group as its weight says.

    Args:
        order: thing ids, group by group.
        starts: where each group starts in ``order``, and the end: ``[groups + 1]``.
        sums: summed weights before each thing in ``order``, and the total: ``[things + 1]``.
    """

    order: Ints
    starts: Ints
    sums: NDArray[np.float64]

    @classmethod
    def of(cls, groups: Ints, weights: NDArray[np.float64], n_groups: int) -> Popularity:
        """From the group and the weight of each thing."""
        order = np.argsort(groups, kind="stable")
        starts = np.searchsorted(groups[order], np.arange(n_groups + 1))
        return cls(order, starts, np.concatenate([[0.0], np.cumsum(weights[order])]))

    @property
    def of_groups(self) -> NDArray[np.float64]:
        """Share of each group in the summed weights: ``[groups]``."""
        weights = np.diff(self.sums[self.starts])
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def draw(self, rng: np.random.Generator, groups: Ints) -> Ints:
        """A thing out of each of the groups."""
        low, high = self.sums[self.starts[groups]], self.sums[self.starts[groups + 1]]
        places = np.searchsorted(self.sums, low + rng.random(len(groups)) * (high - low), side="right") - 1
        # Rounding may put a sum on its neighbour's side of a border.
        return self.order[np.clip(places, self.starts[groups], self.starts[groups + 1] - 1)]


@dataclass(frozen=True)
class Draft:
    """A drawn world, as arrays.

    Args:
        features: attribute ids of each item.
        clusters: cluster of each attribute.
        pairs: (user, item) by split.
        friends: ``[pairs, 2]`` users, the lower id first.
        liked: attribute ids that each user is known to like.
    """

    sizes: Sizes
    features: Rows
    clusters: Ints
    pairs: Mapping[Split, Ints]
    friends: Ints
    liked: Rows

    def taxonomy(self) -> dict[str, list[int]]:
        """Attribute ids by the name of their category."""
        groups = Popularity.of(self.clusters, np.ones(len(self.clusters)), self.sizes.clusters)
        rows = Rows(groups.starts, groups.order).lists(0, self.sizes.clusters)
        return {f"category {index}": members for index, members in enumerate(rows)}


# --- drawing ---


def _zipf(rng: np.random.Generator, n: int, exponent: float, offset: float = 0.0) -> NDArray[np.float64]:
    """Weights of ``n`` things whose ranks have nothing to do with their ids."""
    ranks: NDArray[np.float64] = rng.permutation(n).astype(np.float64)
    return (1.0 + offset + ranks) ** -exponent


def _spread(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Numbers in (0, 1), one in each ``n``-th of it, in random order: means come out as asked."""
    return (rng.permutation(n) + rng.uniform(1e-9, 1.0, n)) / n


def _long_tail(rng: np.random.Generator, n: int, mean: float | NDArray[np.float64]) -> Ints:
    """Numbers from 0 with that mean, geometrically rarer the larger they are: ``[n]``."""
    more = np.maximum(mean, 1e-9)
    return np.floor(np.log(_spread(rng, n)) / np.log(more / (1.0 + more))).astype(np.int64)


def _attribute_counts(rng: np.random.Generator, n: int, mean: float, most: int) -> Ints:
    """How many attributes each of ``n`` items wants: mostly two or more."""
    single = max(ONE_ATTRIBUTE, 2.0 - mean)
    counts = 2 + _long_tail(rng, n, (mean - single) / max(1.0 - single, 1e-9) - 2.0)
    counts[_spread(rng, n) < single] = 1
    return np.minimum(counts, most)


def _owner_of_each(rng: np.random.Generator, things: Ints, groups: Ints, owners: Ints, n_groups: int) -> Ints:
    """For each thing, given by its group, one of the owners that belong to the group, or anyone."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(n_groups + 1))
    sizes = np.diff(starts)[things]
    places = starts[things] + (rng.random(len(things)) * sizes).astype(np.int64)
    anyone = rng.integers(len(order), size=len(things))
    return owners[order[np.where(sizes > 0, places, anyone)]]


def _distinct(keys: Ints) -> Ints:
    """Ascending, each once; np.unique hashes first, which takes ten times as long for such keys."""
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] > keys[:-1]])] if len(keys) else keys


def _fill(
    rng: np.random.Generator, wanted: Ints, pools: Ints, things: Popularity, given: Ints | None = None
) -> Rows:
    """Distinct things for every owner, drawn from groups that the owner belongs to.

    Who wants more than the groups easily give gets the rest from anywhere.

    Args:
        wanted: number of things of each owner, at most half of all things: ``[owners]``.
        pools: groups of each owner, repeated as often as they count: ``[owners, choices]``.
        given: what owners have already, as ``owner * number of things + thing``.
    """
    n = len(things.order)
    owned = np.zeros(0, dtype=np.int64) if given is None else _distinct(given)
    attempt = 0
    while True:
        missing = np.maximum(wanted - np.bincount(owned // n, minlength=len(wanted)), 0)
        if not missing.any():
            return Rows.of(owned // n, owned % n, len(wanted))
        owners = np.repeat(np.arange(len(wanted)), missing)
        if attempt < 8:
            chosen = pools[owners, rng.integers(pools.shape[1], size=len(owners))]
            drawn = things.draw(rng, chosen)
        else:
            drawn = rng.integers(n, size=len(owners))
        owned = _distinct(np.concatenate([owned, owners * n + drawn]))
        attempt += 1


def _draw_items(sizes: Sizes) -> tuple[Rows, Ints, Ints]:
    """Attributes of each item, the first cluster of each item, and the cluster of each attribute."""
    rng = sizes.rng("items")
    weights = _zipf(rng, sizes.clusters, 0.5)
    more = sizes.attributes - sizes.clusters  # besides one for every cluster
    rest = rng.choice(sizes.clusters, size=more, p=weights / weights.sum())
    clusters = rng.permutation(np.concatenate([np.arange(sizes.clusters), rest]))
    things = Popularity.of(clusters, _zipf(rng, sizes.attributes, 1.0), sizes.clusters)
    twin = rng.random(sizes.items) < TWINS
    twin[0] = False
    originals = np.flatnonzero(~twin)
    n = len(originals)
    first, second = (rng.choice(sizes.clusters, size=n, p=things.of_groups) for _ in range(2))
    second = np.where(rng.random(n) < TWO_CLUSTERS, second, first)
    owners = _owner_of_each(rng, clusters, first, np.arange(n), sizes.clusters)
    drawn = _fill(
        rng,
        _attribute_counts(rng, n, sizes.per_item, sizes.attributes // 2),
        np.stack([first, first, second], axis=1),
        things,
        owners * sizes.attributes + np.arange(sizes.attributes),
    )
    source = np.empty(sizes.items, dtype=np.int64)
    source[originals] = np.arange(n)
    source[twin] = rng.integers(n, size=int(twin.sum()))
    return drawn.take(source), first[source], clusters


def _draw_users(sizes: Sizes, of_items: Ints) -> tuple[Rows, Ints]:
    """Items of each user, and the cluster each user likes best."""
    rng = sizes.rng("users")
    things = Popularity.of(of_items, _zipf(rng, sizes.items, 0.9, offset=10.0), sizes.clusters)
    tastes = rng.choice(sizes.clusters, size=(sizes.users, 3), p=things.of_groups)
    spread = 0.9
    mean = np.log(sizes.interactions - FEWEST_INTERACTIONS) - spread**2 / 2
    extra = np.rint(np.exp(mean + spread * ndtri(_spread(rng, sizes.users)))).astype(np.int64)
    wanted = np.minimum(FEWEST_INTERACTIONS + extra, sizes.items // 2)
    return _fill(rng, wanted, tastes[:, [0, 0, 0, 1, 1, 2]], things), tastes[:, 0]


def _split(rng: np.random.Generator, taken: Rows) -> dict[Split, Ints]:
    """(User, item) pairs by split, users ascending, their items in random order."""
    users = taken.rows
    order = np.lexsort((rng.random(len(users)), users))
    pairs = np.stack([users, taken.values[order]], axis=1)
    place = np.arange(len(users)) - taken.starts[users]
    held = np.maximum(1, np.rint(HELD_OUT * taken.lengths)).astype(np.int64)[users]
    parts = {Split.TRAIN: place >= 2 * held, Split.VALID: (place >= held) & (place < 2 * held)}
    return {split: pairs[part] for split, part in {**parts, Split.TEST: place < held}.items()}


def _draw_friends(rng: np.random.Generator, taste: Ints) -> Ints:
    """Pairs of users, most of them with the same taste."""
    order = np.lexsort((rng.random(len(taste)), taste))
    one = rng.integers(len(taste), size=FRIENDS * len(taste) // 2)
    other = (one + 1 + _long_tail(rng, len(one), 10.0)) % len(taste)
    pairs = np.sort(np.stack([order[one], order[other]], axis=1), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _draw_liked(rng: np.random.Generator, train: Ints, features: Rows, n_users: int) -> Rows:
    """Some attributes of the training items of each user; every fifth user has none."""
    seen = Rows.of(train[:, 0], train[:, 1], n_users)
    users = np.repeat(np.arange(n_users), _long_tail(rng, n_users, 4.0))
    items = seen.values[seen.starts[users] + (rng.random(len(users)) * seen.lengths[users]).astype(np.int64)]
    places = (rng.random(len(users)) * features.lengths[items]).astype(np.int64)
    liked = np.unique(np.stack([users, features.values[features.starts[items] + places]], axis=1), axis=0)
    return Rows.of(liked[:, 0], liked[:, 1], n_users)


def draw(sizes: Sizes, show: Show = lambda *_: None) -> Draft:
    """Draw a world of that size."""
    features, of_items, clusters = _draw_items(sizes)
    show("drawing", 1, 3)
    taken, taste = _draw_users(sizes, of_items)
    show("drawing", 2, 3)
    pairs = _split(sizes.rng("splits"), taken)
    friends = _draw_friends(sizes.rng("friends"), taste)
    liked = _draw_liked(sizes.rng("liked"), pairs[Split.TRAIN], features, sizes.users)
    show("drawing", 3, 3)
    return Draft(sizes, features, clusters, pairs, friends, liked)


# --- writing ---


def _numbered(rows: Rows, before: str = "", after: str = "") -> Iterator[str]:
    """Lines of a JSON object: the rows by number, each between two pieces of JSON."""
    n, step = len(rows.starts) - 1, 10_000
    for start in range(0, n, step):
        lists = rows.lists(start, min(start + step, n))
        yield ",\n".join(f'"{start + i}": {before}{row}{after}' for i, row in enumerate(lists))


def _write_object(file: TextIO, blocks: Iterator[str], show: Callable[[int], None] = lambda _: None) -> None:
    file.write("{\n")
    for number, block in enumerate(blocks):
        file.write(",\n" if number else "")
        file.write(block)
        show(number)
    file.write("\n}\n")


def _write_items(path: Path, features: Rows, show: Show) -> None:
    n_blocks = -(-(len(features.starts) - 1) // 10_000)
    with path.open("w", encoding="utf-8") as file:
        blocks = _numbered(features, '{"feature_index": ', "}")
        _write_object(file, blocks, lambda done: show("writing items", done + 1, n_blocks))


def _write_pairs(path: Path, pairs: Ints, n_users: int) -> None:
    """Item ids by user id, as ``review_dict_*.json`` has them."""
    with path.open("w", encoding="utf-8") as file:
        _write_object(file, _numbered(Rows.of(pairs[:, 0], pairs[:, 1], n_users)))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _user_entries(friends: Ints, liked: Rows) -> dict[str, dict[str, list[int]]]:
    """``user_dict.json``: friends stand in the entries of both."""
    n_users = len(liked.starts) - 1
    both = np.concatenate([friends, friends[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    known = Rows.of(both[:, 0], both[:, 1], n_users).lists(0, n_users)
    rows = zip(known, liked.lists(0, n_users), strict=True)
    return {str(user): {"friends": one, "like": other} for user, (one, other) in enumerate(rows)}


def _folders(out: Path) -> tuple[Path, Path]:
    """The two folders of a UNICORN directory, made.

    Raises:
        InputError: if something is there already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: not an empty folder")
    for name in (GRAPH, REVIEWS):
        (out / name).mkdir(parents=True, exist_ok=True)
    return out / GRAPH, out / REVIEWS


def write(draft: Draft, out: Path, show: Show = lambda *_: None) -> None:
    """Write a UNICORN directory: LastFM*'s files, or with categories Yelp's.

    Raises:
        InputError: if ``out`` is no empty folder.
    """
    graph, reviews = _folders(out)
    sizes = draft.sizes
    if sizes.categories is None:
        _write_items(graph / "item_dict.json", draft.features, show)
        _write_json(graph / "original_tag_map.json", _original_tags(sizes.attributes))
    else:
        _write_items(graph / "item_dict-original_tag.json", draft.features, show)
        tags = {f"tag {index}": index for index in range(sizes.attributes)}
        # The release spells the name so.
        _write_json(graph / "second-layer_oringinal_tag_map.json", tags)
        names = {f"category {index}": index for index in range(sizes.categories)}
        _write_json(graph / "first-layer_merged_tag_map.json", names)
        _write_json(graph / "2-layer taxonomy.json", draft.taxonomy())
    _write_json(graph / "user_dict.json", _user_entries(draft.friends, draft.liked))
    _write_pairs(graph / "user_item_train.json", draft.pairs[Split.TRAIN], sizes.users)
    for number, (split, pairs) in enumerate(draft.pairs.items()):
        _write_pairs(reviews / f"review_dict_{split}.json", pairs, sizes.users)
        show("writing interactions", number + 1, len(draft.pairs))


def _original_tags(n: int) -> dict[str, int]:
    """LastFM*'s attributes have numbers for names, from 1."""
    return {str(index + 1): index for index in range(n)}


# --- in memory ---


def world(
    items: int,
    attributes: int,
    per_item: float = 4.1,
    users: int = 1800,
    interactions_per_user: float = 40.0,
    categories: int | None = None,
    seed: int = 0,
) -> World:
    """The world that reading the written directory would give, without writing it.

    Raises:
        InputError: if there cannot be a world of that size.
    """
    draft = draw(Sizes(items, attributes, per_item, users, interactions_per_user, categories, seed))
    taxonomy = {} if categories is None else draft.taxonomy()
    catalogue = Catalogue(
        noun="item" if categories is None else "business",
        items=tuple(f"{'item' if categories is None else 'business'} {item}" for item in range(items)),
        attributes=tuple(f"tag {index}" for index in range(attributes)),
        kinds=("tag",) * attributes,
        relations=("belongs to",),
        edges=np.stack([draft.features.rows, np.zeros_like(draft.features.values), draft.features.values], 1),
        taxonomy={name: tuple(members) for name, members in taxonomy.items()},
    )
    return unicorn_directory.assemble("synthetic", catalogue, draft.pairs, users, draft.friends, seed)


# --- like LastFM* ---


def _refine(rng: np.random.Generator, merged: Rows, n_merged: int) -> tuple[Rows, Popularity]:
    """Finer attributes of each item, and the finer attributes of each merged one by popularity.

    A merged attribute is refined into as many as fit its number of items. An item has a refinement of
    each of its merged attributes at least.
    """
    n_items = len(merged.starts) - 1
    share = np.bincount(merged.values, minlength=n_merged) / len(merged.values)
    of = rng.permutation(
        np.concatenate([np.arange(n_merged), rng.choice(n_merged, STAR_ATTRIBUTES - n_merged, p=share)])
    )
    ranks = np.empty(STAR_ATTRIBUTES)
    order = np.argsort(of, kind="stable")
    ranks[order] = np.arange(STAR_ATTRIBUTES) - np.searchsorted(of[order], of[order])
    things = Popularity.of(of, 1.0 / (1.0 + ranks), n_merged)
    refined = merged.rows * STAR_ATTRIBUTES + things.draw(rng, merged.values)
    owners = _owner_of_each(rng, of, merged.values, merged.rows, n_merged)
    covering = owners * STAR_ATTRIBUTES + np.arange(STAR_ATTRIBUTES)
    given = _distinct(np.concatenate([refined, covering]))
    has = np.bincount(given // STAR_ATTRIBUTES, minlength=n_items)
    # An item with many merged attributes is a well-known one and has many finer attributes, too.
    wish = (STAR_PER_ITEM - has.mean()) * merged.lengths / merged.lengths.mean()
    extra = _long_tail(rng, n_items, wish)
    longest = int(merged.lengths.max())
    places = merged.starts[:-1, None] + np.arange(longest) % merged.lengths[:, None]
    return _fill(rng, has + extra, merged.values[places], things, given), things


def _refined_likes(
    rng: np.random.Generator,
    users: Mapping[str, dict[str, list[int]]],
    train: Mapping[str, list[int]],
    features: Rows,
    things: Popularity,
) -> dict[str, dict[str, list[int]]]:
    """User entries whose ``like`` lists hold refinements, of their own training items where there are."""
    of = np.empty(STAR_ATTRIBUTES, dtype=np.int64)
    of[things.order] = np.repeat(np.arange(len(things.starts) - 1), np.diff(things.starts))
    entries = {}
    for user, entry in users.items():
        met = features.take(np.array(train.get(user, []), dtype=np.int64)).values
        likes = set()
        for merged in entry["like"]:
            known = met[of[met] == merged]
            likes.add(int(rng.choice(known)) if len(known) else int(things.draw(rng, np.array([merged]))[0]))
        entries[user] = {"friends": entry["friends"], "like": sorted(likes)}
    return entries


def write_like_lastfm_star(source: Path, out: Path, seed: int = 0, show: Show = lambda *_: None) -> None:
    """Write the real LastFM with finer, synthetic attributes.

    Args:
        source: the real LastFM as a UNICORN directory.
        out: an empty or new folder outside this repository, for the data may not be put into it.

    Raises:
        InputError: if ``out`` is inside the repository or not empty, or ``source`` is no such directory.
    """
    if out.resolve().is_relative_to(REPOSITORY):
        raise InputError(f"{out}: the real data may not be copied into the repository")
    catalogue = unicorn_directory.read(source, seed).catalogue
    graph, reviews = _folders(out)
    table = catalogue.item_attributes
    merged = Rows(table.indptr.astype(np.int64), table.indices.astype(np.int64))
    rng = np.random.default_rng(draws.key("synthetic", "star", seed))
    features, things = _refine(rng, merged, catalogue.n_attributes)
    _write_items(graph / "item_dict.json", features, show)
    _write_json(graph / "original_tag_map.json", _original_tags(STAR_ATTRIBUTES))
    users = json.loads((source / GRAPH / "user_dict.json").read_text(encoding="utf-8"))
    train = json.loads((source / REVIEWS / "review_dict_train.json").read_text(encoding="utf-8"))
    _write_json(graph / "user_dict.json", _refined_likes(rng, users, train, features, things))
    for split in Split:
        shutil.copyfile(source / REVIEWS / f"review_dict_{split}.json", reviews / f"review_dict_{split}.json")
    if (source / GRAPH / "user_item_train.json").is_file():
        shutil.copyfile(source / GRAPH / "user_item_train.json", graph / "user_item_train.json")


# --- the command ---


@dataclass
class Bars:
    """Progress on standard error, for work that has taken two seconds already."""

    bars: Progress = field(default_factory=lambda: Progress(console=Console(stderr=True)))
    tasks: dict[str, TaskID] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far something is."""
        if not self.tasks and time.monotonic() - self.began < 2.0:
            return
        if not self.tasks:
            self.bars.start()
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=total)
        self.bars.update(self.tasks[what], completed=done, total=total)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.tasks:
            self.bars.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="new or empty folder")
    parser.add_argument("--items", type=int, default=7432)
    parser.add_argument("--attributes", type=int, default=590)
    parser.add_argument("--per-item", type=float, default=4.1, help="mean number of attributes of an item")
    parser.add_argument("--users", type=int, default=1800)
    parser.add_argument("--interactions-per-user", type=float, default=40.0, help="mean, over all splits")
    parser.add_argument("--two-layers", type=int, metavar="C", help="C categories above the attributes")
    parser.add_argument("--like-lastfm-star", type=Path, metavar="DIR", help="the real LastFM; sizes are its")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options, bars = _options(), Bars()
    try:
        if options.like_lastfm_star:
            write_like_lastfm_star(options.like_lastfm_star, options.out, options.seed, bars)
        else:
            sizes = Sizes(
                options.items,
                options.attributes,
                options.per_item,
                options.users,
                options.interactions_per_user,
                options.two_layers,
                options.seed,
            )
            write(draw(sizes, bars), options.out, bars)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    finally:
        bars.close()


if __name__ == "__main__":
    main()
