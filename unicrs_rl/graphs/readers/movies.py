"""The embedded world ``movies``: real films as facts, and seekers from a preference model.

The catalogue is ``movies.csv`` beside this file: title, year, genres, directors, actors and a few
thematic tags for each film. There are no real people in this world: seekers are generated.

Preference model (seeded). A seeker ``u`` likes 2-4 genres (weight 1.0 each), 1-3 people (1.5) and
2-4 tags (1.2), drawn by how often they occur, and dislikes one genre (-1.5). The appeal of film ``v``
is the sum of the weights of the attributes it has, divided by the square root of its number of
attributes, times four, plus half the film's fame (a standard normal number, the same for everybody) plus
standard Gumbel noise; the 8-15 films of highest appeal are what the seeker likes.
"""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np

from unicrs_rl import draws
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.world import Seeker, World, split_by_seeker

N_SEEKERS = 1_200
LIKED_KINDS = {"genre": (2, 4, 1.0), "person": (1, 3, 1.5), "tag": (2, 4, 1.2)}
"""Kind of attribute -> fewest liked, most liked, weight."""
DISLIKED_GENRE = -1.5
FAME = 0.5
TASTE = 4.0
"""Scale of the attribute part of the appeal against the unit Gumbel noise."""
HISTORY = (8, 15)

_COLUMNS = (("genres", "genre", "genre"), ("directors", "director", "person"), ("actors", "star", "person"))


def read(seed: int = 0) -> World:
    """The embedded world. Reads no file outside the package."""
    catalogue = read_catalogue()
    seekers = generate_seekers(catalogue, N_SEEKERS, seed)
    likes, targets = split_by_seeker("movies", seekers, seed)
    return World("movies", catalogue, tuple(seekers), likes, targets)


def read_catalogue() -> Catalogue:
    """The films and their facts."""
    text = resources.files("unicrs_rl.graphs.readers").joinpath("movies.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    facts = [
        (item, relation, kind, name)
        for item, row in enumerate(rows)
        for column, relation, kind in (*_COLUMNS, ("tags", "tag", "tag"))
        for name in row[column].split("|")
    ]
    titles = [f"{row['title']} ({row['year']})" for row in rows]
    return Catalogue.build("movie", titles, facts, {"year": tuple(row["year"] for row in rows)})


def generate_seekers(catalogue: Catalogue, count: int, seed: int) -> list[Seeker]:
    """Draw seekers from the preference model of this module's docstring."""
    rng = np.random.default_rng(draws.key("movies", seed))
    table = catalogue.item_attributes
    size = np.sqrt(np.diff(table.indptr))
    fame = FAME * rng.standard_normal(catalogue.n_items)
    kinds = np.array(catalogue.kinds)
    seekers = []
    for index in range(count):
        weights = _taste(rng, kinds, catalogue.degrees)
        appeal = TASTE * (table @ weights) / size + fame + rng.gumbel(size=catalogue.n_items)
        order = np.argsort(-appeal, kind="stable")
        liked = order[: rng.integers(HISTORY[0], HISTORY[1] + 1)]
        seekers.append(Seeker(f"seeker-{index:04d}", tuple(sorted(int(item) for item in liked))))
    return seekers


def _taste(rng: np.random.Generator, kinds: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Weights over attributes: ``[attributes]``."""
    weights = np.zeros(len(kinds))
    for kind, (fewest, most, weight) in LIKED_KINDS.items():
        options = np.flatnonzero((kinds == kind) & (degrees >= 2))
        chance = degrees[options] / degrees[options].sum()
        chosen = rng.choice(options, size=rng.integers(fewest, most + 1), replace=False, p=chance)
        weights[chosen] = weight
    genres = np.flatnonzero((kinds == "genre") & (weights == 0))
    weights[rng.choice(genres)] = DISLIKED_GENRE
    return weights
