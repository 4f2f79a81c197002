"""Shortcuts: successes with an item that had been mentioned before, which took no recommending.

In human dialogues a baseline that repeats what was named beats trained recommenders (He et al., *Large
Language Models as Zero-Shot Conversational Recommenders*, CIKM 2023). A success is a shortcut if, before
the first list with the accepted item, either side named it, or if it had been on an earlier list. Metrics
are then given once more without the dialogues that succeeded so: the rest of the evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from unicrs_rl.language.lexicon import Entity, Lexicon


class Mentioned(StrEnum):
    """Who had mentioned an item before it was accepted, the first to do so."""

    SEEKER = "seeker"
    """The seeker named it before it was on any list."""
    RECOMMENDER = "recommender"
    """The recommender named it, other than on a list."""
    LIST = "list"
    """Nobody named it, but it had been on an earlier list, and turned down."""


def mentioned_before(trace: Mapping[str, Any], lexicon: Lexicon) -> Mentioned | None:
    """Who had mentioned the accepted item before; ``None`` where nobody had, or nothing was accepted.

    Args:
        trace: a line of ``traces.jsonl``: ``opening``, ``turns`` and ``outcome`` of it.
        lexicon: finds names in words.
    """
    item = trace["outcome"]["item"]
    if item is None:
        return None
    lines = [(Mentioned.SEEKER, trace["opening"]["text"])]
    for number, turn in enumerate(trace["turns"], start=1):
        if item in turn["decision"]["items"]:
            for who, text in lines:
                if any(one.entity is Entity.ITEM and one.id == item for one in lexicon.mentions(text)):
                    return who
            return Mentioned.LIST if number < trace["outcome"]["turn"] else None
        lines += [(Mentioned.RECOMMENDER, turn["utterance"]), (Mentioned.SEEKER, turn["reply"]["text"])]
    return None


def shortcuts_among(outcomes: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How many successes were shortcuts, from the ``outcome`` of each dialogue.

    Returns:
        ``successes``, ``by`` (who had mentioned the item) and ``share`` (``None`` without a success);
        ``None`` for dialogues of an earlier version, of which it is not known.
    """
    won = [outcome for outcome in outcomes if outcome["success"]]
    if any("mentioned_before" not in outcome for outcome in won):
        return None
    by = Counter(outcome["mentioned_before"] for outcome in won)
    already = sum(by[who] for who in Mentioned)
    return {
        "successes": len(won),
        "by": {who.value: by[who] for who in Mentioned},
        "share": round(already / len(won), 6) if won else None,
    }


@dataclass(frozen=True, slots=True)
class ShortcutRow:
    """A row of the table of shortcuts, for reports.

    Attributes:
        successes, shortcuts: dialogues of all training seeds.
        share: of the successes that were shortcuts.
        metric, without: the first primary metric over all dialogues, and without shortcuts.
    """

    arm: str
    successes: int
    shortcuts: int
    share: float | None
    metric: float | None
    without: float | None


def shortcut_rows(found: Mapping[str, Any]) -> list[ShortcutRow]:
    """The table of shortcuts of ``results.json``, an arm a row; empty for results without the section."""
    metric = found.get("statistics", {}).get("primary", ["sr@15"])[0]
    return [
        ShortcutRow(
            arm,
            entry["successes"],
            sum(entry["by"].values()),
            entry["share"],
            found["arms"][arm]["metrics"][metric],
            entry["without"]["metrics"][metric],
        )
        for arm, entry in found.get("shortcut", {}).items()
    ]


def beaten_by_copying(
    recall: Mapping[str, Mapping[str, float | None]], copying: str, others: Sequence[str] = ()
) -> dict[str, list[str]]:
    """The arms that a baseline which repeats what was named beats, with the k of Recall@k at which.

    Args:
        recall: of each arm and baseline, by k; ``None`` where there was nothing to recall.
        copying: the baseline's name.
        others: what else is a baseline, and no arm.
    """
    baseline = recall[copying]
    found = {}
    for arm, own in recall.items():
        if arm == copying or arm in others:
            continue
        cuts = [
            k for k, value in own.items() if value is not None and (least := baseline[k]) and least > value
        ]
        if cuts:
            found[arm] = cuts
    return found


def copying_warning(beaten: Mapping[str, Sequence[str]], copying: str) -> str | None:
    """The same as a line of warning; ``None`` where no arm is beaten."""
    if not beaten:
        return None
    arms = ", ".join(f"{arm} (Recall@{', @'.join(cuts)})" for arm, cuts in beaten.items())
    return (
        f"WARNING: {copying}, which recommends nothing but repeats what was named before, beats {arms}; "
        "there, recall says nothing for an arm: read the recall of new items"
    )
