"""What each arm was given: training, size and language model, and whether arms were given the same.

A comparison says something about architectures only as far as budgets are equal. What is equal by
construction is set once for all arms; all else is measured, and said where it is not equal. Seconds stand in
``timings.json``: they differ from run to run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.jobs import plan
from unicrs_rl.experiments.run_folder import RunFolder

_DECIMALS = 6
_COPY = re.compile(r"([^.]+\.)?(target|optimizer|replay)\.")
"""Entries of a checkpoint that are no parameters: a learner's own, or those of one part of several."""
_EVEN = 1.005
"""Ratio below which budgets count as equal: what is written as 1.00 times."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that an arm is given.

    Attributes:
        name: key of ``budgets``.
        set: by what setting all arms get the same; empty where nothing sees to it.
        trained: only arms that were trained have it.
    """

    name: str
    title: str
    set: str = ""
    trained: bool = True


QUANTITIES = (
    Quantity("train_dialogues", "training dialogues", set="train_dialogues"),
    Quantity("train_turns", "training turns"),
    Quantity("gradient_steps", "gradient steps"),
    Quantity("parameters", "parameters"),
    Quantity("train_lm_calls", "LM calls / training dialogue"),
    Quantity("train_lm_tokens", "tokens / training dialogue"),
    Quantity("lm_calls", "LM calls / held-out dialogue", trained=False),
    Quantity("lm_tokens", "tokens / held-out dialogue", trained=False),
)
"""Calls and tokens are those of the recommender, the judge and the seeker together."""


def budgets(
    config: RunConfig, folder: RunFolder, arms: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The key ``budgets`` of ``results.json``: a row for each quantity.

    Args:
        arms: what was found of each arm, with its ``cost``.

    Returns:
        Rows with ``name``, ``arms`` (value by arm, mean over training seeds; ``None`` where it has none),
        ``by_construction`` (one setting gives all the same), ``equal`` and ``ratio`` of the greatest to the
        least (both ``None`` where fewer than two arms have it; the ratio also where the least is 0). By arms
        that are compared: those that were trained, or, of what evaluation takes, all.
    """
    given: dict[str, dict[str, float | None]] = {
        arm: _trained(config, folder, arm) | _held(entry["cost"]) for arm, entry in arms.items()
    }
    rows = []
    for quantity in QUANTITIES:
        values = {arm: entry.get(quantity.name) for arm, entry in given.items()}
        known = [value for value in values.values() if value is not None]
        least, most = min(known, default=0.0), max(known, default=0.0)
        several = len(known) > 1
        equal = most <= least * _EVEN
        rows.append(
            {
                "name": quantity.name,
                "arms": values,
                "by_construction": bool(quantity.set) and equal and several,
                "equal": equal if several else None,
                "ratio": round(most / least, _DECIMALS) if several and least else None,
            }
        )
    return rows


def _trained(config: RunConfig, folder: RunFolder, arm: str) -> dict[str, float | None]:
    """What the training of an arm took, as its checkpoints tell; nothing of an arm without any.

    Those of earlier versions do not tell everything.
    """
    told: list[dict[str, float | None]] = []
    for job in plan(config):
        path = folder.checkpoint(job.arm, job.seed)
        if job.arm != arm or not path.is_file() or not config.trains(arm):
            continue
        tensors, header = checkpoint.load(path)
        taken, led = header.get("taken", {}), max(1, header["done"])
        told.append(
            {
                "train_dialogues": header["done"],
                "train_turns": taken.get("turns"),
                "gradient_steps": header.get("gradient_steps"),
                "parameters": parameters(tensors),
                "train_lm_calls": taken["calls"] / led if taken else None,
                "train_lm_tokens": taken["tokens"] / led if taken else None,
            }
        )
    if not told:
        return {}
    columns = {name: [entry[name] for entry in told] for name in told[0]}
    return {name: _mean(column) for name, column in columns.items()}


def parameters(tensors: Mapping[str, Any]) -> int:
    """Trainable parameters in a checkpoint: without copies, moments and memories."""
    return sum(tensor.numel() for name, tensor in tensors.items() if not _COPY.match(name))


def _held(cost: Mapping[str, Any]) -> dict[str, float | None]:
    """What a held-out dialogue took of language models."""
    calls = ("lm_calls_per_dialogue", "judge_calls_per_dialogue", "seeker_calls_per_dialogue")
    tokens = ("tokens_per_dialogue", "judge_tokens_per_dialogue", "seeker_tokens_per_dialogue")
    return {
        "lm_calls": round(sum(cost[name] for name in calls), _DECIMALS),
        "lm_tokens": round(sum(cost[name] for name in tokens), _DECIMALS),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), _DECIMALS) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A quantity as people read it.

    Attributes:
        cells: by arm.
        verdict: ``equal by construction``, ``equal``, or ``unequal (4.0 times)``; empty of a single arm.
        unequal: to be shown in red.
    """

    title: str
    cells: Mapping[str, str]
    verdict: str
    unequal: bool


def budget_rows(found: Mapping[str, Any]) -> list[BudgetRow]:
    """The budgets of ``results.json`` for tables; none in results of earlier versions."""
    titles = {quantity.name: quantity.title for quantity in QUANTITIES}
    rows = []
    for row in found.get("budgets", ()):
        cells = {arm: _written(value) for arm, value in row["arms"].items()}
        if row["equal"] is None:
            verdict = ""
        elif row["equal"]:
            verdict = "equal by construction" if row["by_construction"] else "equal"
        else:
            verdict = "unequal" + ("" if row["ratio"] is None else f" ({_times(row['ratio'])})")
        rows.append(BudgetRow(titles[row["name"]], cells, verdict, row["equal"] is False))
    return rows


def budget_warning(found: Mapping[str, Any]) -> str | None:
    """In one sentence, which budgets of the arms are not equal; ``None`` where all are."""
    uneven = [
        f"{row.title} {row.verdict.removeprefix('unequal').strip(' ()')}".strip()
        for row in budget_rows(found)
        if row.unequal
    ]
    return f"Budgets are not equal, most to least: {', '.join(uneven)}." if uneven else None


def untrained_warning(found: Mapping[str, Any]) -> str | None:
    """In one sentence, which arms were trained without learning anything; ``None`` where each took a step."""
    idle = [
        arm
        for row in found.get("budgets", ())
        if row["name"] == "gradient_steps"
        for arm, taken in row["arms"].items()
        if taken == 0
    ]
    if not idle:
        return None
    return (
        f"{_listed(idle)} {'was' if len(idle) == 1 else 'were'} trained with no gradient step: too few "
        "training dialogues to learn anything."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _written(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.2f} times"
