"""The directory format of EAR, SCPR and UNICORN: LastFM, LastFM* and Yelp.

``Graph_generate_data/`` holds the graph, ``UI_Interaction_data/`` the three splits of the
interactions. The data sets differ in the names of the attribute files, and Yelp has two layers:

========= ============================== ==================================================
data set  items                          attributes
========= ============================== ==================================================
LastFM    ``item_dict.json``             ``merged_tag_map.json``
LastFM*   ``item_dict.json``             ``original_tag_map.json``
Yelp      ``item_dict-original_tag.json``  ``second-layer_oringinal_tag_map.json`` (spelt so),
                                         ``first-layer_merged_tag_map.json``, ``2-layer taxonomy.json``
========= ============================== ==================================================

Questions are about second-layer attributes; ``2-layer taxonomy.json`` puts them into categories, by
id or by name. Where it stands, the second-layer tag map is taken even if a merged one is there, too.

The splits are the benchmark's own, by interaction: a test user also has training interactions (one
who has none is left out). An interaction that stands in two splits counts for the last of train,
valid and test only, so that nothing held out is trained on. A tenth of the training interactions
(seeded) is held out of the graph and becomes the targets of training conversations, so that training
targets are no better known to the graph than test ones.
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

_SECOND_LAYER = ("second-layer_oringinal_tag_map.json", "second-layer_original_tag_map.json")
_TAG_MAPS = ("merged_tag_map.json", "original_tag_map.json")
_FIRST_LAYER = "first-layer_merged_tag_map.json"
_TAXONOMY = "2-layer taxonomy.json"
_ITEMS = ("item_dict.json", "item_dict-original_tag.json")

_Pairs = dict[Split, list[tuple[int, int]]]
"""(User, item) pairs by split."""


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
    tag_file = _tag_file(graph)
    two_layers = _has_two_layers(graph, tag_file)
    item_file = _present(graph, _ITEMS[::-1] if tag_file.name in _SECOND_LAYER else _ITEMS)
    tags = read_json(tag_file, dict[str, int])
    if not tags:
        raise InputError(f"{tag_file}: no attributes")
    n_attributes = max(tags.values()) + 1
    items = _read_items(item_file, n_attributes)
    noun = "business" if two_layers else "artist" if "last" in name.casefold() else "item"
    names = _attribute_names(root, tag_file, tags)
    catalogue = _catalogue(noun, items, names, _taxonomy(graph, tags, n_attributes))
    user_file = graph / "user_dict.json"
    users = read_json(user_file, dict[NonNegativeInt, _User])
    review_files = {split: reviews / f"review_dict_{split}.json" for split in Split}
    splits = {split: _read_reviews(path, len(items)) for split, path in review_files.items()}
    n_users = 1 + max((*users, *(user for reviews in splits.values() for user in reviews)))
    pairs, notes = _disjoint(splits, review_files)
    likes, targets = _hold_out(pairs, seed)
    liked: dict[int, list[int]] = {}
    for user, item in likes.tolist():
        liked.setdefault(user, []).append(item)
    seekers = tuple(Seeker(str(user), tuple(liked.get(user, ()))) for user in range(n_users))
    missing = sum(1 for user in range(n_users) if user not in users)
    if missing:
        notes.insert(0, f"{missing} users have no entry in user_dict.json")
    layers = [graph / name for name in (_TAXONOMY, _FIRST_LAYER) if (graph / name).is_file()]
    return World(
        name=name,
        catalogue=catalogue,
        seekers=seekers,
        likes=likes,
        targets=targets,
        friends=_friends(user_file, users, n_users),
        notes=tuple(notes),
        files=(tag_file, item_file, user_file, *layers, *review_files.values()),
    )


def is_unicorn_directory(path: Path) -> bool:
    """Whether a folder looks like this format."""
    return (path / "Graph_generate_data").is_dir() and (path / "UI_Interaction_data").is_dir()


def _tag_file(graph: Path) -> Path:
    """The attributes that questions are about: the second layer, where there is a taxonomy."""
    taxonomy = (graph / _TAXONOMY).is_file()
    return _present(graph, (*_SECOND_LAYER, *_TAG_MAPS) if taxonomy else (*_TAG_MAPS, *_SECOND_LAYER))


def _has_two_layers(graph: Path, tag_file: Path) -> bool:
    return tag_file.name in _SECOND_LAYER or (graph / _TAXONOMY).is_file()


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


def _disjoint(
    splits: dict[Split, dict[int, list[int]]], files: dict[Split, Path]
) -> tuple[_Pairs, list[str]]:
    """The pairs of each split without what a later split holds, and notes on what was left out.

    Raises:
        InputError: if that leaves a split empty.
    """
    pairs = {
        split: [(user, item) for user in sorted(reviews) for item in dict.fromkeys(reviews[user])]
        for split, reviews in splits.items()
    }
    notes = []
    later: set[tuple[int, int]] = set()
    for split in (Split.TEST, Split.VALID, Split.TRAIN):
        kept = [pair for pair in pairs[split] if pair not in later]
        if len(kept) < len(pairs[split]):
            repeated = len(pairs[split]) - len(kept)
            notes.append(f"{repeated} {split} interactions that a later split holds, too, left out")
        pairs[split] = kept
        later.update(kept)
    known = {user for user, _ in pairs[Split.TRAIN]}
    strangers = {user for user, _ in pairs[Split.TEST]} - known
    if strangers:
        pairs[Split.TEST] = [pair for pair in pairs[Split.TEST] if pair[0] in known]
        notes.append(f"{len(strangers)} test users without training interactions left out")
    for split, path in files.items():
        if not pairs[split]:
            raise InputError(f"{path}: no usable interactions; {'; '.join(notes)}")
    return pairs, notes


def _catalogue(
    noun: str, items: list[list[int]], attributes: tuple[str, ...], taxonomy: dict[str, tuple[int, ...]]
) -> Catalogue:
    """The catalogue; ids are kept as they are, and items have no names in these releases."""
    edges = np.array([(item, 0, a) for item, owned in enumerate(items) for a in owned], dtype=np.int64)
    return Catalogue(
        noun=noun,
        items=tuple(f"{noun} {item}" for item in range(len(items))),
        attributes=attributes,
        kinds=("tag",) * len(attributes),
        relations=("belongs to",),
        edges=edges,
        taxonomy=taxonomy,
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


def _taxonomy(graph: Path, tags: dict[str, int], n_attributes: int) -> dict[str, tuple[int, ...]]:
    """First-layer name -> second-layer attribute ids, where the data has two layers."""
    path = graph / _TAXONOMY
    if not path.is_file():
        return {}
    first = graph / _FIRST_LAYER
    labels = (
        {str(index): name for name, index in read_json(first, dict[str, int]).items()}
        if first.is_file()
        else {}
    )
    ids = {" ".join(name.split()).casefold(): index for name, index in tags.items()}
    taxonomy: dict[str, tuple[int, ...]] = {}
    for layer, members in read_json(path, dict[str, list[int | str]]).items():
        found = [_attribute_id(member, ids) for member in members]
        for member, attribute in zip(members, found, strict=True):
            if not 0 <= attribute < n_attributes:
                raise InputError(f"{path}: {layer!r} holds attribute {member!r}, which is unknown")
        name = labels.get(layer, layer)
        taxonomy[name] = tuple(dict.fromkeys((*taxonomy.get(name, ()), *found)))
    return taxonomy


def _attribute_id(member: int | str, ids: dict[str, int]) -> int:
    """The id of an attribute given by id or name; -1 if it is unknown."""
    if isinstance(member, int):
        return member
    index = ids.get(" ".join(member.split()).casefold(), -1)
    return int(member) if index < 0 and member.isdecimal() else index


def _hold_out(pairs: _Pairs, seed: int) -> tuple[np.ndarray, _Pairs]:
    """Training-graph likes, and the (user, target) pairs of each split."""
    train = pairs[Split.TRAIN]
    rng = np.random.default_rng(draws.key("training targets", seed))
    held = np.zeros(len(train), dtype=bool)
    held[rng.choice(len(train), size=max(1, round(TRAINING_TARGETS * len(train))), replace=False)] = True
    likes = [pair for pair, out in zip(train, held, strict=True) if not out]
    targets = {**pairs, Split.TRAIN: [pair for pair, out in zip(train, held, strict=True) if out]}
    return np.array(likes, dtype=np.int64).reshape(-1, 2), targets


def _friends(path: Path, users: dict[int, _User], n_users: int) -> np.ndarray:
    pairs = {(min(user, friend), max(user, friend)) for user, u in users.items() for friend in u.friends}
    for pair in pairs:
        if not 0 <= pair[0] <= pair[1] < n_users:
            raise InputError(f"{path}: user {pair[0]} has the friend {pair[1]}, who is unknown")
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
