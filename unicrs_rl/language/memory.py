"""What the embedded language model remembers of a world, some of it wrong.

A real model that is not shown facts tells what it half remembers. The embedded one has no weights, so
its memory is made: the world's statements, of which a share is mistaken for another value of the same
relation (a film's director for another director). That share is an assumption and a setting: what comes
of relying on memory is built in, and no finding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from unicrs_rl import draws


class Memory:
    """Statements as remembered.

    Args:
        items, attributes, relations: names, by id.
        edges: ``[statements, 3]`` rows of (item id, relation index, attribute id), sorted by item.
        popularity: ``[items]``, how well known each item is; breaks ties.
        mistaken: share of the statements remembered wrong, in [0, 1].
    """

    def __init__(
        self,
        items: Sequence[str],
        attributes: Sequence[str],
        relations: Sequence[str],
        edges: NDArray[np.int64],
        popularity: NDArray[np.float64],
        mistaken: float,
    ) -> None:
        self.items, self.attributes, self.relations = items, attributes, relations
        self.popularity = popularity
        self.edges = _misremember(edges, len(relations), mistaken)
        self._starts = np.searchsorted(self.edges[:, 0], np.arange(len(items) + 1))
        self._items = {name: item for item, name in enumerate(items)}
        self._attributes = {name: attribute for attribute, name in enumerate(attributes)}
        cells = (np.ones(len(edges)), (self.edges[:, 2], self.edges[:, 0]))
        self._owners = sparse.csr_array(cells, shape=(len(attributes), len(items)))

    def facts(self, item: str) -> list[tuple[str, str]]:
        """What is remembered of an item, as (relation, value); empty for an unknown one."""
        index = self._items.get(item)
        if index is None:
            return []
        rows = self.edges[self._starts[index] : self._starts[index + 1]].tolist()
        return [(self.relations[relation], self.attributes[attribute]) for _, relation, attribute in rows]

    def items_for(self, liked: Sequence[str], disliked: Sequence[str], count: int) -> list[str]:
        """The items that come to mind: most wishes met, least refusals hurt, best known first."""
        scores = np.zeros(len(self.items))
        for names, worth in ((liked, 1.0), (disliked, -1.0)):
            for name in names:
                attribute = self._attributes.get(name)
                if attribute is not None:
                    start, stop = self._owners.indptr[attribute : attribute + 2]
                    scores[self._owners.indices[start:stop]] += worth
        order = np.lexsort((np.arange(len(scores)), -self.popularity, -scores))
        return [self.items[item] for item in order[:count].tolist()]


def _misremember(edges: NDArray[np.int64], relations: int, mistaken: float) -> NDArray[np.int64]:
    """The same statements with a share of their values exchanged within their relation."""
    wrong = draws.uniform(np.arange(len(edges)), purpose="misremembered") < mistaken
    remembered = edges.copy()
    for relation in range(relations):
        rows = np.flatnonzero(wrong & (edges[:, 1] == relation))
        values = edges[edges[:, 1] == relation, 2]
        picked = (draws.uniform(rows, purpose="mistaken for") * len(values)).astype(np.int64)
        remembered[rows, 2] = values[picked]
    return remembered
