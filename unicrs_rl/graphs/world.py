"""A world: a catalogue, the seekers who live in it, and who may ask for what in which split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from unicrs_rl import draws
from unicrs_rl.dialogue import Dialogue
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue


class Split(StrEnum):
    """Which conversations a (seeker, target) pair may be used for."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Seeker:
    """A person with known tastes: item ids liked, disliked and seen."""

    id: str
    liked: tuple[int, ...]
    disliked: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation to be held: the (seeker, target, random seed) triple.

    ``target`` is hidden from every policy; ``history`` is what the platform knows already;
    ``key`` addresses the conversation's random numbers and is independent of the target.
    """

    index: int
    seeker: str
    target: int
    history: tuple[int, ...]
    key: int
    split: Split = Split.TEST
    copy: int = 0
    """Tells conversations apart that are held more than once with the same random numbers."""


@dataclass(frozen=True)
class World:
    """Catalogue + training graph + population.

    Args:
        name: how users call it.
        catalogue: items, attributes and facts.
        seekers: everybody.
        likes: ``[likes, 2]`` (seeker index, item id) edges of the *training graph*; nothing that is
            asked for in any split is among them, so embeddings and priors cannot memorise targets.
        targets: per split, the ``(seeker index, item id)`` pairs that conversations may be about.
        by_interaction: the splits part the interactions of each seeker, one after the other, instead of
            the seekers; what earlier splits hold is then known in later ones.
        dialogues: human conversations that came with the data.
        friends: ``[pairs, 2]`` seeker indices that know each other.
        notes: what the reader left out or repaired, for people.
        files: the files read, for provenance.
    """

    name: str
    catalogue: Catalogue
    seekers: tuple[Seeker, ...]
    likes: np.ndarray
    targets: Mapping[Split, Sequence[tuple[int, int]]]
    by_interaction: bool = False
    dialogues: tuple[Dialogue, ...] = ()
    friends: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @cached_property
    def interactions(self) -> sparse.csr_array:
        """The training graph's likes: ``[seekers, items]`` of 0/1."""
        shape = (len(self.seekers), self.catalogue.n_items)
        ones = np.ones(len(self.likes))
        table = sparse.csr_array((ones, (self.likes[:, 0], self.likes[:, 1])), shape=shape)
        table.sum_duplicates()
        table.data[:] = 1.0
        return table

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Seeker id -> index."""
        return {seeker.id: index for index, seeker in enumerate(self.seekers)}

    def known(self, split: Split) -> np.ndarray:
        """What the platform knows when conversations of a split are held: ``[n, 2]`` (seeker, item).

        The training graph; where splits are by interaction also the targets of earlier splits, because
        those conversations are over by then. Nothing of the split itself, and nothing of later ones.
        """
        earlier = list(Split)[: list(Split).index(split)] if self.by_interaction else []
        past = [np.array(self.targets[one], dtype=np.int64).reshape(-1, 2) for one in earlier]
        return np.concatenate([self.likes, *past])

    @cached_property
    def _histories(self) -> Mapping[Split, Mapping[int, tuple[int, ...]]]:
        """Where splits are by interaction: the known items of each seeker in each split."""
        found: dict[Split, dict[int, list[int]]] = {}
        for split in Split:
            mine: dict[int, list[int]] = found.setdefault(split, {})
            for seeker, item in self.known(split).tolist():
                mine.setdefault(seeker, []).append(item)
        return {s: {who: tuple(items) for who, items in mine.items()} for s, mine in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the catalogue and the training graph: what checkpoints must agree on."""
        digest = hashlib.sha256(self.catalogue.fingerprint.encode())
        digest.update(np.ascontiguousarray(self.likes).tobytes())
        return digest.hexdigest()[:16]

    def sessions(self, split: Split, count: int | None, seed: int) -> list[Session]:
        """Conversations to hold: ``count`` of them in seeded order, or each pair once if ``None``.

        Where fewer pairs than ``count`` exist they are gone through again with new random numbers,
        so that every (seeker, target, random seed) triple is new.

        Raises:
            InputError: if ``count`` is below one or the split is empty.
        """
        pairs = self.targets[split]
        if not pairs:
            raise InputError(f"world {self.name!r} has no {split} conversations: the split is empty")
        if count is not None and count < 1:
            raise InputError(f"{count} dialogues asked for; at least 1 is needed")
        rng = np.random.default_rng(draws.key("sessions", str(split), seed))
        order: list[int] = []
        while len(order) < (len(pairs) if count is None else count):
            order.extend(int(i) for i in rng.permutation(len(pairs)))
        return [
            self._session(index, split, *pairs[pair], draws.key("session", str(split), seed, index))
            for index, pair in enumerate(order[:count])
        ]

    def _session(self, index: int, split: Split, seeker: int, target: int, key: int) -> Session:
        person = self.seekers[seeker]
        liked = self._histories[split].get(seeker, ()) if self.by_interaction else person.liked
        history = tuple(item for item in liked if item != target)
        return Session(index, person.id, target, history, key, split)


def split_by_seeker(
    name: str, seekers: Sequence[Seeker], seed: int = 0
) -> tuple[np.ndarray, dict[Split, list[tuple[int, int]]]]:
    """Assign seekers to the training graph (50%), train (20%), valid (10%) and test (20%).

    Likes of graph seekers become edges of the training graph; every other seeker's likes may be
    targets of conversations in that seeker's split, with the seeker's other likes as history.
    Keeping the graph's seekers apart from the training conversations means that a policy meets
    targets in training exactly as well known to the graph as those it will meet in the test.

    Raises:
        InputError: if fewer than four seekers have two likes or more.
    """
    able = [index for index, seeker in enumerate(seekers) if len(seeker.liked) >= 2]
    if len(able) < 4:
        raise InputError(
            f"world {name!r}: {len(able)} seekers with two or more likes; at least 4 are needed "
            "to fill the graph, train, valid and test splits"
        )
    order = np.random.default_rng(draws.key("split", seed)).permutation(len(able))
    n_test = max(1, round(0.2 * len(able)))
    n_valid = max(1, round(0.1 * len(able)))
    n_train = max(1, round(0.2 * len(able)))
    cuts = np.cumsum([n_test, n_valid, n_train])
    test, valid, train, graph = (sorted(part) for part in np.split(order, cuts))
    likes = [(able[i], item) for i in graph for item in seekers[able[i]].liked]
    parts = {Split.TRAIN: train, Split.VALID: valid, Split.TEST: test}
    targets = {
        split: [(able[i], item) for i in part for item in seekers[able[i]].liked]
        for split, part in parts.items()
    }
    return np.array(likes, dtype=np.int64).reshape(-1, 2), targets
