"""What the figures of a comparison need of its traces; whole traces would not fit into memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Gist:
    """A dialogue in short.

    Attributes:
        won: the turn of the accepted recommendation, from 1; ``None`` without success.
        turns: that were held.
        strategies: of each turn.
    """

    arm: str
    seed: int
    index: int
    hdcg: float
    won: int | None
    turns: int
    strategies: tuple[str, ...]

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Self:
        """That of a trace."""
        outcome = line["outcome"]
        return cls(
            line["arm"],
            line["seed"],
            line["index"],
            line["metrics"]["hdcg"],
            outcome["turn"] if outcome["success"] else None,
            len(line["turns"]),
            tuple(turn["decision"]["strategy"] for turn in line["turns"]),
        )
