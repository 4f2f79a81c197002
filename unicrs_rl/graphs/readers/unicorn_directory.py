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

The splits are the benchmark's own, by interaction: a valid or test user also has training interactions
(one who has none is an error). An interaction that stands in two splits counts for the last of train,
valid and test only, so that nothing held out is trained on; one that a user's list repeats counts once.
A tenth of the training interactions (seeded) is held out of the graph and becomes the targets of
training conversations, so that training targets are no better known to the graph than test ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Annotated, NotRequired, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeInt, Strict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from unicrs_rl import draws
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers.files import first_problem, folder, read_bytes, read_json
from unicrs_rl.graphs.world import Seeker, Split, World

TRAINING_TARGETS = 0.1
"""Share of the training interactions that training conversations are about."""

_SECOND_LAYER = ("second-layer_oringinal_tag_map.json", "second-layer_original_tag_map.json")
_TAG_MAPS = ("merged_tag_map.json", "original_tag_map.json")
_FIRST_LAYER = "first-layer_merged_tag_map.json"
_TAXONOMY = "2-layer taxonomy.json"
_ITEMS = ("item_dict.json", "item_dict-original_tag.json")

T = TypeVar("T")
_Ids = list[Annotated[int, Strict()]]
_Reviews = dict[NonNegativeInt, _Ids]
"""Item ids by user id."""
_Pairs = Mapping[Split, NDArray[np.int64]]
"""``[pairs, 2]`` of (user, item) by split, users ascending."""


# Not models: a catalogue may have a million items, and an object for each would take seconds.
class _Item(TypedDict):
    feature_index: _Ids


class _User(TypedDict):
    friends: NotRequired[_Ids]


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
    tags = _read_tags(tag_file)
    n_attributes = max(tags.values()) + 1
    items = _read_items(item_file, n_attributes)
    noun = "business" if two_layers else "artist" if "last" in name.casefold() else "item"
    names = _attribute_names(root, tag_file, tags)
    catalogue = _catalogue(noun, items, names, _taxonomy(graph, tags, n_attributes))
    user_file = graph / "user_dict.json"
    users = _read_by_id(user_file, dict[NonNegativeInt, _User], "user")
    review_files = {split: reviews / f"review_dict_{split}.json" for split in Split}
    splits = {split: _read_reviews(path, len(items)) for split, path in review_files.items()}
    n_users = _count_users({user_file: users, **{review_files[s]: splits[s] for s in Split}})
    pairs, notes = _disjoint(splits, review_files, len(items))
    missing = n_users - len(users)
    if missing:
        notes.insert(0, f"{missing} users have no entry in user_dict.json")
    layers = [graph / name for name in (_TAXONOMY, _FIRST_LAYER) if (graph / name).is_file()]
    files = (tag_file, item_file, user_file, *layers, *review_files.values())
    return assemble(name, catalogue, pairs, n_users, _friends(user_file, users, n_users), seed, notes, files)


def assemble(
    name: str,
    catalogue: Catalogue,
    pairs: _Pairs,
    n_users: int,
    friends: NDArray[np.int64],
    seed: int,
    notes: Sequence[str] = (),
    files: Sequence[Path] = (),
) -> World:
    """The world of a catalogue and the benchmark's splits.

    Args:
        pairs: ``[pairs, 2]`` of (user, item) by split, users ascending; no pair in two splits.
        friends: ``[pairs, 2]`` users.
    """
    likes, targets = _hold_out(pairs, seed)
    starts = np.searchsorted(likes[:, 0], np.arange(n_users + 1)).tolist()
    liked = likes[:, 1].tolist()
    return World(
        name=name,
        catalogue=catalogue,
        seekers=tuple(
            Seeker(str(user), tuple(liked[start:stop])) for user, (start, stop) in enumerate(pairwise(starts))
        ),
        likes=likes,
        targets=targets,
        by_interaction=True,
        friends=friends,
        notes=tuple(notes),
        files=tuple(files),
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


def _read_by_id(path: Path, kind: type[T], noun: str) -> T:
    """Parse and validate a JSON object of things by id; complaints say whose entry is at fault."""
    try:
        return TypeAdapter(kind).validate_json(read_bytes(path))
    except ValidationError as error:
        where = [str(part) for part in error.errors()[0]["loc"]]
        problem = first_problem(error)
        if where:
            place = f"{noun} {', '.join(part for part in where if part != '[key]')}"
            problem = f"{place}: {problem.removeprefix('.'.join(where) + ': ')}"
        raise InputError(f"{path}: {problem}") from None


def _read_tags(path: Path) -> dict[str, int]:
    """Attribute id by name or number of the tag."""
    tags = read_json(path, dict[str, int])
    if not tags:
        raise InputError(f"{path}: no attributes")
    for tag, index in tags.items():
        if not 0 <= index < _sparsest(len(tags)):
            raise InputError(
                f"{path}: tag {tag!r} has the id {index}; the ids of {len(tags)} tags count from 0"
            )
    return tags


def _sparsest(n: int) -> int:
    """Ids below this are believed for ``n`` things; tables are as long as the greatest id."""
    return 10 * n + 1000


def _read_items(path: Path, n_attributes: int) -> list[_Ids]:
    """Attribute ids of each item, by item id."""
    records = _read_by_id(path, dict[int, _Item], "item")
    if not records:
        raise InputError(f"{path}: no items")
    if sorted(records) != list(range(len(records))):
        raise InputError(f"{path}: item ids must be 0 to {len(records) - 1} without gaps")
    for item, record in records.items():
        if not record["feature_index"]:
            raise InputError(f"{path}: item {item} has no attributes")
        for attribute in _outside(record["feature_index"], n_attributes):
            raise InputError(
                f"{path}: item {item} has attribute {attribute}; known are 0 to {n_attributes - 1}"
            )
    return [records[item]["feature_index"] for item in range(len(records))]


def _outside(ids: _Ids, end: int) -> Iterable[int]:
    """The ids that are not from 0 to ``end - 1``."""
    if not ids or (min(ids) >= 0 and max(ids) < end):
        return ()
    return (one for one in ids if not 0 <= one < end)


def _read_reviews(path: Path, n_items: int) -> _Reviews:
    reviews = _read_by_id(path, _Reviews, "user")
    if not any(reviews.values()):
        raise InputError(f"{path}: no interactions; the split is empty")
    for user, items in reviews.items():
        for item in _outside(items, n_items):
            raise InputError(f"{path}: user {user} has item {item}; known are 0 to {n_items - 1}")
    return reviews


def _count_users(files: Mapping[Path, Mapping[int, object]]) -> int:
    """How many users there are, given the entries by user id of each file."""
    users = set().union(*files.values())
    last, end = max(users), _sparsest(len(users))
    if last >= end:
        path = next(path for path, entries in files.items() if last in entries)
        raise InputError(f"{path}: user {last} is out of range; the ids of {len(users)} users count from 0")
    return last + 1


def _disjoint(
    splits: Mapping[Split, _Reviews], files: Mapping[Split, Path], n_items: int
) -> tuple[dict[Split, NDArray[np.int64]], list[str]]:
    """The pairs of each split without what a later split holds, and notes on what was left out.

    Raises:
        InputError: if that leaves a split empty, or a user who is asked about unknown to the graph.
    """
    active = {split: [user for user, items in reviews.items() if items] for split, reviews in splits.items()}
    _check_trained(files, active)
    pairs, notes = {}, []
    for split, path in files.items():
        pairs[split], repeated = _listed(splits[split], n_items)
        if repeated:
            notes.append(f"{repeated} interactions that {path.name} repeats within a user's list count once")
    later = np.zeros(0, dtype=np.int64)
    for split in (Split.TEST, Split.VALID, Split.TRAIN):
        keys = pairs[split] @ np.array([n_items, 1])
        kept = ~np.isin(keys, later, assume_unique=True)
        if not kept.all():
            notes.append(f"{np.sum(~kept)} {split} interactions that a later split holds, too, left out")
        pairs[split] = pairs[split][kept]
        later = np.concatenate([later, keys[kept]])
    for split, path in files.items():
        if not len(pairs[split]):
            raise InputError(f"{path}: no usable interactions; {'; '.join(notes)}")
    _check_trained(
        files, {split: pairs[split][:, 0].tolist() for split in Split}, " that no later split holds"
    )
    return pairs, notes


def _check_trained(
    files: Mapping[Split, Path], users: Mapping[Split, Iterable[int]], which: str = ""
) -> None:
    """Refuse users of valid and test who have no training interactions: nothing is known about them."""
    trained = set(users[Split.TRAIN])
    for split in (Split.VALID, Split.TEST):
        strangers = set(users[split]) - trained
        if strangers:
            more = f"; nor have {len(strangers) - 1} more" if len(strangers) > 1 else ""
            raise InputError(
                f"{files[split]}: user {min(strangers)} has no interactions in "
                f"{files[Split.TRAIN].name}{which}{more}"
            )


def _listed(reviews: _Reviews, n_items: int) -> tuple[NDArray[np.int64], int]:
    """The pairs of a split, users ascending and their items as listed, and how many were repeated."""
    users = sorted(reviews)
    rows, values = _flat([reviews[user] for user in users])
    pairs = np.stack([np.array(users, dtype=np.int64)[rows], values], axis=1)
    _, first = np.unique(pairs @ np.array([n_items, 1]), return_index=True)
    return pairs[np.sort(first)], len(pairs) - len(first)


def _flat(lists: Sequence[_Ids]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the list and value of each entry of the lists."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    values = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))
    return np.repeat(np.arange(len(lists)), lengths), values


def _distinct_pairs(one: NDArray[np.int64], other: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Rows of (one, other), where ``0 <= other < end``: sorted, each once."""
    keys = np.sort(one * end + other)  # sorting first: NumPy's hashing is slow on such keys
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return np.stack([keys // end, keys % end], axis=1)


def _catalogue(
    noun: str, items: list[_Ids], attributes: tuple[str, ...], taxonomy: dict[str, tuple[int, ...]]
) -> Catalogue:
    """The catalogue; ids are kept as they are, and items have no names in these releases."""
    pairs = _distinct_pairs(*_flat(items), len(attributes))
    return Catalogue(
        noun=noun,
        items=tuple(f"{noun} {item}" for item in range(len(items))),
        attributes=attributes,
        kinds=("tag",) * len(attributes),
        relations=("belongs to",),
        edges=np.insert(pairs, 1, 0, axis=1),
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


def _hold_out(pairs: _Pairs, seed: int) -> tuple[NDArray[np.int64], dict[Split, list[tuple[int, int]]]]:
    """Training-graph likes, and the (user, target) pairs of each split."""
    train = pairs[Split.TRAIN]
    rng = np.random.default_rng(draws.key("training targets", seed))
    held = np.zeros(len(train), dtype=bool)
    held[rng.choice(len(train), size=max(1, round(TRAINING_TARGETS * len(train))), replace=False)] = True
    targets = {**pairs, Split.TRAIN: train[held]}
    return train[~held], {
        split: list(zip(rows[:, 0].tolist(), rows[:, 1].tolist(), strict=True))
        for split, rows in targets.items()
    }


def _friends(path: Path, users: dict[int, _User], n_users: int) -> NDArray[np.int64]:
    """Pairs of users who are friends, the lower id first."""
    known = [user.get("friends", []) for user in users.values()]
    for user, friends in zip(users, known, strict=True):
        for friend in _outside(friends, n_users):
            raise InputError(f"{path}: user {user} has the friend {friend}, who is unknown")
    rows, others = _flat(known)
    ones = np.fromiter(users, dtype=np.int64, count=len(users))[rows]
    return _distinct_pairs(np.minimum(ones, others), np.maximum(ones, others), n_users)
