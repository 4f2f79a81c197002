"""The directory format of EAR, SCPR and UNICORN: LastFM, LastFM* and Yelp.

``Graph_generate_data/`` holds the graph, ``UI_Interaction_data/`` the three splits of the
interactions. The three data sets differ only in the names of the attribute files:

========= ============================== ==================================================
data set  items                          attributes
========= ============================== ==================================================
LastFM    ``item_dict.json``             ``merged_tag_map.json``
LastFM*   ``item_dict.json``             ``original_tag_map.json``
Yelp      ``item_dict-original_tag.json``  ``second-layer_oringinal_tag_map.json`` (spelt so),
                                         ``first-layer_merged_tag_map.json``, ``2-layer taxonomy.json``
========= ============================== ==================================================

The splits are the benchmark's own, by interaction: a test user also has training interactions.
A tenth of the training interactions (seeded) is held out of the graph and becomes the targets of
training conversations, so that training targets are no better known to the graph than test ones.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from pydantic import BaseModel, NonNegativeInt

from unicrs_rl import draws
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers.files import folder, read_json
from unicrs_rl.graphs.world import Seeker, Split, World

TRAINING_TARGETS = 0.1
"""Share of the training interactions that training conversations are about."""

_TAG_MAPS = ("merged_tag_map.json", "original_tag_map.json", "second-layer_oringinal_tag_map.json")
_ITEMS = ("item_dict.json", "item_dict-original_tag.json")


class _Item(BaseModel):
    feature_index: list[int]


class _User(BaseModel):
    friends: list[int] = []
    like: list[int] = []


class _Tag(BaseModel):
    real_name: list[str]


def read(data: Path | None, seed: int = 0, name: str = "lastfm") -> World:
    """Read a UNICORN directory.

    Raises:
        InputError: naming the file and the id at fault.
    """
    root = folder(data, name)
    graph, reviews = root / "Graph_generate_data", root / "UI_Interaction_data"
    tag_file, item_file = _present(graph, _TAG_MAPS), _present(graph, _ITEMS)
    tags = read_json(tag_file, dict[str, int])
    if not tags:
        raise InputError(f"{tag_file}: no attributes")
    n_attributes = max(tags.values()) + 1
    items = _read_items(item_file, n_attributes)
    catalogue = _catalogue(root, name, items, _attribute_names(root, tag_file, tags), n_attributes)
    user_file = graph / "user_dict.json"
    users = read_json(user_file, dict[NonNegativeInt, _User])
    review_files = {split: reviews / f"review_dict_{split}.json" for split in Split}
    splits = {split: _read_reviews(path, len(items)) for split, path in review_files.items()}
    n_users = 1 + max((*users, *(user for reviews in splits.values() for user in reviews)))
    _check_users(review_files[Split.TEST], splits)
    likes, targets = _hold_out(splits, seed)
    liked: dict[int, list[int]] = {}
    for user, item in likes.tolist():
        liked.setdefault(user, []).append(item)
    seekers = tuple(Seeker(str(user), tuple(liked.get(user, ()))) for user in range(n_users))
    missing = sum(1 for user in range(n_users) if user not in users)
    return World(
        name=name,
        catalogue=catalogue,
        seekers=seekers,
        likes=likes,
        targets=targets,
        friends=_friends(user_file, users, n_users),
        notes=(f"{missing} users have no entry in user_dict.json",) if missing else (),
        files=(tag_file, item_file, user_file, *review_files.values()),
    )


def is_unicorn_directory(path: Path) -> bool:
    """Whether a folder looks like this format."""
    return (path / "Graph_generate_data").is_dir() and (path / "UI_Interaction_data").is_dir()


def _present(directory: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise InputError(f"{directory}: none of {', '.join(names)} is there")


def _read_items(path: Path, n_attributes: int) -> list[list[int]]:
    """Attribute ids of each item, by item id."""
    records = read_json(path, dict[int, _Item])
    if sorted(records) != list(range(len(records))):
        raise InputError(f"{path}: item ids must be 0 to {len(records) - 1} without gaps")
    for item, record in records.items():
        if not record.feature_index:
            raise InputError(f"{path}: item {item} has no attributes")
        for attribute in record.feature_index:
            if not 0 <= attribute < n_attributes:
                raise InputError(
                    f"{path}: item {item} has attribute {attribute}; known are 0 to {n_attributes - 1}"
                )
    return [sorted(set(records[item].feature_index)) for item in range(len(records))]


def _read_reviews(path: Path, n_items: int) -> dict[int, list[int]]:
    """Item ids by user id."""
    reviews = read_json(path, dict[int, list[int]])
    if not any(reviews.values()):
        raise InputError(f"{path}: no interactions; the split is empty")
    for user, items in reviews.items():
        if user < 0:
            raise InputError(f"{path}: user {user} is negative")
        for item in items:
            if not 0 <= item < n_items:
                raise InputError(f"{path}: user {user} has item {item}; known are 0 to {n_items - 1}")
    return reviews


def _check_users(path: Path, splits: dict[Split, dict[int, list[int]]]) -> None:
    for user in splits[Split.TEST]:
        if not splits[Split.TRAIN].get(user):
            raise InputError(f"{path}: user {user} has no interaction in review_dict_train.json")


def _catalogue(
    root: Path, name: str, items: list[list[int]], attributes: tuple[str, ...], n_attributes: int
) -> Catalogue:
    """The catalogue; ids are kept as they are, and items have no names in these releases."""
    yelp = (root / "Graph_generate_data" / _ITEMS[1]).is_file()
    noun = "business" if yelp else "artist" if "last" in name.casefold() else "item"
    edges = np.array([(item, 0, a) for item, owned in enumerate(items) for a in owned], dtype=np.int64)
    return Catalogue(
        noun=noun,
        items=tuple(f"{noun} {item}" for item in range(len(items))),
        attributes=attributes,
        kinds=("tag",) * n_attributes,
        relations=("belongs to",),
        edges=edges,
        taxonomy=_taxonomy(root, n_attributes),
    )


def _attribute_names(root: Path, tag_file: Path, tags: dict[str, int]) -> tuple[str, ...]:
    """Names where the release has them, else "tag 17"; made unique by their id."""
    names = [f"tag {index}" for index in range(max(tags.values()) + 1)]
    for label, index in tags.items():
        if not label.isdigit():
            names[index] = label
    reverse = root / "ID_map_info" / "tag_reverse_map.json"
    if tag_file.name == "merged_tag_map.json" and reverse.is_file():
        for index, tag in read_json(reverse, dict[int, _Tag]).items():
            if 0 <= index < len(names) and tag.real_name:
                names[index] = tag.real_name[0]
    owners = Counter(name.casefold() for name in names)
    return tuple(
        name if owners[name.casefold()] == 1 else f"{name} ({index})" for index, name in enumerate(names)
    )


def _taxonomy(root: Path, n_attributes: int) -> dict[str, tuple[int, ...]]:
    """First-layer name -> second-layer attribute ids, where the data has two layers."""
    path = root / "Graph_generate_data" / "2-layer taxonomy.json"
    if not path.is_file():
        return {}
    layers = read_json(path, dict[str, list[int]])
    for name, attributes in layers.items():
        for attribute in attributes:
            if not 0 <= attribute < n_attributes:
                raise InputError(f"{path}: {name!r} holds attribute {attribute}, which is unknown")
    return {name: tuple(attributes) for name, attributes in layers.items()}


def _hold_out(
    splits: dict[Split, dict[int, list[int]]], seed: int
) -> tuple[np.ndarray, dict[Split, list[tuple[int, int]]]]:
    """Training-graph likes, and the (user, target) pairs of each split."""
    pairs = {
        split: [(user, item) for user in sorted(reviews) for item in dict.fromkeys(reviews[user])]
        for split, reviews in splits.items()
    }
    train = pairs[Split.TRAIN]
    rng = np.random.default_rng(draws.key("training targets", seed))
    held = np.zeros(len(train), dtype=bool)
    held[rng.choice(len(train), size=max(1, round(TRAINING_TARGETS * len(train))), replace=False)] = True
    likes = [pair for pair, out in zip(train, held, strict=True) if not out]
    pairs[Split.TRAIN] = [pair for pair, out in zip(train, held, strict=True) if out]
    return np.array(likes, dtype=np.int64).reshape(-1, 2), pairs


def _friends(path: Path, users: dict[int, _User], n_users: int) -> np.ndarray:
    pairs = {(min(user, friend), max(user, friend)) for user, u in users.items() for friend in u.friends}
    for pair in pairs:
        if not 0 <= pair[0] <= pair[1] < n_users:
            raise InputError(f"{path}: user {pair[0]} has the friend {pair[1]}, who is unknown")
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
