"""What was seen of the graph in a turn: the seeker, the attributes in question, the likeliest items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicrs_rl.graphs.catalogue import Catalogue

WIDTH = 500
"""Pixels. Words keep their size; on a narrow screen the picture scrolls in its box."""
_ROW, _TOP = 22, 16
_SEEKER_X, _ATTRIBUTE_X, _BEHIND_X, _ITEM_X = 12, 56, 222, 292
"""The seeker, where attributes begin and end, and where items begin."""
_BAR = 150
"""Width in pixels below the likeliest item; of the others in proportion."""
_LETTERS = 22
_MEANT = {"wanted": "wanted", "unwanted": "not wanted", "asked": "asked now", "open": "could be asked"}


@dataclass(frozen=True)
class Node:
    """An attribute or an item.

    Attributes:
        kind: of an attribute ``wanted``, ``unwanted``, ``asked`` or ``open``; of an item ``item`` or, where
            it is recommended in this turn, ``shown``.
        name: in full; ``label`` is cut where it is long.
        note: bits of a question, or weight of an item.
        bar: width in pixels of what stands for the weight.
    """

    x: int
    y: int
    kind: str
    label: str
    name: str
    note: str = ""
    bar: float = 0.0


@dataclass(frozen=True)
class Edge:
    """A line between two places, of the kind of the attribute it starts from or leads to."""

    x1: int
    y1: int
    x2: int
    y2: int
    kind: str


@dataclass(frozen=True)
class Neighbourhood:
    """A picture.

    Attributes:
        seeker: where it stands.
        behind: where attributes end.
        said: what is to be seen, in words, for those who cannot see it.
    """

    width: int
    height: int
    seeker: tuple[int, int]
    behind: int
    attributes: Sequence[Node]
    items: Sequence[Node]
    edges: Sequence[Edge]
    said: str


def neighbourhood(turn: Mapping[str, Any], catalogue: Catalogue | None) -> Neighbourhood | None:
    """The picture of a turn of a trace; ``None`` where the trace does not say what was seen.

    Args:
        catalogue: for names, and for which item has which attribute; ``None``: numbers stand for names.
    """
    if (view := turn.get("view")) is None:
        return None
    attributes = _attributes(view, turn["decision"]["attributes"], catalogue)
    items = _items(view, turn["decision"]["items"], catalogue)
    rows = max(len(attributes), len(items), 1)
    seeker = (_SEEKER_X, _TOP + _ROW * (rows - 1) // 2)
    known = [
        Edge(*seeker, _ATTRIBUTE_X, node.y, node.kind) for node in attributes.values() if node.kind != "open"
    ]
    has = [
        Edge(_BEHIND_X, node.y, _ITEM_X, items[item].y, node.kind)
        for item in items
        for attribute, node in attributes.items()
        if catalogue is not None and attribute in catalogue.attributes_of(item)
    ]
    said = [
        f"{node.name} ({' '.join([_MEANT[node.kind], node.note]).strip()})" for node in attributes.values()
    ]
    likely = [f"{node.name} ({node.note})" for node in items.values()]
    return Neighbourhood(
        WIDTH,
        _TOP + _ROW * rows - 8,
        seeker,
        _BEHIND_X,
        list(attributes.values()),
        list(items.values()),
        [*has, *known],
        f"Attributes: {', '.join(said) or 'none'}. Likeliest items: {', '.join(likely) or 'none'}.",
    )


def _attributes(
    view: Mapping[str, Any], asked: Sequence[int], catalogue: Catalogue | None
) -> dict[int, Node]:
    """What is known to be wanted or not, what is asked about, and what else is most worth a question."""
    bits = {attribute: entropy for attribute, entropy, _ in view["questions"]}
    kinds = dict.fromkeys(bits, "open") | dict.fromkeys(asked, "asked")
    kinds = dict.fromkeys(view["wanted"], "wanted") | dict.fromkeys(view["unwanted"], "unwanted") | kinds
    made = {}
    for row, (attribute, kind) in enumerate(kinds.items()):
        name = f"attribute {attribute}" if catalogue is None else catalogue.attributes[attribute]
        note = f"{bits[attribute]:.2f} bits" if attribute in bits else ""
        made[attribute] = Node(_ATTRIBUTE_X, _TOP + _ROW * row, kind, _cut(name, note), name, note)
    return made


def _items(view: Mapping[str, Any], shown: Sequence[int], catalogue: Catalogue | None) -> dict[int, Node]:
    heaviest = max((weight for _, weight in view["items"]), default=0.0) or 1.0
    made = {}
    for row, (item, weight) in enumerate(view["items"]):
        name = f"item {item}" if catalogue is None else catalogue.items[item]
        kind = "shown" if item in shown else "item"
        bar = round(_BAR * weight / heaviest, 1)
        made[item] = Node(_ITEM_X, _TOP + _ROW * row, kind, _cut(name), name, f"{weight:.1%}", bar)
    return made


def _cut(name: str, note: str = "") -> str:
    """As much of a name as there is room for beside the note."""
    room = _LETTERS - len(note)
    return name if len(name) <= room else f"{name[: room - 1].rstrip()}…"
