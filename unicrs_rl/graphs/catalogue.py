"""The catalogue: items, their attributes and the typed facts that connect them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from unicrs_rl.dialogue import Fact
from unicrs_rl.language.lexicon import Lexicon


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names made distinct by a counter: the second "Emma" becomes "Emma #2"."""
    used = {name.casefold() for name in names}
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name.casefold()] += 1
        chosen = name
        while seen[name.casefold()] > 1 and chosen.casefold() in used:
            chosen = f"{name} #{seen[name.casefold()]}"
            seen[name.casefold()] += chosen.casefold() in used
        used.add(chosen.casefold())
        result.append(chosen)
    return result


def one_spelling(names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The spelling to show for each (kind, name): variants in case or white space are one attribute.

    The most frequent spelling wins, ties go to the first in sorted order.
    """
    spellings: dict[tuple[str, str], Counter[str]] = {}
    for kind, name in names:
        trimmed = " ".join(name.split())
        spellings.setdefault((kind, trimmed.casefold()), Counter())[trimmed] += 1
    best = {key: min(counts, key=lambda name: (-counts[name], name)) for key, counts in spellings.items()}
    return {(kind, name): best[kind, " ".join(name.split()).casefold()] for kind, name in set(names)}


@dataclass(frozen=True)
class Catalogue:
    """Items and attributes of a world, and the knowledge graph's edges between them.

    Args:
        noun: what an item is called in a sentence ("movie", "artist").
        items: display names, unique, by item id.
        attributes: display names, unique, by attribute id.
        kinds: the kind of each attribute ("genre", "person", "tag"), by attribute id.
        relations: names of the relation types.
        edges: ``[facts, 3]`` rows of (item id, relation index, attribute id), sorted, unique.
        details: further facts that are no attributes, as relation -> value by item ("year").
        taxonomy: first-layer name -> attribute ids below it (Yelp's two layers); empty if flat.
    """

    noun: str
    items: tuple[str, ...]
    attributes: tuple[str, ...]
    kinds: tuple[str, ...]
    relations: tuple[str, ...]
    edges: NDArray[np.int64]
    details: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taxonomy: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        noun: str,
        items: Sequence[str],
        facts: Sequence[tuple[int, str, str, str]],
        details: Mapping[str, tuple[str, ...]] | None = None,
        merge_spellings: bool = True,
    ) -> Catalogue:
        """Make a catalogue from rows of (item id, relation, kind of attribute, attribute name).

        An attribute is a (kind, name) pair; a name that two kinds share is shown with its kind.
        Within a kind, names that differ only in case or white space are one attribute, shown in its
        most frequent spelling, unless ``merge_spellings`` is off: then they are told apart by a counter.
        """
        if merge_spellings:
            spelling = one_spelling([(kind, name) for _, _, kind, name in facts])
            facts = [(item, relation, kind, spelling[kind, name]) for item, relation, kind, name in facts]
        pairs = sorted({(kind, name) for _, _, kind, name in facts})
        ids = {pair: index for index, pair in enumerate(pairs)}
        owners: dict[str, set[str]] = {}
        for kind, name in pairs:
            owners.setdefault(name.casefold(), set()).add(kind)
        shown = [name if len(owners[name.casefold()]) == 1 else f"{name} ({kind})" for kind, name in pairs]
        names = tuple(distinct_names(shown))
        relations = tuple(sorted({relation for _, relation, _, _ in facts}))
        index = {relation: i for i, relation in enumerate(relations)}
        rows = {(item, index[relation], ids[kind, name]) for item, relation, kind, name in facts}
        edges = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
        kinds = tuple(kind for kind, _ in pairs)
        return cls(noun, tuple(items), names, kinds, relations, edges, details or {})

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.items)

    @property
    def n_attributes(self) -> int:
        """How many attributes there are."""
        return len(self.attributes)

    @cached_property
    def lexicon(self) -> Lexicon:
        """The names, to be found in text."""
        return Lexicon(self.noun, self.items, self.attributes, self.kinds)

    @cached_property
    def item_attributes(self) -> sparse.csr_array:
        """Which item has which attribute, over all relations: ``[items, attributes]`` of 0/1."""
        ones = np.ones(len(self.edges))
        shape = (self.n_items, self.n_attributes)
        table = sparse.csr_array((ones, (self.edges[:, 0], self.edges[:, 2])), shape=shape)
        table.sum_duplicates()
        table.data[:] = 1.0
        table.sort_indices()
        return table

    @cached_property
    def attribute_items(self) -> sparse.csr_array:
        """The transpose of :attr:`item_attributes`: ``[attributes, items]``, row-compressed."""
        table = self.item_attributes.T.tocsr()
        table.sort_indices()
        return table

    def attributes_of(self, item: int) -> NDArray[np.int32]:
        """Attribute ids of an item, ascending."""
        table = self.item_attributes
        row: NDArray[np.int32] = table.indices[table.indptr[item] : table.indptr[item + 1]]
        return row

    def items_with(self, attribute: int) -> NDArray[np.int32]:
        """Item ids that have an attribute, ascending."""
        table = self.attribute_items
        row: NDArray[np.int32] = table.indices[table.indptr[attribute] : table.indptr[attribute + 1]]
        return row

    @cached_property
    def degrees(self) -> NDArray[np.int64]:
        """Number of items that have each attribute: ``[attributes]``."""
        degrees: NDArray[np.int64] = np.diff(self.attribute_items.indptr).astype(np.int64)
        return degrees

    @cached_property
    def askable(self) -> NDArray[np.int64]:
        """Attributes worth a question: those that two items or more have (or all, if none does)."""
        shared = np.flatnonzero(self.degrees >= 2)
        return shared if len(shared) else np.arange(self.n_attributes)

    @cached_property
    def askable_items(self) -> sparse.csr_array:
        """Rows of :attr:`attribute_items` of the askable attributes: ``[askable, items]``."""
        return sparse.csr_array(self.attribute_items[self.askable])

    @cached_property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """Attributes that belong together in a question: by category of the taxonomy, else by kind.

        Attributes that stand in no category share a last group; one that stands in several counts for
        the first.
        """
        if not self.taxonomy:
            by_kind: dict[str, list[int]] = {}
            for attribute, kind in enumerate(self.kinds):
                by_kind.setdefault(kind, []).append(attribute)
            return tuple(map(tuple, by_kind.values()))
        taken: set[int] = set()
        groups = []
        for listed in (*self.taxonomy.values(), range(self.n_attributes)):
            groups.append(tuple(attribute for attribute in listed if attribute not in taken))
            taken.update(groups[-1])
        return tuple(group for group in groups if group)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Index into :attr:`members` of each attribute: ``[attributes]``."""
        group = np.zeros(self.n_attributes, dtype=np.int64)
        for index, attributes in enumerate(self.members):
            group[list(attributes)] = index
        return group

    @cached_property
    def content(self) -> sparse.csr_array:
        """TF-IDF attribute vectors of the items, each of length one: ``[items, attributes]``."""
        weighted = self.item_attributes @ sparse.diags_array(
            np.log(1.0 + self.n_items / np.maximum(self.degrees, 1))
        )
        norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return sparse.csr_array(sparse.diags_array(1.0 / np.maximum(norms, 1e-9)) @ weighted)

    @cached_property
    def _edges_of_item(self) -> NDArray[np.int64]:
        starts: NDArray[np.int64] = np.searchsorted(self.edges[:, 0], np.arange(self.n_items + 1))
        return starts

    @cached_property
    def _facts(self) -> dict[int, tuple[Fact, ...]]:
        return {}

    def facts_about(self, item: int) -> tuple[Fact, ...]:
        """All statements of the knowledge graph about an item, details last."""
        if item not in self._facts:
            start, stop = self._edges_of_item[item : item + 2]
            facts = [
                Fact(item, self.relations[relation], self.attributes[attribute])
                for _, relation, attribute in self.edges[start:stop]
            ]
            facts += [Fact(item, relation, values[item]) for relation, values in self.details.items()]
            self._facts[item] = tuple(facts)
        return self._facts[item]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything a checkpoint's ids depend on: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for part in (self.items, self.attributes, self.kinds, self.relations):
            digest.update("\x1f".join(part).encode())
            digest.update(b"\x1e")
        digest.update(np.ascontiguousarray(self.edges).tobytes())
        return digest.hexdigest()[:16]
