"""What a reader has to know before believing a comparison, in red."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unicrs_rl.experiments.budgets import budget_warning, untrained_warning
from unicrs_rl.experiments.controls.shortcut import copying_warning
from unicrs_rl.experiments.human_replay import COPY
from unicrs_rl.experiments.results import missing_dialogues, missing_scores


def warnings(found: Mapping[str, Any], replays: Mapping[str, Mapping[str, Any]] | None = None) -> list[str]:
    """A sentence each; of what the results do not hold nothing is said.

    Args:
        found: the content of ``results.json``.
        replays: what the same arms did in human dialogues, by corpus.
    """
    said = [
        untrained_warning(found),
        budget_warning(found),
        missing_dialogues(found["arms"]),
        missing_scores(found["arms"]),
    ]
    for corpus, replayed in (replays or {}).items():
        beaten = copying_warning(replayed.get("beaten_by_copying", {}), COPY)
        said.append(beaten and f"In human dialogues ({corpus}) {beaten.removeprefix('WARNING: ')}")
    return [f"{one.removesuffix('.')}." for one in said if one is not None]
