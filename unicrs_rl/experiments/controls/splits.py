"""Who is met where: nobody whom a policy was trained on is met in evaluation, and no key tells a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from unicrs_rl import draws
from unicrs_rl.graphs.world import Session, Split, World


@dataclass(frozen=True, slots=True)
class Overlap:
    """What the splits of a world have in common.

    Attributes:
        by_interaction: the splits part the interactions of each seeker, not the seekers.
        pairs: (seeker, item) pairs in more than one split, or in what is known when a split is held.
        seekers: seekers in more than one split, or in both a split and the training graph.
        people: seekers with conversations in any split.
        keys: random numbers that conversations of training share with those of evaluation.
    """

    by_interaction: bool
    pairs: int
    seekers: int
    people: int
    keys: int

    @property
    def clean(self) -> bool:
        """Whether nothing is shared that must not be: seekers may where only interactions are parted."""
        return not self.pairs and not self.keys and (self.by_interaction or not self.seekers)


def overlap(world: World, seeds: Sequence[int] = (0, 1, 2), evaluation_seed: int = 0) -> Overlap:
    """What the splits of a world have in common.

    Args:
        seeds: training seeds whose conversations' keys are looked at.
    """
    pairs = {split: {(int(s), int(i)) for s, i in world.targets[split]} for split in Split}
    known = {split: {(int(s), int(i)) for s, i in world.known(split).tolist()} for split in Split}
    people = {split: {seeker for seeker, _ in some} for split, some in pairs.items()}
    graph = set(world.likes[:, 0].tolist())
    twice = set().union(*(pairs[a] & pairs[b] for a, b in combinations(Split, 2)))
    met = set().union(*(people[a] & people[b] for a, b in combinations(Split, 2)))
    met |= set().union(*(some & graph for some in people.values()))
    trained = {s.key for seed in seeds for s in world.sessions(Split.TRAIN, None, seed)}
    held = {s.key for s in world.sessions(Split.TEST, None, evaluation_seed)}
    return Overlap(
        by_interaction=world.by_interaction,
        pairs=len(twice) + sum(len(pairs[split] & known[split]) for split in Split),
        seekers=len(met),
        people=len(set().union(*people.values())),
        keys=len(trained & held),
    )


def telling_sessions(world: World, split: Split, count: int, seed: int = 0) -> list[int]:
    """Sessions in which something visible follows from the target: their indices.

    The targets of a split are dealt anew among its pairs. All that a policy is told has to stay as it was:
    the key, the order, the seeker, and the history but for the target itself, which is never in it.
    """
    pairs = list(world.targets[split])
    order = np.random.default_rng(draws.key("dealt anew", seed)).permutation(len(pairs))
    dealt = [(seeker, pairs[other][1]) for (seeker, _), other in zip(pairs, order.tolist(), strict=True)]
    other_world = replace(world, targets={**world.targets, split: dealt})
    there, here = other_world.sessions(split, count, seed), world.sessions(split, count, seed)
    return [a.index for a, b in zip(here, there, strict=True) if _told(a, b) != _told(b, a)]


def _told(session: Session, other: Session) -> tuple[object, ...]:
    """What a policy is told of a session; without the two targets, which histories leave out in turn."""
    history = tuple(i for i in session.history if i not in (session.target, other.target))
    return session.index, session.seeker, session.key, session.copy, session.split, history
