"""What a run's language model cost: the books that are kept on the way, and the sums in the end.

Two sums, because they answer two questions. *Usage* is what an arm's evaluation took of a language model,
whether an answer was had before or not: what it would cost by itself, the same however often a run was
killed. *Spending* is what this run really asked of the model, training included.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.language.answers import Answers
from unicrs_rl.language.embedded import EmbeddedModel
from unicrs_rl.language.ledger import Budget, Ledger, Price

_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Cost:
    """A row of the table of costs.

    Attributes:
        name: key of an arm's ``cost``, timings filled in.
        always: shown also where no arm has any.
    """

    name: str
    title: str
    digits: int = 1
    always: bool = True

    def shown(self, value: float | None) -> str:
        """A value in the table."""
        if value is None:
            return "–"
        return f"{value:,}" if isinstance(value, int) else f"{value:,.{self.digits}f}"


COSTS = (
    Cost("lm_calls_per_dialogue", "LM calls / dialogue"),
    Cost("tokens_per_dialogue", "tokens / dialogue"),
    Cost("lm_seconds_per_dialogue", "LM seconds / dialogue, the judge's and seeker's too", digits=3),
    Cost("usd_per_dialogue", "USD / dialogue, the judge's and seeker's too", digits=5, always=False),
    Cost("invented_names_per_dialogue", "invented names / dialogue", digits=3, always=False),
    Cost("judge_calls_per_dialogue", "the judge's LM calls / dialogue", always=False),
    Cost("judge_tokens_per_dialogue", "the judge's tokens / dialogue", always=False),
    Cost("judge_seconds", "seconds to judge", always=False),
    Cost("seeker_calls_per_dialogue", "the seeker's LM calls / dialogue", always=False),
    Cost("seeker_tokens_per_dialogue", "the seeker's tokens / dialogue", always=False),
    Cost("parameters", "parameters"),
    Cost("train_seconds", "seconds to train"),
    Cost("evaluate_seconds", "seconds to evaluate"),
)


def open_ledger(
    config: RunConfig, budget: Budget, path: Path | None = None, resumed: bool = True
) -> Ledger | None:
    """The books of a run with a real language model; the embedded one needs none.

    Args:
        path: file of answers of a run; ``None``: the user's own, for commands without a run folder, in
            which earlier commands are not charged.
        resumed: what was spent before, by those who used the file, counts.

    Raises:
        InputError: if the file cannot be used.
    """
    if config.llm == EmbeddedModel.name:
        return None
    answers = Answers(path or default_answers())
    return Ledger(config.price, budget, answers, resumed=resumed and path is not None)


def default_answers() -> Path:
    """Where answers are kept that belong to no run: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "unicrs-rl" / "answers.sqlite"


@dataclass(slots=True)
class Usage:
    """What one task took of a language model in all dialogues of an arm.

    Attributes:
        retries: answers asked for again because they were malformed.
        failed: calls without a valid answer in the end.
        resent: requests sent again because the endpoint failed.
        cached: attempts answered from what had been answered before.
        dropped: turns left out because a prompt did not fit.
        seconds: from asking to the answers.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    retries: int = 0
    failed: int = 0
    dropped: int = 0
    resent: int = 0
    cached: int = 0
    seconds: float = 0.0

    def add(self, call: Mapping[str, Any]) -> None:
        """Count a call of a trace."""
        self.calls += 1
        self.tokens_in += call["tokens_in"]
        self.tokens_out += call["tokens_out"]
        self.retries += call["retries"]
        self.failed += bool(call["failure"])
        self.dropped += call.get("dropped", 0)
        self.resent += call.get("resent", 0)
        self.cached += call.get("cached", 0)
        self.seconds += call["seconds"]


_STEADY = ("calls", "tokens_in", "tokens_out", "retries", "failed", "dropped")
"""What does not change when a run is killed and resumed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the dialogues of an arm took, by task.

    Attributes:
        tasks: of the recommender and the judge.
        seeker_tasks: of those it talked to.
    """

    dialogues: int
    tasks: Mapping[str, Usage]
    seeker_tasks: Mapping[str, Usage]

    def per_dialogue(self, price: Price) -> dict[str, dict[str, dict[str, float]]]:
        """For ``results.json``: means over dialogues, ``by_task`` and ``seeker_by_task``."""
        tables = {"by_task": self._means(self.tasks, price)}
        if self.seeker_tasks:
            tables["seeker_by_task"] = self._means(self.seeker_tasks, price)
        return tables

    def whole(self, price: Price) -> dict[str, float]:
        """All tasks together: means over dialogues, the seeker's calls and tokens apart."""
        calls, tokens_in, tokens_out = _sums(self.tasks)
        sums = {
            "lm_calls_per_dialogue": self._mean(calls),
            "tokens_per_dialogue": self._mean(tokens_in + tokens_out),
        }
        seeker_calls, seeker_in, seeker_out = _sums(self.seeker_tasks)
        if seeker_calls:
            sums["seeker_calls_per_dialogue"] = self._mean(seeker_calls)
            sums["seeker_tokens_per_dialogue"] = self._mean(seeker_in + seeker_out)
        usd = self._mean(price.usd(tokens_in + seeker_in, tokens_out + seeker_out))
        return sums | ({"usd_per_dialogue": usd} if price != Price() else {})

    def on_the_way(self) -> dict[str, Any]:
        """For ``timings.json``: what another session may find otherwise."""
        both = (*self.tasks.values(), *self.seeker_tasks.values())
        return {
            "lm_seconds_per_dialogue": self._mean(sum(usage.seconds for usage in both)),
            "tasks": self._met(self.tasks),
            **({"seeker_tasks": self._met(self.seeker_tasks)} if self.seeker_tasks else {}),
        }

    def _means(self, tasks: Mapping[str, Usage], price: Price) -> dict[str, dict[str, float]]:
        table = {}
        for task, usage in tasks.items():
            means = {name: self._mean(getattr(usage, name)) for name in _STEADY}
            usd = price.usd(usage.tokens_in, usage.tokens_out)
            table[task] = means | ({"usd": self._mean(usd)} if price != Price() else {})
        return table

    def _met(self, tasks: Mapping[str, Usage]) -> dict[str, Any]:
        return {
            task: {"seconds": self._mean(usage.seconds), "resent": usage.resent, "cached": usage.cached}
            for task, usage in tasks.items()
        }

    def _mean(self, value: float) -> float:
        return round(value / self.dialogues, _DECIMALS)


def _sums(tasks: Mapping[str, Usage]) -> tuple[int, int, int]:
    """Calls, tokens in and tokens out of all tasks."""
    usages = tasks.values()
    return (
        sum(usage.calls for usage in usages),
        sum(usage.tokens_in for usage in usages),
        sum(usage.tokens_out for usage in usages),
    )


def seeker_calls(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The calls of a trace that its seeker made, for the opening and for its replies."""
    for told in (line, *line["turns"]):
        yield from told.get("seeker_calls", ())


def taken(traces: Iterable[Mapping[str, Any]]) -> dict[str, Taken]:
    """What was taken of language models in finished dialogues, by arm and task."""
    tasks: defaultdict[str, defaultdict[str, Usage]] = defaultdict(lambda: defaultdict(Usage))
    seekers: defaultdict[str, defaultdict[str, Usage]] = defaultdict(lambda: defaultdict(Usage))
    dialogues: defaultdict[str, int] = defaultdict(int)
    for line in traces:
        dialogues[line["arm"]] += 1
        for turn in line["turns"]:
            for call in (*turn["calls"], *turn.get("judge_calls", ())):
                tasks[line["arm"]][call["task"]].add(call)
        for call in seeker_calls(line):
            seekers[line["arm"]][call["task"]].add(call)
    return {
        arm: Taken(count, dict(sorted(tasks[arm].items())), dict(sorted(seekers[arm].items())))
        for arm, count in dialogues.items()
    }


def spent(ledger: Ledger) -> dict[str, Any]:
    """For ``timings.json``: what was really asked of the model, training included, by arm and task."""
    return {
        arm or "shared": {task: asdict(cost) for task, cost in tasks.items()}
        for arm, tasks in ledger.by_payer().items()
    }


def with_timings(found: dict[str, Any], timings: Mapping[str, Any]) -> dict[str, Any]:
    """Results with the mean training seconds of each arm filled in, for printing."""
    merged: dict[str, Any] = json.loads(json.dumps(found))
    for arm, entry in merged["arms"].items():
        timed = [job for name, job in timings.get("jobs", {}).items() if name.rpartition("-seed")[0] == arm]
        entry["cost"]["train_seconds"] = _mean([job.get("train_seconds", 0.0) for job in timed])
        entry["cost"]["evaluate_seconds"] = _mean([job.get("evaluate_seconds", 0.0) for job in timed])
        entry["cost"]["judge_seconds"] = _mean([job.get("judge_seconds", 0.0) for job in timed])
        used = timings.get("language_model", {}).get(arm, {})
        entry["cost"]["lm_seconds_per_dialogue"] = used.get("lm_seconds_per_dialogue")
    merged["total_seconds"] = timings.get("total_seconds")
    return merged


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def by_task(found: Mapping[str, Any], timings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a dialogue took of the language model, a row for each arm and task."""
    rows = []
    for arm, entry in found["arms"].items():
        timed = timings.get("language_model", {}).get(arm, {})
        for means, seconds, note in (
            ("by_task", "tasks", ""),
            ("seeker_by_task", "seeker_tasks", " (seeker)"),
        ):
            for task, usage in entry["cost"].get(means, {}).items():
                took = _NOT_TIMED | timed.get(seconds, {}).get(task, {})
                rows.append({"arm": arm, "task": task + note, **usage, **took})
    return rows


_NOT_TIMED = {"seconds": 0.0, "resent": 0, "cached": 0}
