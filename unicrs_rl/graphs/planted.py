"""Planted worlds: problems so small that the best possible policy is known exactly.

A problem is a catalogue of a dozen items, how often each is wanted, and how few turns there are. The
seeker answers every question truthfully and takes the item it wants when that is on the list; in some
problems half of the seekers, the *reserved* ones, take it only when it is recommended with certain
strategies. What can be reached under joint and under decomposed control is computed by dynamic programming
(:mod:`unicrs_rl.experiments.planted`), so that a study can be held against the truth.

Each split holds every hypothesis (item, reserved or not) exactly as often as it weighs: the rate of success
over all pairs of a split is the expected value, without sampling error, of a policy that always does the
same in the same belief.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import STRATEGIES, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.world import Seeker, Split, World

COMMON = "fiction"
"""The attribute that all items have. Every seeker opens with it, so that the opening says nothing."""


@dataclass(frozen=True, eq=False)  # a problem is itself, so that what is computed of it can be kept
class Problem:
    """A partially observed decision problem: find the item that a seeker wants before the turns run out.

    Attributes:
        name: of its world.
        about: what is known of it beforehand, in a sentence.
        items: titles, by item id.
        tags: name -> the items that have it. A question asks for one of them.
        weights: how often each item is wanted: the prior in whole numbers, ``[items]``.
        limit: T, turns of the recommender.
        reserved: whether half of the seekers are reserved.
        convincing: the strategies with which reserved seekers take what they want.
    """

    name: str
    about: str
    items: tuple[str, ...]
    tags: Mapping[str, tuple[int, ...]]
    weights: tuple[int, ...]
    limit: int
    reserved: bool = False
    convincing: frozenset[Strategy] = frozenset(STRATEGIES)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Its items with their tags and the common attribute."""
        tags = {**self.tags, COMMON: tuple(range(len(self.items)))}
        facts = [(item, "tag", "tag", name) for name, owners in tags.items() for item in owners]
        return Catalogue.build("novel", self.items, facts)

    @property
    def kinds(self) -> tuple[bool, ...]:
        """The kinds of seekers, equally many of each: whether they are reserved."""
        return (False, True) if self.reserved else (False,)

    def accepts(self, reserved: bool, strategy: Strategy) -> bool:
        """Whether a seeker takes the item that it wants when it is recommended with this strategy."""
        return not reserved or strategy in self.convincing


@dataclass(frozen=True)
class PlantedWorld(World):
    """The world of a problem.

    Args:
        problem: it.
        reserved: which seekers are reserved, ``[seekers]`` of bool. Hidden from every policy.
    """

    problem: Problem = field(kw_only=True)
    reserved: NDArray[np.bool_] = field(kw_only=True)


def plant(problem: Problem) -> PlantedWorld:
    """The world of a problem. Nothing in it is random.

    Likes of the training graph make an item as popular as it weighs: with ``n`` likes the popularity prior
    is in proportion to ``n + 1``, here twice the weight.
    """
    most = 2 * max(problem.weights) - 1
    seekers = [
        Seeker(f"reader-{i}", tuple(item for item, w in enumerate(problem.weights) if 2 * w - 1 > i))
        for i in range(most)
    ]
    likes = [(index, item) for index, seeker in enumerate(seekers) for item in seeker.liked]
    reserved = [False] * most
    targets: dict[Split, list[tuple[int, int]]] = {}
    for split in Split:
        pairs = targets.setdefault(split, [])
        for item, weight in enumerate(problem.weights):
            for kind in problem.kinds * weight:
                pairs.append((len(seekers), item))
                seekers.append(Seeker(f"{split}-{len(pairs)}", (item,)))
                reserved.append(kind)
    return PlantedWorld(
        name=problem.name,
        catalogue=problem.catalogue,
        seekers=tuple(seekers),
        likes=np.array(likes, dtype=np.int64),
        targets=targets,
        notes=(problem.about,),
        problem=problem,
        reserved=np.array(reserved),
    )


_WANTED = ("The Tin Lantern", "Harbour of Glass", "Nine Winters", "A Letter to Osric")
_SELDOM = (
    "The Velvet Compass",
    "Saltmarsh",
    "Daughters of the Quarry",
    "Under Copper Eaves",
    "The Orchard Tax",
    "Moth and Meridian",
    "Seven Ferrymen",
    "The Cartographer's Debt",
)

_COUPLED = Problem(
    name="planted-coupled",
    about="Four novels are wanted thrice as often as each of eight others. The most informative question "
    "tells the four from the eight, but in three turns it pays to ask what halves the four.",
    items=(*_WANTED, *_SELDOM),
    tags={
        "bestselling": (0, 1, 2, 3),
        "seafaring": (0, 1),
        "alpine": (0, 2),
    },
    weights=(3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1),
    limit=3,
)
_SEPARABLE = Problem(
    name="planted-separable",
    about="Four novels are wanted twice as often as each of four others. The most informative questions are "
    "those that halve both, and they are the best ones, too.",
    items=(*_WANTED, *_SELDOM[:4]),
    tags={"bestselling": (0, 1, 2, 3), "seafaring": (0, 1, 4, 5), "alpine": (0, 2, 4, 6)},
    weights=(2, 2, 2, 2, 1, 1, 1, 1),
    limit=3,
)
_FORWARD = {
    Strategy.PERSONAL_OPINION,
    Strategy.PERSONAL_EXPERIENCE,
    Strategy.SIMILARITY,
    Strategy.ENCOURAGEMENT,
}
"""What reserved seekers take amiss: the warmest strategies, which every rule uses."""


def _with_reserved(name: str, about: str, convincing: frozenset[Strategy]) -> Problem:
    """The separable problem with all novels equally often wanted, and with reserved seekers."""
    return Problem(
        name=name,
        about=about,
        items=_SEPARABLE.items,
        tags=_SEPARABLE.tags,
        weights=(1,) * 8,
        limit=_SEPARABLE.limit,
        reserved=True,
        convincing=convincing,
    )


PROBLEMS: Mapping[str, Problem] = {
    problem.name: problem
    for problem in (
        _COUPLED,
        _SEPARABLE,
        _with_reserved(
            "planted-strategic",
            "Eight novels are equally often wanted, and three tags halve whatever is left. Half of the "
            "seekers do not take the novel they want from one who speaks of himself or cheers them on.",
            frozenset(STRATEGIES) - _FORWARD,
        ),
        _with_reserved(
            "planted-indifferent",
            "As strategic, but every strategy is as good as any other.",
            frozenset(STRATEGIES),
        ),
    )
}
"""The problems that come with the package, by the name of their world."""


def reader(problem: Problem) -> Callable[[Path | None, int], PlantedWorld]:
    """The maker of a problem's world, for the registry of worlds."""

    def read(data: Path | None, seed: int) -> PlantedWorld:  # noqa: ARG001  nothing in it is random
        if data is not None:
            raise InputError(f"world {problem.name!r} is embedded and takes no --data")
        return plant(problem)

    return read
