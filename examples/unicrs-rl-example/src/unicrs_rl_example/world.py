"""The world ``example-world``: teas, and people who like some of them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from unicrs_rl import draws
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.world import Seeker, World, split_by_seeker

LEAVES = ("green", "black", "oolong", "white")
AROMAS = ("jasmine", "bergamot", "smoke", "rose", "ginger", "mint")
MOMENTS = ("mornings", "afternoons", "evenings")
SEEKERS = 120
LIKED = 6


def teas(data: Path | None, seed: int) -> World:
    """Seventy-two teas: every leaf with every aroma for every moment. Needs no data.

    A person likes the :data:`LIKED` teas of the greatest appeal, which is a standard normal number for each
    leaf, aroma and moment, plus one for the tea.

    Raises:
        InputError: if there is data.
    """
    if data is not None:
        raise InputError("world 'example-world' is made up and takes no --data")
    blends = list(product(LEAVES, AROMAS, MOMENTS))
    names = [f"{aroma.capitalize()} {leaf.capitalize()} for {moment}" for leaf, aroma, moment in blends]
    kinds = ("leaf", "aroma", "moment")
    facts = [
        (item, kind, kind, value)
        for item, blend in enumerate(blends)
        for kind, value in zip(kinds, blend, strict=True)
    ]
    catalogue = Catalogue.build("tea", names, facts)
    rng = np.random.default_rng(draws.key("example-world", seed))
    seekers = []
    for person in range(SEEKERS):
        taste = catalogue.item_attributes @ rng.standard_normal(catalogue.n_attributes)
        appeal = taste + rng.standard_normal(catalogue.n_items)
        liked = np.argsort(-appeal, kind="stable")[:LIKED]
        seekers.append(Seeker(f"drinker-{person}", tuple(sorted(liked.tolist()))))
    likes, targets = split_by_seeker("example-world", seekers, seed)
    return World("example-world", catalogue, tuple(seekers), likes, targets)
