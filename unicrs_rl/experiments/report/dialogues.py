"""The dialogues in which the first two arms differ most, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import read_world
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.report.gist import Gist
from unicrs_rl.experiments.report.neighbourhood import Neighbourhood, neighbourhood
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.graphs.catalogue import Catalogue

SHOWN = 10
"""Pairs of dialogues."""
Name = tuple[str, int, int]
"""Arm, training seed and index of a dialogue."""


@dataclass(frozen=True)
class Side:
    """A dialogue as it is shown.

    Attributes:
        line: its trace.
        seen: what was seen of the graph in each turn; ``None`` where the trace does not say.
        target: name of the item that the seeker came for; empty where it is not known.
    """

    line: Mapping[str, Any]
    seen: Sequence[Neighbourhood | None]
    target: str


@dataclass(frozen=True)
class Pair:
    """The same seeker with two arms.

    Attributes:
        parted: in words, where the decisions part; empty where that is not known.
        parts_at: the turn in which they do, from 1.
    """

    sides: Sequence[Side]
    parted: str = ""
    parts_at: int | None = None


def pairs(
    folder: RunFolder, config: RunConfig, found: Mapping[str, Any], gists: Mapping[str, Sequence[Gist]]
) -> list[Pair]:
    """The pairs that the results name, or, in results that name none, those furthest apart in hDCG."""
    named = found.get("why", {}).get("most_different")
    if named is None:
        named = [{"a": _reference(a), "b": _reference(b)} for a, b in most_different(gists)]
    wanted = {_name(row[side]) for row in named for side in ("a", "b")}
    traces = ((_name(line), line) for line in folder.read_traces())
    lines = {name: line for name, line in traces if name in wanted}
    catalogue = _catalogue(config, found["world_fingerprint"]) if lines else None
    made = []
    for row in named:
        sides = [lines.get(_name(row[side])) for side in ("a", "b")]
        if all(sides):
            shown = [_side(line, catalogue) for line in sides if line is not None]
            made.append(Pair(shown, _parting(row), row.get("parts_at")))
    return made


def most_different(gists: Mapping[str, Sequence[Gist]]) -> list[tuple[Gist, Gist]]:
    """Dialogues on the same triple in which the first two arms differ most: in hDCG, then in turns."""
    if len(gists) < 2:
        return []
    one, other = (_first_of_each(some) for some in list(gists.values())[:2])

    def gap(index: int) -> tuple[float, int, int]:
        a, b = one[index], other[index]
        return -abs(a.hdcg - b.hdcg), -abs(a.turns - b.turns), index

    return [(one[index], other[index]) for index in sorted(one.keys() & other.keys(), key=gap)[:SHOWN]]


def _first_of_each(gists: Iterable[Gist]) -> dict[int, Gist]:
    """By triple, the dialogue of the first training seed."""
    found: dict[int, Gist] = {}
    for gist in gists:
        found.setdefault(gist.index, gist)
    return found


def _name(line: Mapping[str, Any]) -> Name:
    return line["arm"], line["seed"], line["index"]


def _reference(gist: Gist) -> dict[str, Any]:
    return {"arm": gist.arm, "seed": gist.seed, "index": gist.index}


def _parting(row: Mapping[str, Any]) -> str:
    if "parts_at" not in row:
        return ""
    if row["parts_at"] is None:
        return "The decisions never part."
    how = f": another {', '.join(row['parts_in'])}" if row["parts_in"] else ", where one dialogue is over"
    return f"The decisions part in turn {row['parts_at']}{how}."


def _catalogue(config: RunConfig, fingerprint: str) -> Catalogue | None:
    """Names and facts of the world; nothing where its data are not there any more, or have changed."""
    try:
        world = read_world(config)
    except InputError:
        return None
    return world.catalogue if world.fingerprint == fingerprint else None


def _side(line: Mapping[str, Any], catalogue: Catalogue | None) -> Side:
    seen = [neighbourhood(turn, catalogue) for turn in line["turns"]]
    return Side(line, seen, "" if catalogue is None else catalogue.items[line["target"]])
